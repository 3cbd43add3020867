package waybillbroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

// alone is one message of a topic of one partition.
func alone(id relay.ID) []*relay.Message {
	return []*relay.Message{{ID: id, MessageID: fmt.Sprint("m-", id), Topic: "a", Target: "a", Payload: fmt.Appendf(nil, "%d", id), Size: 1, CreatedAt: time.Unix(1, 0)}}
}

// The floor passes neither a message whose outcome is unknown nor one of the owner before while these are not marked sent: they come again later, out of held,
// and are not stored a second time.
func TestFloorPassesNothingOpen(t *testing.T) {
	for _, next := range []bool{false, true} {
		t.Run(fmt.Sprintf("next owner %v", next), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { floorPassesNothingOpen(t, next) })
		})
	}
}

func floorPassesNothingOpen(t *testing.T, next bool) {
	n := startNode(t, "node", vfs.NewMemory())
	if err := n.CreateTopic(t.Context(), broker.Topic{Name: "a", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	l := &lossy{Broker: n.Node}
	ids := outbox()
	open := func(epoch relay.Epoch) *Publisher {
		p := publisherOf(t, l, ids)
		if err := p.Open(t.Context(), epoch); err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := open(1)
	publish := func(id relay.ID) relay.Outcome {
		m := alone(id)
		return p.Publish(t.Context(), p.Lane(m[0]), m)[0]
	}
	acked := func(id relay.ID) {
		t.Helper()
		if o := publish(id); o.Kind != relay.Acked {
			t.Fatalf("message %d: %+v", id, o)
		}
	}
	if next {
		acked(1)
		p = open(2)
	} else {
		l.answer.Store(1)
		if o := publish(1); o.Kind != relay.Unknown {
			t.Fatalf("the lost answer: %+v", o)
		}
	}
	for id := relay.ID(2); id < 10; id++ { // each tells the floor of the ones before
		acked(id)
		p.Settled([]relay.ID{id})
	}
	acked(1)
	if stored := readAll(t, n.Node, "a"); len(stored) != 9 {
		t.Errorf("%d records are stored, want 9", len(stored))
	}
}

// late is a broker that keeps the first requests back and answers none of them.
type late struct {
	Broker
	keep int
	kept []func() error // applies a request after all
}

func (l *late) AppendFrom(ctx context.Context, s broker.Source, topic string, partition int32, batch []byte, ids []int64, sums []uint32, replay bool) (broker.Ack, error) {
	if len(l.kept) == l.keep {
		return l.Broker.AppendFrom(ctx, s, topic, partition, batch, ids, sums, replay)
	}
	batch, ids, sums = slices.Clone(batch), slices.Clone(ids), slices.Clone(sums)
	l.kept = append(l.kept, func() error {
		_, err := l.Broker.AppendFrom(context.Background(), s, topic, partition, batch, ids, sums, replay)
		return err
	})
	return broker.Ack{}, context.DeadlineExceeded
}

// What is asked for ends every request before it, also when several of them are on their way: none of them is stored behind what was answered.
func TestLateRequestsAreStale(t *testing.T) { synctest.Test(t, lateRequestsAreStale) }

func lateRequestsAreStale(t *testing.T) {
	n := startNode(t, "node", vfs.NewMemory())
	if err := n.CreateTopic(t.Context(), broker.Topic{Name: "a", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	l := &late{Broker: n.Node, keep: 4}
	p := publisherOf(t, l, outbox())
	if err := p.Open(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	publish := func(id relay.ID) relay.Kind {
		m := alone(id)
		return p.Publish(t.Context(), p.Lane(m[0]), m)[0].Kind
	}
	for range l.keep {
		if kind := publish(1); kind != relay.Unknown {
			t.Fatalf("a request without an answer: %v", kind)
		}
	}
	if kind := publish(2); kind != relay.Acked {
		t.Fatalf("another message: %v", kind)
	}
	for i, apply := range l.kept {
		if err := apply(); !errors.Is(err, broker.ErrStale) {
			t.Errorf("late request %d: %v", i+1, err)
		}
	}
	if stored := readAll(t, n.Node, "a"); len(stored) != 1 {
		t.Errorf("%d records are stored, want 1", len(stored))
	}
}
