package waybillbroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/cloudevents"
	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/relay"
)

// call is one Publish of a lane.
type call struct {
	p     *Publisher
	part  *partition
	lane  relay.Lane
	epoch uint64

	largest int // bytes of a message with its headers
	batch   []*relay.Message
	wire    []*relay.Message // as they are written: batch, but for CloudEvents
	out     []relay.Outcome
}

// run decides every message: found from before, refused by its size, or sent, in requests of one source each.
func (c *call) run(ctx context.Context) {
	if err := c.resolveDoubt(ctx); err != nil {
		o := refusal(err, c.lane)
		if o.Kind == relay.Unknown { // of this presentation nothing was sent
			o.Earlier = true
		}
		fill(c.out, o)
		return
	}
	todo := c.sift()
	for len(todo) > 0 {
		n, source := c.piece(todo)
		rest, o := c.send(ctx, todo[:n], source)
		todo = append(rest, todo[n:]...)
		if o != nil {
			for _, i := range rest {
				c.out[i] = *o
			}
			behind := *o
			if behind.Kind == relay.Unknown {
				behind.Kind, behind.Scope, behind.Detail = relay.Unavailable, relay.ScopeLane, "not sent, because the messages before it in this lane are not answered: "+o.Detail
			}
			for _, i := range todo[len(rest):] {
				c.out[i] = behind
			}
			return
		}
	}
}

// resolveDoubt asks the partition what became of a batch whose outcome was unknown, unless that very batch is presented again: the floor must not pass it.
func (c *call) resolveDoubt(ctx context.Context) error {
	c.part.mu.Lock()
	doubt := c.part.doubt
	c.part.mu.Unlock()
	again := map[relay.ID]bool{}
	for _, m := range c.batch {
		again[m.ID] = true
	}
	if !slices.ContainsFunc(doubt, func(id relay.ID) bool { return !again[id] }) {
		return nil
	}
	for i := range c.p.sources {
		if err := c.p.ask(ctx, c.part, i, c.epoch); err != nil {
			return err
		}
	}
	c.part.mu.Lock()
	defer c.part.mu.Unlock()
	c.part.doubt = nil
	return nil
}

// sift answers what needs no request, and returns the indexes of the others.
func (c *call) sift() (todo []int) {
	t := c.part.topic
	shut := map[relay.Key]bool{}
	for i, m := range c.batch {
		key, keyed := m.OrderKey()
		t.mu.Lock()
		at, found := t.found[m.ID]
		t.mu.Unlock()
		event, err := cloudevents.Message(m, record.EventPrefix)
		switch {
		case found && at.sum == sum(m):
			c.out[i] = relay.Outcome{Kind: relay.Acked}
			if at.partition == c.lane.Index {
				c.out[i].At = relay.Position{Offset: at.offset, HasOffset: true}
			}
		case keyed && shut[key]:
			c.out[i] = relay.Outcome{Kind: relay.Unavailable, Scope: relay.ScopeKey, Class: relay.ClassRefused, Detail: "not sent: an earlier message of its key was rejected"}
		case err != nil:
			c.out[i] = relay.Outcome{Kind: relay.Rejected, Class: relay.ClassInvalid, Code: "waybill/NO_CLOUDEVENT", Detail: err.Error()}
			shut[key] = keyed
		case event.Weight() > c.largest:
			c.out[i] = relay.Outcome{Kind: relay.Rejected, Class: relay.ClassTooLarge, Code: "waybill/TOO_LARGE",
				Detail: fmt.Sprintf("a message of %d bytes with its headers; topic %q of the bundled broker takes %d", event.Weight(), c.lane.Topic, c.largest)}
			shut[key] = keyed
		default:
			c.wire[i] = event
			todo = append(todo, i)
		}
	}
	return todo
}

// piece is how many of the next messages go in one request: those of one source that fit.
func (c *call) piece(todo []int) (n, source int) {
	bytes := 0
	for n < len(todo) {
		m := c.wire[todo[n]]
		s := of(c.p.sources, m.ID)
		if bytes += m.Weight() + 64; n > 0 && (s != source || bytes > c.largest) {
			break
		}
		source = s
		n++
	}
	return n, source
}

// encoding is what a request is encoded with. The broker keeps nothing of it.
type encoding struct {
	encoder record.Encoder
	buf     []byte
	ids     []int64
	sums    []uint32
}

var encodings = sync.Pool{New: func() any { return new(encoding) }}

