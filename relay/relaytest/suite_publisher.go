package relaytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/relay"
)

// Target is a broker under test and the clients that an adapter makes for it.
type Target interface {
	Publisher() relay.Publisher   // a new client, not opened; the suite closes it
	Unreachable() relay.Publisher // a new client of a broker that does not answer
	Topic(lanes int) string       // makes an empty topic with that many lanes
	Poison(m *relay.Message)      // makes m one that the broker refuses for itself, at once
	Stored(topic string) []Record // what a reader of the topic sees, lane by lane, in the order of the broker
}

// Faulty is a Target that can lose things on the way.
type Faulty interface {
	LoseAnswer()  // the next batch is stored, and its answer never arrives
	LoseRequest() // the next batch never arrives at the broker
}

// PublisherTraits declare what a publisher can do and what its Target can show. What is not declared is named in the log, not skipped in silence.
type PublisherTraits struct {
	relay.Capabilities
	Loses bool // the Target is Faulty
}

// TestPublisher holds a relay.Publisher to the contract of the port. open makes a Target for one case.
func TestPublisher(t *testing.T, open func(t *testing.T) Target, traits PublisherTraits) {
	cases := maps.Clone(publisherCases)
	if traits.Loses {
		maps.Copy(cases, lossCases)
	} else {
		t.Logf("declared: loses nothing: %v not run", slices.Sorted(maps.Keys(lossCases)))
	}
	if traits.Fences {
		maps.Copy(cases, fenceCases)
	} else {
		t.Logf("declared: fences nobody: %v not run", slices.Sorted(maps.Keys(fenceCases)))
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) {
			target := open(t)
			leaks := goleak.IgnoreCurrent()
			p := &publisherCase{t: t, target: target, traits: traits}
			cases[name](p)
			p.close()
			goleak.VerifyNone(t, leaks)
		})
	}
}

type publisherCase struct {
	t      *testing.T
	target Target
	traits PublisherTraits
	opened []relay.Publisher
	lastID relay.ID
}

func (c *publisherCase) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

// open returns a new client that owns the epoch.
func (c *publisherCase) open(epoch relay.Epoch) relay.Publisher {
	c.t.Helper()
	p := c.target.Publisher()
	c.opened = append(c.opened, p)
	if err := p.Open(c.ctx(), epoch); err != nil {
		c.t.Fatalf("open: %v", err)
	}
	return p
}

func (c *publisherCase) close() {
	for _, p := range c.opened {
		if err := p.Close(c.ctx()); err != nil {
			c.t.Errorf("close: %v", err)
		}
	}
}

// message makes a message of the topic; ids ascend.
func (c *publisherCase) message(topic, key, payload string) *relay.Message {
	c.lastID++
	return &relay.Message{ID: c.lastID, MessageID: fmt.Sprintf("gen-%d", c.lastID), Topic: topic, Target: topic, Key: key, Payload: []byte(payload),
		Size: len(payload), CreatedAt: time.Now()}
}

// messages makes n messages of one key.
func (c *publisherCase) messages(topic, key string, n int) (batch []*relay.Message) {
	for range n {
		batch = append(batch, c.message(topic, key, fmt.Sprint("payload ", c.lastID)))
	}
	return batch
}

// publish sends one batch to the lane of its first message and demands one outcome for each.
func (c *publisherCase) publish(p relay.Publisher, batch []*relay.Message) []relay.Outcome {
	c.t.Helper()
	outcomes := p.Publish(c.ctx(), p.Lane(batch[0]), batch)
	if len(outcomes) != len(batch) {
		c.t.Fatalf("%d outcomes for %d messages", len(outcomes), len(batch))
	}
	return outcomes
}

// acked publishes and demands that everything is acked; what is definitely not stored yet (a leader that has just been chosen) is tried again.
func (c *publisherCase) acked(p relay.Publisher, batch []*relay.Message) []relay.Outcome {
	c.t.Helper()
	for end := time.Now().Add(patience); ; {
		outcomes := c.publish(p, batch)
		if kinds(outcomes) == fmt.Sprintf("acked %d", len(batch)) {
			return outcomes
		}
		if outcomes[0].Kind != relay.Unavailable || time.Now().After(end) {
			c.t.Fatalf("outcomes %s: %+v", kinds(outcomes), outcomes[0])
		}
		_ = sleep(context.Background(), 50*time.Millisecond)
	}
}

