package waybillbroker

import (
	"fmt"
	"path"
	"testing"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

// tight is a broker whose topics take batches of so many bytes; none = it has no topic any more.
type tight struct {
	Broker
	bytes int
	none  bool
}

func (t *tight) Topic(name string) (broker.Topic, bool) {
	known, ok := t.Broker.Topic(name)
	known.MaxBatch = t.bytes
	if t.none {
		return broker.Topic{}, false
	}
	return known, ok
}

func TestLargest(t *testing.T) {
	for bytes, want := range map[int]int{0: broker.MaxMessage - batchSpare, broker.MaxMessage: broker.MaxMessage - batchSpare, batchSpare + 500: 500, 1: 0} {
		if got := Largest(broker.Topic{MaxBatch: bytes}); got != want {
			t.Errorf("a batch of %d: %d, want %d", bytes, got, want)
		}
	}
}

// A limit that is lowered while the publisher lives refuses the large messages alone, and holds back what is behind them; restored, they pass.
func TestLimitOfATopicMayChange(t *testing.T) {
	n := startNode(t, path.Join(t.TempDir(), "node"), vfs.OS{})
	if err := n.CreateTopic(t.Context(), broker.Topic{Name: "a", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	b := &tight{Broker: n.Node, bytes: batchSpare + 500}
	p := publisherOf(t, b, outbox())
	if err := p.Open(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	var batch []*relay.Message
	for i, size := range []int{10, 900, 10, 20, 30} {
		key := []string{"x", "y", "y", "z", "z"}[i]
		batch = append(batch, &relay.Message{ID: relay.ID(i + 1), MessageID: fmt.Sprint("m", i), Topic: "a", Target: "a", Key: key, Payload: make([]byte, size), Size: size})
	}
	lane := p.Lane(batch[0])
	kinds := func() (got []relay.Kind) {
		for _, o := range p.Publish(t.Context(), lane, batch) {
			if got = append(got, o.Kind); o.Kind == relay.Rejected && o.Class != relay.ClassTooLarge {
				t.Errorf("%+v", o)
			}
		}
		return got
	}
	if got, want := fmt.Sprint(kinds()), fmt.Sprint([]relay.Kind{relay.Acked, relay.Rejected, relay.Unavailable, relay.Acked, relay.Acked}); got != want {
		t.Errorf("low: %s, want %s", got, want)
	}
	b.none = true
	for i, o := range p.Publish(t.Context(), lane, batch) { // of a topic that has gone no message dies
		if o.Kind != relay.Config {
			t.Errorf("no topic: %d: %+v", i, o)
		}
	}
	b.none, b.bytes = false, broker.MaxMessage
	for i, o := range p.Publish(t.Context(), lane, batch) {
		if o.Kind != relay.Acked {
			t.Errorf("restored: %d: %+v", i, o)
		}
	}
	if got := len(readAll(t, n.Node, "a")); got != len(batch) {
		t.Errorf("%d are stored, want %d", got, len(batch))
	}
}
