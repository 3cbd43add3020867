package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

const patience = 60 * time.Second

// lingers are the goroutines that the library keeps after it was shut down: two sleep for 10 s, the reader of a name server connection waits for its time-out.
var lingers = []string{
	"github.com/apache/rocketmq-client-go/v2/internal.(*rmqClient).Start.func1.1",
	"github.com/apache/rocketmq-client-go/v2/internal.(*rmqClient).Start.func1.2",
	"github.com/apache/rocketmq-client-go/v2/internal.(*rmqClient).Start.func1.3",
	"github.com/apache/rocketmq-client-go/v2/internal.(*rmqClient).Start.func1.4",
	"github.com/apache/rocketmq-client-go/v2/internal/remote.(*remotingClient).receiveResponse",
}

// ignored are those, and the goroutines that wait for the servers.
func ignored() []goleak.Option {
	opts := []goleak.Option{goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("github.com/waybillmq/waybill/internal/child.(*Process).supervise")}
	for _, f := range lingers {
		opts = append(opts, goleak.IgnoreAnyFunction(f))
	}
	return opts
}

// newPublisher makes a publisher that is closed, and checked for leftovers, at the end of the test.
func newPublisher(t *testing.T, servers []string, change func(*Config)) *Publisher {
	t.Helper()
	leaks := ignored()
	p := unchecked(t, servers, change)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		goleak.VerifyNone(t, leaks...)
	})
	return p
}

func unchecked(t *testing.T, servers []string, change func(*Config)) *Publisher {
	t.Helper()
	cfg := DefaultConfig()
	cfg.NameServers = servers
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func open(t *testing.T, servers []string, change func(*Config)) *Publisher {
	t.Helper()
	p := newPublisher(t, servers, change)
	opened(t, p)
	return p
}

// opened opens a publisher as the engine does: again while the broker is not ready.
func opened(t *testing.T, p *Publisher) {
	t.Helper()
	eventually(t, "open", func() bool {
		err := p.Open(within(t, patience), 1)
		if err != nil && !errors.Is(err, relay.ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls a condition, because some states have no event.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

var topics atomic.Int64

// topicName is one that no other test uses.
func topicName(t *testing.T) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, t.Name())
	return fmt.Sprintf("%.100s_%d", name, topics.Add(1))
}

// ids makes messages of one key with the given ids.
func ids(topic, key string, list ...int) (batch []*relay.Message) {
	for _, id := range list {
		payload := fmt.Sprintf("payload %d", id)
		batch = append(batch, &relay.Message{ID: relay.ID(id), MessageID: fmt.Sprintf("gen-%d", id), Topic: topic, Target: topic, Key: key,
			Payload: []byte(payload), Size: len(payload), CreatedAt: time.UnixMicro(1_700_000_000_000_000 + int64(id))})
	}
	return batch
}

func numbers(from, to int) (list []int) {
	for i := from; i <= to; i++ {
		list = append(list, i)
	}
	return list
}

// publish sends a batch to the lane of its first message.
func publish(t *testing.T, p *Publisher, batch []*relay.Message) []relay.Outcome {
	t.Helper()
	out := p.Publish(within(t, patience), p.Lane(batch[0]), batch)
	if len(out) != len(batch) {
		t.Fatalf("%d outcomes for %d messages", len(out), len(batch))
	}
	return out
}

// want demands the kinds of outcomes, "rejected 1 acked 99" in the order in which they come.
func want(t *testing.T, out []relay.Outcome, kinds string) {
	t.Helper()
	var runs []string
	for i := 0; i < len(out); {
		j := i
		for j < len(out) && out[j].Kind == out[i].Kind {
			j++
		}
		runs = append(runs, fmt.Sprintf("%v %d", out[i].Kind, j-i))
		i = j
	}
	if got := strings.Join(runs, " "); got != kinds {
		t.Fatalf("outcomes %q, want %q: first %+v last %+v", got, kinds, out[0], out[len(out)-1])
	}
}

// untilAcked presents a batch again, unchanged, as the engine does, and counts what came before by code.
func untilAcked(t *testing.T, p *Publisher, batch []*relay.Message) (before map[string]int) {
	t.Helper()
	before = map[string]int{}
	eventually(t, "all acked", func() bool {
		out := publish(t, p, batch)
		if !slices.ContainsFunc(out, func(o relay.Outcome) bool { return o.Kind != relay.Acked }) {
			return true
		}
		before[fmt.Sprint(out[0].Kind, " ", out[0].Code)]++
		return false
	})
	return before
}

func readConfig(servers []string) Config {
	cfg := DefaultConfig()
	cfg.NameServers = servers
	return cfg
}

// seqs are the ids that lie at the broker, lane by lane.
func seqs(t *testing.T, cfg Config, topic string) (all [][]string) {
	t.Helper()
	err := ReadAll(within(t, 2*patience), cfg, topic, func(r Record) error {
		if r.Torn {
			return nil
		}
		for len(all) <= int(r.Lane) {
			all = append(all, nil)
		}
		seq, _ := r.Property(record.HeaderSeq)
		all[r.Lane] = append(all[r.Lane], seq)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wantStored demands exactly these ids in this order in the first queue.
func wantStored(t *testing.T, servers []string, topic string, list ...int) {
	t.Helper()
	var texts []string
	for _, id := range list {
		texts = append(texts, fmt.Sprint(id))
	}
	var got []string
	if all := seqs(t, readConfig(servers), topic); len(all) > 0 {
		got = all[0]
	}
	if !slices.Equal(got, texts) {
		t.Fatalf("stored %v, want %v", got, texts)
	}
}

// hook collects what OnLanesChanged is told.
type hook struct {
	mu     sync.Mutex
	topics []string
}

func (h *hook) told(topic string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.topics = append(h.topics, topic)
}

func (h *hook) list() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.topics)
}

// unusedAddr is a loopback address where nobody listens.
func unusedAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func check(t *testing.T, p *Publisher) relay.Findings {
	t.Helper()
	f, err := p.Check(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func wantLevel(t *testing.T, f relay.Findings, id, subject string, level relay.Level) {
	t.Helper()
	for _, x := range f.Items {
		if x.ID == id && x.Subject == subject {
			if x.Level != level || x.Text == "" || (level == relay.LevelFail || level == relay.LevelWarn) && x.Fix == "" {
				t.Errorf("%+v, want %s", x, level)
			}
			return
		}
	}
	t.Errorf("no finding %s about %s", id, subject)
}
