package waybillbroker

import (
	"context"
	"fmt"
	"path"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// node is a broker that runs.
type node struct {
	*broker.Node
	stop func() error
}

func startNode(t testing.TB, dir string, fsys vfs.FS) *node {
	t.Helper()
	n, err := broker.Open(broker.Config{Dir: dir, SegmentBytes: 8 << 20}, fsys)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	r := &node{n, sync.OnceValue(func() error { cancel(); return <-ended })}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	ready, done := context.WithTimeout(ctx, patience)
	defer done()
	if err := n.Ready(ready); err != nil {
		t.Fatal(err)
	}
	return r
}

// lossy is a broker that can lose requests and answers on the way.
type lossy struct {
	Broker
	request, answer atomic.Int32
}

func (l *lossy) AppendFrom(ctx context.Context, s broker.Source, topic string, partition int32, batch []byte, ids []int64, sums []uint32, replay bool) (broker.Ack, error) {
	if l.request.CompareAndSwap(1, 0) {
		return broker.Ack{}, context.DeadlineExceeded
	}
	ack, err := l.Broker.AppendFrom(ctx, s, topic, partition, batch, ids, sums, replay)
	if l.answer.CompareAndSwap(1, 0) {
		return broker.Ack{}, context.DeadlineExceeded
	}
	return ack, err
}

// target is a node and the publishers of one outbox on it.
type target struct {
	t     *testing.T
	node  *node
	lossy *lossy
	down  Broker
	ids   []relay.Generation
}

var topics, outboxes atomic.Int64

// outbox is the only generation of an outbox that nothing else knows.
func outbox() []relay.Generation {
	return []relay.Generation{{From: 0, UUID: fmt.Sprintf("3f2a8c1e-5b7d-4e9f-8a6c-%012d", outboxes.Add(1))}}
}

// unsettled says of all ids that they are not marked sent: nothing settles in the suite.
func unsettled(_ context.Context, ids []relay.ID) ([]relay.ID, error) { return ids, nil }

func publisherOf(t testing.TB, b Broker, generations []relay.Generation) *Publisher {
	t.Helper()
	p, err := New(Config{Broker: b, Unsettled: unsettled})
	if err != nil {
		t.Fatal(err)
	}
	p.Source(generations)
	return p
}

func (g *target) Publisher() relay.Publisher   { return publisherOf(g.t, g.lossy, g.ids) }
func (g *target) Unreachable() relay.Publisher { return publisherOf(g.t, g.down, g.ids) }
func (g *target) LoseAnswer()                  { g.lossy.answer.Store(1) }
func (g *target) LoseRequest()                 { g.lossy.request.Store(1) }

func (g *target) Topic(lanes int) string {
	g.t.Helper()
	name := fmt.Sprint("topic-", topics.Add(1))
	if err := g.node.CreateTopic(g.t.Context(), broker.Topic{Name: name, Partitions: lanes}); err != nil {
		g.t.Fatal(err)
	}
	return name
}

func (g *target) Poison(m *relay.Message) {
	m.Payload = make([]byte, broker.MaxMessage+1)
	m.Size = len(m.Payload)
}

func (g *target) Stored(topic string) []relaytest.Record { return readAll(g.t, g.node.Node, topic) }

// readAll returns every record of a topic.
func readAll(t testing.TB, n *broker.Node, topic string) (all []relaytest.Record) {
	t.Helper()
	err := ReadAll(t.Context(), n, topic, func(r Record) error {
		m, err := r.Message(topic)
		all = append(all, relaytest.Record{Lane: relay.Lane{Topic: topic, Index: r.Partition}, Offset: r.Offset, Message: m, At: r.At})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestContract holds the adapter to the contract of the port.
func TestContract(t *testing.T) {
	n := startNode(t, path.Join(t.TempDir(), "node"), vfs.OS{})
	stopped := startNode(t, path.Join(t.TempDir(), "stopped"), vfs.OS{})
	if err := stopped.stop(); err != nil {
		t.Fatal(err)
	}
	relaytest.TestPublisher(t, func(t *testing.T) relaytest.Target {
		return &target{t: t, node: n, lossy: &lossy{Broker: n.Node}, down: stopped.Node, ids: outbox()}
	}, relaytest.PublisherTraits{Capabilities: Capabilities(), Loses: true, EventPrefix: "ce_"})
}
