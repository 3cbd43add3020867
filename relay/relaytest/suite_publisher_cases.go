package relaytest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/waybillmq/waybill/relay"
)

var publisherCases = map[string]func(*publisherCase){
	"one outcome for each message, in batches of every size (R15)": func(c *publisherCase) {
		topic := c.target.Topic(1)
		p := c.open(1)
		var all []*relay.Message
		for _, n := range []int{1, 2, 7, c.traits.MaxBatch - 1, c.traits.MaxBatch} {
			batch := c.messages(topic, "k", min(max(n, 1), c.traits.MaxBatch))
			outcomes := c.acked(p, batch)
			all = append(all, batch...)
			if c.traits.Positions {
				for i, o := range outcomes {
					if !o.At.HasOffset || o.At.Offset != outcomes[0].At.Offset+int64(i) {
						c.t.Fatalf("message %d of %d: position %+v, the first lies at %+v", i, len(batch), o.At, outcomes[0].At)
					}
				}
			}
		}
		c.verify(topic, all, once)
	},
	"I3 a position is where the message lies": func(c *publisherCase) {
		topic := c.target.Topic(3)
		p := c.open(1)
		at := map[string]relay.Position{}
		for i := range 20 {
			batch := c.messages(topic, fmt.Sprint("k", i), min(3, c.traits.MaxBatch))
			for j, o := range c.acked(p, batch) {
				at[batch[j].MessageID] = o.At
			}
		}
		for _, r := range c.target.Stored(topic) {
			if place := at[r.Message.MessageID]; c.traits.Positions && (!place.HasOffset || place.Offset != r.Offset) {
				c.t.Errorf("%s was acked at %+v and lies at %d", r.Message.MessageID, place, r.Offset)
			}
		}
	},
	"L9 I7 bytes arrive unchanged": func(c *publisherCase) {
		topic := c.target.Topic(4)
		p := c.open(1)
		seed := uint64(time.Now().UnixNano())
		c.t.Logf("seed %#x", seed)
		c.send(p, c.strange(topic, rand.New(rand.NewPCG(seed, 1))), min(50, c.traits.MaxBatch))
		c.lastID = 0
		c.verify(topic, c.strange(topic, rand.New(rand.NewPCG(seed, 1))), once)
	},
	"D3 a poisoned message fails alone, first, middle and last": func(c *publisherCase) {
		topic := c.target.Topic(1)
		p := c.open(1)
		var stored []*relay.Message
		size := min(100, c.traits.MaxBatch)
		for _, at := range []int{0, size / 2, size - 1} {
			var batch []*relay.Message
			for i := range size {
				m := c.message(topic, fmt.Sprint("k", i%10), "x")
				if i == at {
					m = c.message(topic, fmt.Sprint("poison ", at), "x")
					c.target.Poison(m)
				} else {
					stored = append(stored, m)
				}
				batch = append(batch, m)
			}
			outcomes := c.publish(p, batch)
			want := "rejected 1"
			if size > 1 {
				want = fmt.Sprintf("acked %d %s", size-1, want)
			}
			if got := kinds(outcomes); got != want || outcomes[at].Kind != relay.Rejected {
				c.t.Fatalf("poison at %d: %s, want %s; its outcome: %+v", at, got, want, outcomes[at])
			}
			if o := outcomes[at]; o.Class == "" || o.Detail == "" {
				c.t.Errorf("the rejection does not say why: %+v", o)
			}
		}
		c.verify(topic, stored, once)
	},
	"an expired context is never acked, and spoils nothing (E2)": func(c *publisherCase) {
		topic := c.target.Topic(1)
		p := c.open(1)
		c.acked(p, c.messages(topic, "before", 1))
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		n := min(3, c.traits.MaxBatch)
		batch := c.messages(topic, "k", n)
		outcomes := p.Publish(ended, p.Lane(batch[0]), batch)
		if got := kinds(outcomes); got != fmt.Sprint("unknown ", n) && got != fmt.Sprint("unavailable ", n) {
			c.t.Errorf("outcomes under an ended context: %s", got)
		}
		c.acked(p, batch) // the same batch again, unchanged
		more := c.messages(topic, "k", 3)
		c.acked(p, more)
		stored := c.target.Stored(topic)
		if want := 1 + n + len(more); len(stored) < want || (c.traits.Dedupes && len(stored) != want) {
			c.t.Errorf("%d records, want %d", len(stored), want)
		}
	},
	"E16 an unknown topic stores nothing and blames no message": func(c *publisherCase) {
		p := c.open(1)
		batch := c.messages("no-such-topic-"+fmt.Sprint(time.Now().UnixNano()), "k", 2)
		if lane := p.Lane(batch[0]); lane.Index >= 0 && !c.traits.FixedLanes {
			c.t.Errorf("lane %s is not provisional", lane)
		}
		for _, o := range c.publish(p, batch) {
			if o.Kind != relay.Unavailable && o.Kind != relay.Config {
				c.t.Errorf("outcome %+v", o)
			}
		}
	},
	"cold start: a broker that does not answer is unavailable": func(c *publisherCase) {
		p := c.target.Unreachable()
		c.opened = append(c.opened, p)
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := p.Open(ctx, 1); !errors.Is(err, relay.ErrUnavailable) {
			c.t.Errorf("open: %v, want ErrUnavailable", err)
		}
		if _, err := p.Check(ctx); err == nil {
			c.t.Error("check of a broker that does not answer found nothing wrong")
		}
	},
	"Open again, and a next owner, go on in the same lanes": func(c *publisherCase) {
		topic := c.target.Topic(2)
		p := c.open(1)
		first := c.messages(topic, "k", 3)
		c.acked(p, first)
		if err := p.Open(c.ctx(), 1); err != nil {
			c.t.Fatalf("open again: %v", err)
		}
		second := c.messages(topic, "k", 3)
		c.acked(p, second)
		third := c.messages(topic, "k", 3)
		c.acked(c.open(2), third)
		c.verify(topic, slices.Concat(first, second, third), once)
	},
	"Check names the cluster and every finding says what it is about": func(c *publisherCase) {
		c.target.Topic(1)
		p := c.open(1)
		findings, err := p.Check(c.ctx())
		if err != nil || findings.Cluster == "" {
			c.t.Fatalf("check: %+v, %v", findings, err)
		}
		for _, f := range findings.Items {
			if f.ID == "" || f.Text == "" || f.Level == "" || (f.Level == relay.LevelFail && f.Fix == "") {
				c.t.Errorf("finding %+v", f)
			}
		}
	},
	"Close before Open, twice, and then everything is refused": func(c *publisherCase) {
		p := c.target.Publisher()
		for range 2 {
			if err := p.Close(c.ctx()); err != nil {
				c.t.Errorf("close: %v", err)
			}
		}
		if err := p.Open(c.ctx(), 1); err == nil {
			c.t.Error("opened after Close")
		}
		topic := c.target.Topic(1)
		q := c.open(1)
		batch := c.messages(topic, "k", min(2, c.traits.MaxBatch))
		lane := q.Lane(batch[0])
		if err := q.Close(c.ctx()); err != nil {
			c.t.Errorf("close: %v", err)
		}
		for _, o := range q.Publish(c.ctx(), lane, batch) {
			if o.Kind == relay.Acked || o.Kind == relay.Rejected {
				c.t.Errorf("published after Close: %+v", o)
			}
		}
		if stored := c.target.Stored(topic); len(stored) != 0 {
			c.t.Errorf("%d records were stored after Close", len(stored))
		}
	},
	"Close while batches run resolves every one of them": func(c *publisherCase) {
		topic := c.target.Topic(4)
		p := c.open(1)
		var all []*relay.Message
		for k := range 40 {
			all = append(all, c.messages(topic, fmt.Sprint("k", k), 20)...)
		}
		var mu sync.Mutex
		acks := map[string]bool{}
		var lanes sync.WaitGroup
		begun := make(chan struct{}, 100)
		for lane, batches := range split(p, all, min(10, c.traits.MaxBatch)) {
			lanes.Go(func() {
				for _, batch := range batches {
					outcomes := p.Publish(c.ctx(), lane, batch)
					select {
					case begun <- struct{}{}:
					default:
					}
					if len(outcomes) != len(batch) {
						c.t.Errorf("%d outcomes for %d messages", len(outcomes), len(batch))
						return
					}
					mu.Lock()
					for i, o := range outcomes {
						acks[batch[i].MessageID] = o.Kind == relay.Acked
					}
					mu.Unlock()
				}
			})
		}
		<-begun
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		_ = p.Close(ctx) // its time may end before the answers are there: they are unknown then
		lanes.Wait()
		stored := map[string]bool{}
		for _, r := range c.target.Stored(topic) {
			stored[r.Message.MessageID] = true
		}
		for id, acked := range acks {
			if acked && !stored[id] {
				c.t.Errorf("%s was acked and is not stored", id)
			}
		}
	},
}