// kinds counts outcomes: "acked 99 rejected 1".
func kinds(outcomes []relay.Outcome) string {
	n := map[string]int{}
	for _, o := range outcomes {
		n[o.Kind.String()]++
	}
	var text []string
	for _, kind := range slices.Sorted(maps.Keys(n)) {
		text = append(text, fmt.Sprintf("%s %d", kind, n[kind]))
	}
	return strings.Join(text, " ")
}

// split puts messages into batches of their lanes, in order, at most `most` each.
func split(p relay.Publisher, messages []*relay.Message, most int) map[relay.Lane][][]*relay.Message {
	lanes := map[relay.Lane][][]*relay.Message{}
	for _, m := range messages {
		lane := p.Lane(m)
		batches := lanes[lane]
		if n := len(batches); n == 0 || len(batches[n-1]) == most {
			batches = append(batches, nil)
		}
		batches[len(batches)-1] = append(batches[len(batches)-1], m)
		lanes[lane] = batches
	}
	return lanes
}

// send publishes messages, all lanes at once, each lane batch by batch.
func (c *publisherCase) send(p relay.Publisher, messages []*relay.Message, most int) {
	c.t.Helper()
	var lanes sync.WaitGroup
	for lane, batches := range split(p, messages, most) {
		lanes.Go(func() {
			for _, batch := range batches {
				outcomes := p.Publish(c.ctx(), lane, batch)
				if kinds(outcomes) != fmt.Sprintf("acked %d", len(batch)) {
					c.t.Errorf("lane %s: %s: %+v", lane, kinds(outcomes), outcomes[0])
					return
				}
			}
		})
	}
	lanes.Wait()
}

// verify demands that the topic holds exactly the messages, each as often as copies says, unchanged, first copies of a key in order of the ids.
func (c *publisherCase) verify(topic string, want []*relay.Message, copies func(n int) bool) {
	c.t.Helper()
	byID := map[string]*relay.Message{}
	for _, m := range want {
		byID[m.MessageID] = m
	}
	seen, last, lanes := map[string]int{}, map[string]relay.ID{}, map[string]relay.Lane{}
	for _, r := range c.target.Stored(topic) {
		m := byID[r.Message.MessageID]
		if m == nil {
			c.t.Errorf("lane %s offset %d holds %q, which nobody sent", r.Lane, r.Offset, r.Message.MessageID)
			continue
		}
		if seen[m.MessageID]++; seen[m.MessageID] > 1 {
			continue
		}
		c.same(&r.Message, m)
		if m.Key == "" {
			continue
		}
		if last[m.Key] > m.ID {
			c.t.Errorf("key %q: message %d is stored behind %d", m.Key, m.ID, last[m.Key])
		}
		if lane, known := lanes[m.Key]; known && lane != r.Lane {
			c.t.Errorf("key %q lies on lanes %s and %s", m.Key, lane, r.Lane)
		}
		last[m.Key], lanes[m.Key] = m.ID, r.Lane
	}
	for _, m := range want {
		if !copies(seen[m.MessageID]) {
			c.t.Errorf("message %s is stored %d times", m.MessageID, seen[m.MessageID])
		}
	}
}

func once(n int) bool { return n == 1 }

func (c *publisherCase) same(got, want *relay.Message) {
	c.t.Helper()
	if !bytes.Equal(got.Payload, want.Payload) || got.Key != want.Key || got.Type != want.Type || got.ContentType != want.ContentType ||
		got.Traceparent != want.Traceparent || fmt.Sprintf("%q", got.Headers) != fmt.Sprintf("%q", want.Headers) {
		c.t.Errorf("message %s came changed:\ngot  %.400s\nwant %.400s", want.MessageID, fmt.Sprintf("%q %q %q %q %q", got.Key, got.Type, got.ContentType, got.Headers, got.Payload),
			fmt.Sprintf("%q %q %q %q %q", want.Key, want.Type, want.ContentType, want.Headers, want.Payload))
	}
	if c.traits.Tombstone && (got.Payload == nil) != want.Tombstone {
		c.t.Errorf("message %s: null is %v, tombstone is %v", want.MessageID, got.Payload == nil, want.Tombstone)
	}
}

