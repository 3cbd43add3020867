package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

const patience = 60 * time.Second

// fake starts a fake cluster of one node that listens like Kafka does. It knows faults that no real server gives on demand.
func fake(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// newPublisher makes a publisher for brokers that is closed, and checked for leftovers, at the end of the test.
func newPublisher(t *testing.T, brokers []string, change func(*Config)) *Publisher {
	t.Helper()
	leaks := []goleak.Option{goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("github.com/waybillmq/waybill/internal/child.(*Process).supervise")}
	cfg := DefaultConfig()
	cfg.Brokers = brokers
	cfg.ClientID = "waybill/" + t.Name()
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
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

func open(t *testing.T, brokers []string, change func(*Config)) *Publisher {
	t.Helper()
	p := newPublisher(t, brokers, change)
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

// ids makes messages of one key with the given ids.
func ids(topic, key string, list ...int) (batch []*relay.Message) {
	for _, id := range list {
		payload := fmt.Sprintf("payload %d", id)
		batch = append(batch, &relay.Message{ID: relay.ID(id), MessageID: fmt.Sprintf("gen-%d", id), Topic: topic, Target: topic, Key: key,
			Payload: []byte(payload), Size: len(payload), CreatedAt: time.UnixMicro(1_700_000_000_000_000 + int64(id))})
	}
	return batch
}

func span(from, to int) (list []int) {
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

// untilAcked presents a batch again, unchanged, as the engine does, and counts what came before.
func untilAcked(t *testing.T, p *Publisher, batch []*relay.Message) (before map[relay.Kind]int, out []relay.Outcome) {
	t.Helper()
	before = map[relay.Kind]int{}
	eventually(t, "all acked", func() bool {
		out = publish(t, p, batch)
		if !slices.ContainsFunc(out, func(o relay.Outcome) bool { return o.Kind != relay.Acked }) {
			return true
		}
		before[out[0].Kind]++
		return false
	})
	return before, out
}

// seqs are the ids that lie at the broker, partition by partition.
func seqs(t *testing.T, brokers []string, topic string) (all [][]string) {
	t.Helper()
	err := ReadAll(within(t, patience), brokers, topic, func(r Record) error {
		for len(all) <= int(r.Partition) {
			all = append(all, nil)
		}
		seq, _ := r.Header("waybill-seq")
		all[r.Partition] = append(all[r.Partition], seq)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wantStored demands exactly these ids in this order in the first partition.
func wantStored(t *testing.T, brokers []string, topic string, list ...int) {
	t.Helper()
	var texts []string
	for _, id := range list {
		texts = append(texts, fmt.Sprint(id))
	}
	var got []string
	if all := seqs(t, brokers, topic); len(all) > 0 {
		got = all[0]
	}
	if !slices.Equal(got, texts) {
		t.Fatalf("stored %v, want %v", got, texts)
	}
}

// wantOffsets demands that each acked message lies where its outcome says.
func wantOffsets(t *testing.T, brokers []string, batch []*relay.Message, out []relay.Outcome, lane relay.Lane) {
	t.Helper()
	at := map[int64]string{}
	if err := ReadAll(within(t, patience), brokers, lane.Topic, func(r Record) error {
		if r.Partition == lane.Index {
			at[r.Offset], _ = r.Header("waybill-id")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i, o := range out {
		if o.Kind == relay.Acked && (!o.At.HasOffset || at[o.At.Offset] != batch[i].MessageID) {
			t.Fatalf("message %s is said to lie at %+v, there is %q", batch[i].MessageID, o.At, at[o.At.Offset])
		}
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

// raisePartitions gives a topic more partitions.
func raisePartitions(t *testing.T, brokers []string, topic string, count int) {
	t.Helper()
	tr := &kafkago.Transport{}
	defer tr.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(brokers...), Transport: tr}
	res, err := client.CreatePartitions(within(t, patience), &kafkago.CreatePartitionsRequest{
		Topics: []kafkago.TopicPartitionsConfig{{Name: topic, Count: int32(count)}}})
	if err == nil {
		err = res.Errors[topic]
	}
	if err != nil {
		t.Fatal(err)
	}
}

// encodeAll is one record batch of msgs behind its size.
func encodeAll(msgs []*relay.Message) []byte {
	var e record.Encoder
	buf := e.Begin(nil)
	for i, m := range msgs {
		buf = e.Add(buf, i, m)
	}
	e.Finish(buf, len(msgs), time.Now(), record.Nobody, -1)
	return buf
}

// kibibyte makes n messages of 1 KiB.
func kibibyte(n int) []*relay.Message {
	msgs := make([]*relay.Message, n)
	for i := range msgs {
		msgs[i] = &relay.Message{ID: relay.ID(i + 1), MessageID: fmt.Sprint("8c0b7e5e-6a3f-4e0e-9f0e-0d8d1c9a1b2c-", i), Topic: "bench", Target: "bench",
			Key: fmt.Sprint("key-", i%1000), Type: "order.paid", CreatedAt: time.Unix(1_700_000_000, int64(i)*1000), Payload: make([]byte, 1024), Size: 1024,
			Headers: []relay.Header{{Name: "tenant", Value: "t-1"}, {Name: "region", Value: "eu"}}}
	}
	return msgs
}