// send sends one request. rest is what is not stored yet: all of it with an outcome, what is missing after a partial answer without.
func (c *call) send(ctx context.Context, todo []int, source int) (rest []int, o *relay.Outcome) {
	x := encodings.Get().(*encoding)
	defer encodings.Put(x)
	e := &x.encoder
	buf := e.Begin(x.buf[:0])
	ids, sums := x.ids[:0], x.sums[:0]
	for k, i := range todo {
		m := c.batch[i]
		buf = e.Add(buf, k, c.wire[i])
		ids, sums = append(ids, int64(m.ID)), append(sums, sum(m))
	}
	x.buf, x.ids, x.sums = buf, ids, sums
	e.Finish(buf, len(todo), time.Now(), record.Nobody, -1)
	c.part.mu.Lock()
	c.part.seq[source]++
	s := broker.Source{ID: c.p.sources[source].id, Epoch: c.epoch, Seq: c.part.seq[source], Floor: c.part.ledger[source].floor}
	c.part.mu.Unlock()
	ack, err := c.p.cfg.Broker.AppendFrom(ctx, s, c.lane.Topic, c.lane.Index, buf[record.SizePrefix:], ids, sums, false)
	var partial *broker.PartialError
	offsets := ack.Offsets
	switch {
	case errors.As(err, &partial):
		offsets = partial.Offsets
	case err != nil:
		o := refusal(err, c.lane)
		if o.Kind == relay.Unknown {
			c.part.mu.Lock()
			for _, id := range ids {
				if !slices.Contains(c.part.doubt, relay.ID(id)) {
					c.part.doubt = append(c.part.doubt, relay.ID(id))
				}
			}
			c.part.mu.Unlock()
		}
		return todo, &o
	}
	c.part.mu.Lock()
	defer c.part.mu.Unlock()
	for k, i := range todo {
		if offsets[k] < 0 {
			rest = append(rest, i)
			continue
		}
		id := c.batch[i].ID
		c.part.ledger[source].add(id, offsets[k])
		c.p.owed.add(id, c.part)
		c.part.doubt = slices.DeleteFunc(c.part.doubt, func(d relay.ID) bool { return d == id })
		c.out[i] = relay.Outcome{Kind: relay.Acked, At: relay.Position{Offset: offsets[k], HasOffset: true}}
	}
	return rest, nil
}

// refusal is the outcome of an error of the broker.
func refusal(err error, lane relay.Lane) relay.Outcome {
	o := relay.Outcome{Class: relay.ClassUnreachable, Detail: fmt.Sprintf("the bundled broker, %s: %v", lane, err)}
	set := func(kind relay.Kind, scope relay.Scope, class, code string) {
		o.Kind, o.Scope, o.Class, o.Code = kind, scope, class, "waybill/"+code
	}
	switch {
	case errors.Is(err, broker.ErrFenced):
		set(relay.Unavailable, relay.ScopeLane, relay.ClassRefused, "FENCED")
		o.Fenced = true
	case errors.Is(err, broker.ErrWindowFull):
		set(relay.Unavailable, relay.ScopeLane, relay.ClassThrottled, "WINDOW_FULL")
		o.Full = true
	case errors.Is(err, broker.ErrRewound):
		set(relay.Config, relay.ScopeDestination, relay.ClassRefused, "SOURCE_REWOUND")
		o.Detail = "the database went back in time: a message has an id under which the broker holds another one; `waybill adopt` tells the outbox what happened to its database"
	case errors.Is(err, broker.ErrUnknownTopic):
		set(relay.Config, relay.ScopeTopic, relay.ClassUnknownTopic, "UNKNOWN_TOPIC")
	case errors.Is(err, broker.ErrTooLarge):
		set(relay.Rejected, 0, relay.ClassTooLarge, "TOO_LARGE")
	case errors.Is(err, broker.ErrDiskFull):
		set(relay.Unavailable, relay.ScopeDestination, relay.ClassUnreachable, "DISK_FULL")
		o.Detail = "the disk of the bundled broker is full: free space there; it goes on by itself then"
	case errors.Is(err, broker.ErrStopped) && errors.Is(err, broker.ErrNotLeader):
		set(relay.Unavailable, relay.ScopeDestination, relay.ClassUnreachable, "STOPPED")
		o.Detail = "the bundled broker has ended, by an error of its disk if nobody stopped it: see the log of this process, look at the disk, and start again; what it acknowledged is safe"
	case errors.Is(err, broker.ErrNotLeader):
		set(relay.Unavailable, relay.ScopeDestination, relay.ClassUnreachable, "NOT_LEADER")
	case errors.Is(err, broker.ErrFlushTimeout):
		set(relay.Unknown, 0, relay.ClassTimeout, "FLUSH_DISK_TIMEOUT")
	case errors.Is(err, broker.ErrReplicationTimeout), errors.Is(err, broker.ErrLeadershipLost):
		set(relay.Unknown, 0, relay.ClassTimeout, "FLUSH_SLAVE_TIMEOUT")
	case errors.Is(err, broker.ErrStale):
		set(relay.Unknown, 0, relay.ClassRefused, "STALE")
	case errors.Is(err, context.DeadlineExceeded):
		set(relay.Unknown, 0, relay.ClassTimeout, "TIMEOUT")
	default:
		set(relay.Unknown, 0, relay.ClassCut, "CUT")
	}
	return o
}
