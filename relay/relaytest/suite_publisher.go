package relaytest

import (
	"bytes"
	"context"
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
	LoseAnswer()  // the next batch, which has 10 KiB, is stored, and its answer never arrives
	LoseRequest() // the next batch, which has 10 KiB, never arrives at the broker
}

// PublisherTraits declare what a publisher can do and what its Target can show. What is not declared is named in the log, not skipped in silence.
type PublisherTraits struct {
	relay.Capabilities
	Loses      bool // the Target is Faulty
	Keyless    bool // messages with a key are not for this publisher: the suite's have none
	FixedLanes bool // lanes do not depend on what the broker knows: no topic is provisional
	// EventPrefix begins the header names of CloudEvents, "ce_"; empty = it writes none.
	EventPrefix string
	// Carries says whether the broker can hold a message unchanged; nil = every one. The others are its adapter's own tests.
	Carries func(m *relay.Message) bool
	// Lingers are functions of a client library whose goroutines end some time after Close, by themselves.
	Lingers []string
}

// TestPublisher holds a relay.Publisher to the contract of the port. open makes a Target for one case.
func TestPublisher(t *testing.T, open func(t *testing.T) Target, traits PublisherTraits) {
	cases := maps.Clone(publisherCases)
	if traits.Keyless {
		t.Logf("declared: takes no keys: %v not run", slices.Sorted(maps.Keys(keyCases)))
	} else {
		maps.Copy(cases, keyCases)
	}
	if traits.Loses {
		maps.Copy(cases, lossCases)
	} else {
		t.Logf("declared: loses nothing: %v not run", slices.Sorted(maps.Keys(lossCases)))
	}
	if traits.EventPrefix != "" {
		maps.Copy(cases, eventCases)
	} else {
		t.Logf("declared: writes no CloudEvents: %v not run", slices.Sorted(maps.Keys(eventCases)))
	}
	if traits.Fences {
		maps.Copy(cases, fenceCases)
	} else {
		t.Logf("declared: fences nobody: %v not run", slices.Sorted(maps.Keys(fenceCases)))
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) {
			target := open(t)
			leaks := []goleak.Option{goleak.IgnoreCurrent()}
			for _, function := range traits.Lingers {
				leaks = append(leaks, goleak.IgnoreAnyFunction(function))
			}
			p := &publisherCase{t: t, target: target, traits: traits}
			cases[name](p)
			p.close()
			goleak.VerifyNone(t, leaks...)
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

// message makes a message of the topic; ids ascend. It has the key unless the publisher takes none.
func (c *publisherCase) message(topic, key, payload string) *relay.Message {
	c.lastID++
	if c.traits.Keyless {
		key = ""
	}
	return &relay.Message{ID: c.lastID, MessageID: fmt.Sprintf("gen-%d", c.lastID), Topic: topic, Target: topic, Key: key, Payload: []byte(payload),
		Size: len(payload), CreatedAt: time.Now()}
}

// route sends a message as a route with CloudEvents does.
func (c *publisherCase) route(m *relay.Message, events *relay.CloudEvents) {
	c.t.Helper()
	router, err := relay.NewRouter([]relay.Route{{Name: "events", Target: m.Target, CloudEvents: events}})
	if err != nil {
		c.t.Fatal(err)
	}
	router.Find(m)
}

// messages makes n messages of one key.
func (c *publisherCase) messages(topic, key string, n int) (batch []*relay.Message) {
	for range n {
		batch = append(batch, c.message(topic, key, fmt.Sprint("payload ", c.lastID)))
	}
	return batch
}

// bulky makes a batch of 10 KiB of one key, of five messages if a batch may have so many: a Target that is to lose it can tell it from whatever else its client
// says.
func (c *publisherCase) bulky(topic, key string) (batch []*relay.Message) {
	n := min(5, c.traits.MaxBatch)
	for range n {
		batch = append(batch, c.message(topic, key, fmt.Sprintf("payload %d%*d", c.lastID, 10240/n, 0)))
	}
	return batch
}

// publish sends messages to the lane of the first one, in batches as large as they may be, and demands one outcome for each.
func (c *publisherCase) publish(p relay.Publisher, messages []*relay.Message) (outcomes []relay.Outcome) {
	c.t.Helper()
	for batch := range slices.Chunk(messages, c.traits.MaxBatch) {
		some := p.Publish(c.ctx(), p.Lane(messages[0]), batch)
		if len(some) != len(batch) {
			c.t.Fatalf("%d outcomes for %d messages", len(some), len(batch))
		}
		outcomes = append(outcomes, some...)
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

// lost publishes a batch whose request or answer is lost. Of a batch that is stored whole or not at all nothing is certain; otherwise what was not sent, because
// an earlier message of its key is not certain, may say so.
func (c *publisherCase) lost(p relay.Publisher, batch []*relay.Message) {
	c.t.Helper()
	outcomes := c.publish(p, batch)
	for i, o := range outcomes {
		behind := i > 0 && !c.traits.Atomic && o.Kind == relay.Unavailable && o.Scope == relay.ScopeKey
		if o.Kind != relay.Unknown && !behind {
			c.t.Fatalf("a lost answer gave %s; message %d: %+v", kinds(outcomes), i, o)
		}
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
		if r.IntN(3) == 0 && !c.traits.Keyless {
			m.Key = text(string(b[:min(len(b), 40)]))
		}
		if r.IntN(4) == 0 {
			m.Traceparent = fmt.Sprintf("00-%032x-%016x-01", r.Uint64(), r.Uint64())
			m.Headers = []relay.Header{{Name: "n", Value: fmt.Sprintf("%x", b)}}
		}
		all = append(all, m)
	}
	if c.traits.Carries == nil {
		return all
	}
	carried := slices.DeleteFunc(slices.Clone(all), func(m *relay.Message) bool { return !c.traits.Carries(m) })
	c.t.Logf("declared: the broker cannot hold %d of %d messages unchanged", len(all)-len(carried), len(all))
	return carried
}
