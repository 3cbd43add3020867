package waybillbroker

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

// trimmed is a broker whose retention takes what lies below start, while it is read.
type trimmed struct {
	Reader
	start, later int64
	asked        int
}

func (r *trimmed) Bounds(topic string, partition int32) (start, high int64, err error) {
	_, high, err = r.Reader.Bounds(topic, partition)
	if r.asked++; r.asked > 1 {
		return r.later, high, err
	}
	return r.start, high, err
}

// A part of a partition is read as it lies there: the offsets that are asked for and no others, less what retention took; nothing lies behind the end; an error of the caller ends it.
func TestRangeOfAPartition(t *testing.T) {
	n := startNode(t, "node", vfs.NewMemory())
	if err := n.CreateTopic(t.Context(), broker.Topic{Name: "a", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	p := publisherOf(t, n.Node, outbox())
	if err := p.Open(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for first := range 4 {
		var batch []*relay.Message
		for i := range 5 {
			id := first*5 + i + 1
			batch = append(batch, &relay.Message{ID: relay.ID(id), MessageID: fmt.Sprint("m", id), Topic: "a", Target: "a", Key: "k", Payload: []byte("x"), Size: 1})
		}
		for _, o := range p.Publish(t.Context(), p.Lane(batch[0]), batch) {
			if o.Kind != relay.Acked {
				t.Fatalf("%+v", o)
			}
		}
	}
	ask := func(r Reader, from, to, first, next int64, want ...int64) {
		t.Helper()
		var got []int64
		a, b, err := ReadRange(t.Context(), r, "a", 0, from, to, func(rec Record) error { got = append(got, rec.Offset); return nil })
		if err != nil || a != first || b != next || !slices.Equal(got, want) {
			t.Errorf("%d to %d: %v, which is %d to %d, %v", from, to, got, a, b, err)
		}
	}
	ask(n.Node, 3, 7, 3, 7, 3, 4, 5, 6)
	ask(n.Node, 18, 99, 18, 99, 18, 19)
	ask(n.Node, 20, 99, 20, 99)
	ask(n.Node, 7, 7, 7, 7)
	ask(&trimmed{Reader: n.Node, start: 5, later: 7}, 3, 9, 7, 9, 5, 6, 7, 8)
	ask(&trimmed{Reader: n.Node, start: 12, later: 12}, 3, 9, 12, 12)
	enough := errors.New("enough")
	if first, next, err := ReadRange(t.Context(), n.Node, "a", 0, 2, 9, func(rec Record) error {
		if rec.Offset == 6 {
			return enough
		}
		return nil
	}); first != 2 || next != 7 || !errors.Is(err, enough) {
		t.Errorf("%d to %d, %v", first, next, err)
	}
	if _, _, err := ReadRange(t.Context(), n.Node, "b", 0, 0, 9, func(Record) error { return nil }); !errors.Is(err, broker.ErrUnknownTopic) {
		t.Errorf("no topic: %v", err)
	}
}
