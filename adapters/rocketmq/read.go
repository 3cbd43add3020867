package rocketmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const (
	readTries  = 40
	readPause  = 250 * time.Millisecond
	readGroup  = "TOOLS_CONSUMER" // every broker has it
	dispatched = 30 * time.Second // for the broker to index what it has stored

	codePullNotFound  = 19
	codePullAgain     = 20
	codeOffsetMoved   = 21
	pullSubscription  = 4 // system flag: the request says what it subscribes to
	reqBrokerRuntime  = 28
	maxRetriesOfEmpty = 50
)

// ReadAll gives f every message of a topic that lies there when it is called: queue by queue, each from its first offset to its present end, in offset order. It
// reads from the masters, and bears with one that is away for some seconds. The record and its bytes are f's
// to keep. It ends with the first error of f.
func ReadAll(ctx context.Context, cfg Config, topic string, f func(Record) error) error {
	r := reader{p: newProber(cfg), topic: topic}
	if err := r.all(ctx, f); err != nil {
		return fmt.Errorf("rocketmq: read %q: %w", r.topic, err)
	}
	return nil
}

// Masters are the addresses of the masters of the cluster, at least one.
func Masters(ctx context.Context, cfg Config) (addresses []string, err error) {
	p := newProber(cfg)
	var found *cluster
	if err := p.names(ctx, func(l *link) (err error) {
		found, err = l.cluster(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	for _, b := range found.Brokers {
		if b.master() != "" && (cfg.Cluster == "" || b.Cluster == cfg.Cluster) {
			addresses = append(addresses, b.master())
		}
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("no master is registered with %v", cfg.NameServers)
	}
	return addresses, nil
}

// Halves says how many half messages the masters of the cluster have still to ask about, those included that were ended since they asked last.
func Halves(ctx context.Context, cfg Config) (n int64, err error) {
	masters, err := Masters(ctx, cfg)
	if err != nil {
		return 0, fmt.Errorf("rocketmq: halves: %w", err)
	}
	p := newProber(cfg)
	for _, master := range masters {
		err := p.broker(ctx, master, func(l *link) error {
			at := map[string]string{"topic": "RMQ_SYS_TRANS_HALF_TOPIC", "queueId": "0", "consumerGroup": "CID_RMQ_SYS_TRANS"}
			for code, sign := range map[int]int64{reqMaxOffset: 1, reqGroupOffset: -1} {
				a, err := l.ask(ctx, code, at, nil)
				if err != nil {
					return err
				}
				offset, err := strconv.ParseInt(a.ExtFields["offset"], 10, 64)
				if err != nil {
					return errFrame
				}
				n += sign * offset
			}
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("rocketmq: halves of broker %s: %w", master, err)
		}
	}
	return n, nil
}

// CreateTopics makes topics with so many queues on every master, perm 6, or changes their number, and returns when the name server gives their routes. It is for
// demonstrations, measurements and tests: a publisher never creates topics.
func CreateTopics(ctx context.Context, cfg Config, names []string, queues int) error {
	p := newProber(cfg)
	masters, err := Masters(ctx, cfg)
	if err != nil {
		return fmt.Errorf("rocketmq: create topics: %w", err)
	}
	for _, master := range masters {
		err := p.broker(ctx, master, func(l *link) error {
			for _, name := range names {
				if err := l.createTopic(ctx, name, queues); err != nil {
					return fmt.Errorf("topic %s on broker %s: %w", name, master, err)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("rocketmq: create %w", err)
		}
	}
	for _, name := range names {
		if err := awaitRoute(ctx, p, name, len(masters)*queues); err != nil {
			return fmt.Errorf("rocketmq: create topic %s: %w", name, err)
		}
	}
	return nil
}

// awaitRoute returns when the name server gives a topic so many queues.
func awaitRoute(ctx context.Context, p *prober, topic string, queues int) error {
	return again(ctx, func() error {
		return p.names(ctx, func(l *link) error {
			switch r, err := l.route(ctx, topic); {
			case err != nil:
				return err
			case r == nil || len(r.queues(permWrite)) != queues:
				return errors.New("the name server does not give its route yet")
			}
			return nil
		})
	})
}

// again calls f until it succeeds, a limited number of times: brokers start and register.
func again(ctx context.Context, f func() error) error {
	var err error
	for range readTries {
		if err = f(); err == nil || ctx.Err() != nil {
			return err
		}
		t := time.NewTimer(readPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
	return err
}

type reader struct {
	p     *prober
	topic string
}

func (r *reader) route(ctx context.Context) (found *route, err error) {
	err = again(ctx, func() error {
		return r.p.names(ctx, func(l *link) error {
			if found, err = l.route(ctx, r.topic); err == nil && found == nil {
				err = errors.New("the name servers do not know the topic")
			}
			return err
		})
	})
	return found, err
}

func (r *reader) all(ctx context.Context, f func(Record) error) error {
	found, err := r.route(ctx)
	if err != nil {
		return err
	}
	for lane, q := range found.queues(permRead) {
		s := span{queue: q, lane: int32(lane)}
		var own error // f's, which ends it
		take := func(rec Record) error {
			own = f(rec)
			return own
		}
		for {
			before := s.next
			err := again(ctx, func() error {
				err := r.visit(ctx, &s, take)
				if own != nil || s.next > before {
					return nil // f's own end, or progress before the trouble
				}
				return err
			})
			if own != nil {
				return own
			}
			if err != nil {
				return fmt.Errorf("queue %d of broker %s: %w", q.id, q.broker, err)
			}
			if s.known && s.next >= s.end {
				break
			}
		}
	}
	return nil
}

// span is what is to be read of one queue.
type span struct {
	queue     queue
	lane      int32
	known     bool
	next, end int64
}

// visit reads a queue over one connection to its master, from where the last visit ended.
func (r *reader) visit(ctx context.Context, s *span, f func(Record) error) error {
	found, err := r.route(ctx)
	if err != nil {
		return err
	}
	addr := found.master(s.queue.broker)
	if addr == "" {
		return errors.New("it has no master now")
	}
	return r.p.broker(ctx, addr, func(l *link) error {
		if !s.known {
			if err := l.limits(ctx, r.topic, s); err != nil {
				return err
			}
		}
		for empty := 0; s.next < s.end; {
			before := s.next
			if err := l.pull(ctx, r.topic, s, f); err != nil {
				return err
			}
			if s.next > before {
				empty = 0
			} else if empty++; empty > maxRetriesOfEmpty {
				return fmt.Errorf("no message at offset %d", s.next)
			}
		}
		return nil
	})
}

// limits asks for the first and the end offset, once the broker has indexed what it stored.
func (l *link) limits(ctx context.Context, topic string, s *span) error {
	if err := l.awaitDispatch(ctx); err != nil {
		return err
	}
	for code, to := range map[int]*int64{reqMinOffset: &s.next, reqMaxOffset: &s.end} {
		a, err := l.ask(ctx, code, map[string]string{"topic": topic, "queueId": strconv.Itoa(int(s.queue.id))}, nil)
		if err != nil {
			return err
		}
		if *to, err = strconv.ParseInt(a.ExtFields["offset"], 10, 64); err != nil {
			return errFrame
		}
	}
	s.known = true
	return nil
}

// awaitDispatch waits until the broker's queues have what its log had when this began: a message is confirmed before its queue has it, on a busy machine by seconds.
func (l *link) awaitDispatch(ctx context.Context) error {
	target := int64(-1)
	for begun := time.Now(); time.Since(begun) < dispatched; {
		end, indexed, err := l.progress(ctx)
		if err != nil {
			return err
		}
		if target < 0 {
			target = end
		}
		if indexed >= target {
			return nil
		}
		t := time.NewTimer(10 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
	return fmt.Errorf("the broker has not indexed within %v what it stored; look at its load", dispatched)
}

// progress is where the broker's log ends, and up to where its queues have it.
func (l *link) progress(ctx context.Context) (end, indexed int64, err error) {
	a, err := l.ask(ctx, reqBrokerRuntime, nil, nil)
	if err != nil {
		return 0, 0, err
	}
	var info struct {
		Table map[string]string `json:"table"`
	}
	if err := json.Unmarshal(standardJSON(a.body), &info); err != nil {
		return 0, 0, errFrame
	}
	end, endErr := strconv.ParseInt(info.Table["commitLogMaxOffset"], 10, 64)
	behind, behindErr := strconv.ParseInt(info.Table["dispatchBehindBytes"], 10, 64)
	if endErr != nil || behindErr != nil {
		return 0, 0, errFrame
	}
	return end, end - behind, nil
}

// pull reads one answer's worth.
func (l *link) pull(ctx context.Context, topic string, s *span, f func(Record) error) error {
	a, err := l.ask(ctx, reqPull, map[string]string{"consumerGroup": readGroup, "topic": topic, "queueId": strconv.Itoa(int(s.queue.id)),
		"queueOffset": strconv.FormatInt(s.next, 10), "maxMsgNums": "1000", "sysFlag": strconv.Itoa(pullSubscription), "commitOffset": "0",
		"suspendTimeoutMillis": "0", "subscription": "*", "subVersion": "0", "expressionType": "TAG"}, nil)
	var no *answerError
	if errors.As(err, &no) {
		switch no.code {
		case codePullNotFound:
			return nil
		case codePullAgain, codeOffsetMoved: // a gap: retention took what was not read yet
			next, err := strconv.ParseInt(a.ExtFields["nextBeginOffset"], 10, 64)
			if err != nil {
				return errFrame
			}
			s.next = max(s.next, next)
			return nil
		}
	}
	if err != nil {
		return err
	}
	return decodeStored(a.body, func(rec Record) error {
		if rec.Offset < s.next || rec.Offset >= s.end {
			return nil
		}
		rec.Lane, rec.Broker, rec.Queue = s.lane, s.queue.broker, s.queue.id
		if err := f(rec); err != nil {
			return err
		}
		s.next = rec.Offset + 1
		return nil
	})
}