var publisherCases = map[string]func(*publisherCase){
	"one outcome for each message, in batches of every size (R15)": func(c *publisherCase) {
		topic := c.target.Topic(1)
		p := c.open(1)
		var all []*relay.Message
		for _, n := range []int{1, 2, 7, c.traits.MaxBatch - 1, c.traits.MaxBatch} {
			batch := c.messages(topic, "k", max(n, 1))
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
			batch := c.messages(topic, fmt.Sprint("k", i), 3)
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
	"R14 keys keep their order over many lanes": func(c *publisherCase) {
		topic := c.target.Topic(4)
		p := c.open(1)
		var all []*relay.Message
		for range 40 {
			for k := range 50 {
				all = append(all, c.message(topic, fmt.Sprint("key ", k), "x"))
			}
		}
		c.send(p, all, min(30, c.traits.MaxBatch))
		c.verify(topic, all, once)
	},
	"D3 a poisoned message fails alone, first, middle and last": func(c *publisherCase) {
		topic := c.target.Topic(1)
		p := c.open(1)
		var stored []*relay.Message
		for _, at := range []int{0, 50, 99} {
			var batch []*relay.Message
			for i := range min(100, c.traits.MaxBatch) {
				m := c.message(topic, fmt.Sprint("k", i%10), "x")
				if i == at {
					m.Key = fmt.Sprint("poison ", at)
					c.target.Poison(m)
				} else {
					stored = append(stored, m)
				}
				batch = append(batch, m)
			}
			outcomes := c.publish(p, batch)
			if got, want := kinds(outcomes), fmt.Sprintf("acked %d rejected 1", len(batch)-1); got != want || outcomes[at].Kind != relay.Rejected {
				c.t.Fatalf("poison at %d: %s, want %s; its outcome: %+v", at, got, want, outcomes[at])
			}
			if o := outcomes[at]; o.Class == "" || o.Detail == "" {
				c.t.Errorf("the rejection does not say why: %+v", o)
			}
		}
		c.verify(topic, stored, once)
	},
	"R15 behind a poisoned message nothing of its key is acked": func(c *publisherCase) {
		topic := c.target.Topic(1)
		p := c.open(1)
		batch := c.messages(topic, "k", 5)
		c.target.Poison(batch[2])
		outcomes := c.publish(p, batch)
		for i, o := range outcomes {
			if want := i < 2; (o.Kind == relay.Acked) != want {
				c.t.Errorf("message %d: %+v", i, o)
			}
			if i > 2 && (o.Kind != relay.Unavailable || o.Scope != relay.ScopeKey) {
				c.t.Errorf("message %d behind the poison: %+v, want unavailable(key)", i, o)
			}
		}
		c.verify(topic, batch[:2], once)
	},
	"an expired context is never acked, and spoils nothing (E2)": func(c *publisherCase) {
		topic := c.target.Topic(1)
		p := c.open(1)
		c.acked(p, c.messages(topic, "before", 1))
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		batch := c.messages(topic, "k", 3)
		outcomes := p.Publish(ended, p.Lane(batch[0]), batch)
		if got := kinds(outcomes); got != "unknown 3" && got != "unavailable 3" {
			c.t.Errorf("outcomes under an ended context: %s", got)
		}
		c.acked(p, batch) // the same batch again, unchanged
		more := c.messages(topic, "k", 3)
		c.acked(p, more)
		stored := c.target.Stored(topic)
		if n := len(stored); n < 7 || (c.traits.Dedupes && n != 7) {
			c.t.Errorf("%d records, want 7", n)
		}
	},
	"P4 I8 a lane is a pure function of the message": func(c *publisherCase) {
		topic := c.target.Topic(5)
		p, q := c.open(1), c.open(2)
		seen := map[relay.Lane]bool{}
		var workers sync.WaitGroup
		for i := range 300 {
			m := c.message(topic, fmt.Sprint("key ", i), "x")
			lane := p.Lane(m)
			seen[lane] = true
			other := c.message(topic, m.Key, "another payload")
			workers.Go(func() {
				for range 10 {
					if p.Lane(m) != lane || p.Lane(other) != lane || q.Lane(m) != lane {
						c.t.Errorf("key %q has more than one lane", m.Key)
					}
				}
			})
		}
		workers.Wait()
		if len(seen) != 5 {
			c.t.Errorf("300 keys use %d of 5 lanes", len(seen))
		}
		spread := map[relay.Lane]bool{}
		for i := range 20 {
			m := c.message(topic, "", "x")
			m.ID = relay.ID(i * 1000)
			spread[p.Lane(m)] = true
		}
		if len(spread) < 2 {
			c.t.Error("messages without a key use one lane only")
		}
	},
	"E16 an unknown topic stores nothing and blames no message": func(c *publisherCase) {
		p := c.open(1)
		batch := c.messages("no-such-topic-"+fmt.Sprint(time.Now().UnixNano()), "k", 2)
		if lane := p.Lane(batch[0]); lane.Index >= 0 {
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
		batch := c.messages(topic, "k", 2)
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
		for lane, batches := range split(p, all, 10) {
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

// lossCases: ambiguous answers.
var lossCases = map[string]func(*publisherCase){
	"R16 E1 unknown, then the same batch": func(c *publisherCase) {
		for _, lose := range []func(){c.target.(Faulty).LoseAnswer, c.target.(Faulty).LoseRequest} {
			topic := c.target.Topic(1)
			p := c.open(1)
			before, batch, after := c.messages(topic, "k", 2), c.messages(topic, "k", 5), c.messages(topic, "k", 2)
			c.acked(p, before)
			lose()
			if got := kinds(c.publish(p, batch)); got != "unknown 5" {
				c.t.Fatalf("a lost answer gave: %s", got)
			}
			c.acked(p, batch)
			c.acked(p, after)
			c.verify(topic, slices.Concat(before, batch, after), func(n int) bool { return n == 1 || (n == 2 && !c.traits.Dedupes) })
		}
	},
	"R16 E6 unknown, then a different batch: nothing is lost": func(c *publisherCase) {
		topic := c.target.Topic(1)
		p := c.open(1)
		c.acked(p, c.messages(topic, "other", 1))
		var all []*relay.Message
		for _, lose := range []func(){c.target.(Faulty).LoseAnswer, c.target.(Faulty).LoseRequest} {
			batch := c.messages(topic, "k", 5)
			all = append(all, batch...)
			lose()
			if got := kinds(c.publish(p, batch)); got != "unknown 5" {
				c.t.Fatalf("a lost answer gave: %s", got)
			}
			c.acked(p, batch[1:4])
			c.acked(p, batch)
		}
		stored := map[string]int{}
		for _, r := range c.target.Stored(topic) {
			stored[r.Message.MessageID]++
		}
		for _, m := range all {
			if stored[m.MessageID] == 0 {
				c.t.Errorf("message %s is lost", m.MessageID)
			}
		}
	},
}

// fenceCases: an older epoch is refused by the broker.
var fenceCases = map[string]func(*publisherCase){
	"I10 an older epoch is refused": func(c *publisherCase) {
		topic := c.target.Topic(2)
		old := c.open(4)
		c.acked(old, c.messages(topic, "k", 1))
		next := c.open(5)
		late := c.messages(topic, "k", 2)
		for _, o := range c.publish(old, late) {
			if o.Kind != relay.Unavailable || !o.Fenced {
				c.t.Errorf("a batch of the older epoch: %+v", o)
			}
		}
		c.acked(next, c.messages(topic, "k", 1))
		if err := old.Open(c.ctx(), 4); !errors.Is(err, relay.ErrFenced) {
			c.t.Errorf("open of the older epoch: %v, want ErrFenced", err)
		}
		if n := len(c.target.Stored(topic)); n != 2 {
			c.t.Errorf("%d records, want 2", n)
		}
	},
}

// strange makes messages that a careless encoder would change; the same ones for the same random numbers.
func (c *publisherCase) strange(topic string, r *rand.Rand) (all []*relay.Message) {
	nasty := []string{"", " ", "\x00", "a\x00b", "\r\n", "\x01\x02", "\xff\xfe", "\xed\xa0\x80", "\u202eRTL", "\u200b", "\U0001F600", "'; --", "<script>", "%00", "null",
		strings.Repeat("k", 1024), "\x1f", "e\u0301", "\u00e9", `{"a":1e400}`, strings.Repeat("\xff", 900)}
	text := func(s string) string { return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "?") } // what PostgreSQL takes as text
	for i, s := range nasty {
		m := c.message(topic, text(s), s)
		m.Type, m.ContentType = "t", "text/plain"
		if i%2 == 0 {
			m.Headers = []relay.Header{{Name: "h", Value: text(s)}, {Name: "z " + fmt.Sprint(i), Value: ""}}
		}
		all = append(all, m)
	}
	null := c.message(topic, "null", "")
	null.Payload, null.Tombstone = nil, true
	all = append(all, null, c.message(topic, "empty", ""))
	for i := range 2000 {
		b := make([]byte, r.IntN(300))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		m := c.message(topic, fmt.Sprint("key ", i%97), string(b))
		if r.IntN(3) == 0 {
			m.Key = text(string(b[:min(len(b), 40)]))
		}
		if r.IntN(4) == 0 {
			m.Traceparent = fmt.Sprintf("00-%032x-%016x-01", r.Uint64(), r.Uint64())
			m.Headers = []relay.Header{{Name: "n", Value: fmt.Sprintf("%x", b)}}
		}
		all = append(all, m)
	}
	return all
}
