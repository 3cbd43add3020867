package rocketmq

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/waybillmq/waybill/relay"
)

const (
	beatEvery  = 20 * time.Second // a broker forgets a producer that says nothing for 120 s
	judgeLimit = 2 * time.Second  // from a question to its answer
	comeBack   = time.Second      // before a broker is connected to again
)

// attendAll begins to answer what the masters of the cluster ask about halves, those of owners before this one included. Each broker has a goroutine, which ends
// when the publisher closes.
//
// The connections are ours, and in a group of their own: the library would hand each question to a goroutine that outlives its client, and commit one-way.
func (p *Publisher) attendAll() {
	_, list, _ := strings.Cut(p.ClusterID(), "/")
	brokers := strings.Split(list, ",")
	for _, t := range *p.pins.Load() {
		brokers = append(brokers, t.brokers()...)
	}
	slices.Sort(brokers)
	for _, broker := range slices.Compact(brokers) {
		p.tasks.Go(func() {
			for p.calls.Context().Err() == nil {
				err := p.attend(p.calls.Context(), broker)
				log.Load().Debug("rocketmq: nobody answers what a broker asks about half messages; connecting again", "broker", broker, "error", err)
				t := time.NewTimer(comeBack)
				select {
				case <-t.C:
				case <-p.calls.Context().Done():
				}
				t.Stop()
			}
		})
	}
}

// attend registers with a broker as a producer of the group and answers its questions until the connection ends.
func (p *Publisher) attend(ctx context.Context, broker string) error {
	found, err := p.probe.brokers(ctx)
	if err != nil {
		return err
	}
	b := found.Brokers[broker]
	if b.master() == "" {
		return errors.New("it has no master now")
	}
	l, err := p.probe.dial(ctx, b.master())
	if err != nil {
		return err
	}
	asked, broken := newQuestions(), make(chan error, 1)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer l.Close()
	reader.Go(func() { broken <- l.collect(asked) })
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	if err := p.beat(l); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			return err
		case <-beat.C:
			err = p.beat(l)
		case <-asked.some:
			if q, any := asked.next(); any {
				err = p.answerCheck(ctx, l, asked, q)
			}
		}
		if err != nil {
			return err
		}
	}
}

// collect reads what the broker asks, at once, until the connection is closed or silent for longer than its heartbeats are. What is no question about a half of a
// relay is passed over.
func (l *link) collect(asked *questions) error {
	for {
		_ = l.SetReadDeadline(time.Now().Add(3 * beatEvery))
		frame, err := readFrame(l)
		if err != nil {
			return err
		}
		c, err := decode(frame)
		switch {
		case err != nil:
			return err
		case c.Flag&1 != 0 && c.Code != 0:
			log.Load().Debug("rocketmq: a broker refused a heartbeat, or the answer to its question about a half message", "error", firstLine(c.Remark))
		case c.Flag&1 == 0 && c.Code == reqCheckBack:
			if q, err := readQuestion(c); err != nil {
				log.Load().Debug("rocketmq: a broker asked about a message that is no half of a relay", "error", err)
			} else {
				asked.add(q, time.Now())
			}
		}
	}
}

// say writes a request whose answer is read elsewhere.
func (l *link) say(code int, fields map[string]string, body []byte) error {
	l.next++
	frame, err := (&command{Code: code, Opaque: l.next, ExtFields: fields, body: body}).encode(l.as)
	if err != nil {
		return err
	}
	_ = l.SetWriteDeadline(time.Now().Add(l.p.write))
	_, err = l.Write(frame)
	return err
}

// beat says that this process is a living producer of the group.
func (p *Publisher) beat(l *link) error {
	type producer struct {
		Group string `json:"groupName"`
	}
	body, err := json.Marshal(map[string]any{"clientID": instancePrefix(&p.cfg) + strconv.Itoa(os.Getpid()) + halfGroup, "producerDataSet": []producer{{p.halves()}},
		"consumerDataSet": []string{}})
	if err != nil {
		return err
	}
	return l.say(reqHeartbeat, nil, body)
}

// answerCheck answers one question, unless that has become old: the broker may have stored the half anew since, to ask again, and would commit both.
func (p *Publisher) answerCheck(ctx context.Context, l *link, asked *questions, q question) error {
	ctx, cancel := context.WithDeadline(ctx, q.at.Add(judgeLimit))
	defer cancel()
	var receipts []relay.Position
	if p.cfg.Receipts != nil {
		var err error
		if receipts, err = p.cfg.Receipts(ctx, q.id, q.messageID); err != nil {
			receipts = nil // it asks again
		}
	}
	v := judge(q.number, receipts)
	if ctx.Err() != nil || asked.again(q) {
		v = undecided
	}
	p.judged[v>>2].Add(1)
	q.half.group = p.halves()
	return l.say(reqEnd, q.half.fields(v), nil)
}
