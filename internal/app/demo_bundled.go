package app

import (
	"context"
	"fmt"
	"sync"

	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// demoBundled is the bundled broker, one node in this process, which can be stopped and started again.
type demoBundled struct {
	dir    string
	topics []string
	ended  chan error    // receives the error of a node that ended by itself
	closed chan struct{} // closed by stop

	mu      sync.Mutex
	node    *bundled
	stopped bool           // halted, and not resumed
	limits  map[string]int // most bytes of a record batch, of topics that take less than usual
}

// demoSegment is short: a demonstration should not take half a gigabyte of disk.
const demoSegment = 16 << 20

func newDemoBundled(dir string) *demoBundled {
	return &demoBundled{dir: dir, ended: make(chan error, 1), closed: make(chan struct{}), limits: map[string]int{}}
}

func (d *demoBundled) start(ctx context.Context, topics []string) (_ string, err error) {
	d.topics = topics
	return fmt.Sprintf("bundled, one node, every record synced to disk before its ack (%d topics)", len(topics)), d.resume(ctx)
}

// resume starts a node on the folder.
func (d *demoBundled) resume(ctx context.Context) error {
	node, err := startBundled(context.WithoutCancel(ctx), broker.Config{Dir: d.dir, SegmentBytes: demoSegment, Partitions: demoPartitions}, d.topics)
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-node.done:
		case <-d.closed:
			return
		}
		select {
		case err := <-node.ended:
			d.ended <- err
		default: // stopped
		}
	}()
	d.mu.Lock()
	d.node, d.stopped = node, false
	d.mu.Unlock()
	return nil
}

// halt stops the node; whoever uses it finds it closed.
func (d *demoBundled) halt() error {
	d.mu.Lock()
	d.stopped = true
	node := d.node
	d.mu.Unlock()
	return node.stop()
}

func (d *demoBundled) down() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopped
}

// limit makes a topic take batches of so many bytes only, from now on and also after a new start; 0 = as many as usual.
func (d *demoBundled) limit(topic string, bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.limits[topic] = bytes; bytes == 0 {
		delete(d.limits, topic)
	}
}

func (d *demoBundled) limited(topic string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.limits[topic] > 0
}

// describe is a topic with the limit that it has now.
func (d *demoBundled) describe(t broker.Topic) broker.Topic {
	d.mu.Lock()
	defer d.mu.Unlock()
	if bytes := d.limits[t.Name]; bytes > 0 {
		t.MaxBatch = bytes
	}
	return t
}

func (d *demoBundled) now() *broker.Node {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node.node
}

func (d *demoBundled) destination() config.Destination {
	return config.NewDestination("bundled", config.KindWaybillBroker)
}

func (d *demoBundled) route(r *config.Route)           { r.To.Topic = "{topic}" }
func (d *demoBundled) inProcess() waybillbroker.Broker { return whicheverNode{d} }
func (d *demoBundled) failed() <-chan error            { return d.ended }
func (d *demoBundled) name() string                    { return "the bundled broker" }

func (d *demoBundled) stop() error {
	d.mu.Lock()
	node := d.node
	d.mu.Unlock()
	if node == nil {
		return nil
	}
	close(d.closed)
	return node.stop()
}

func (d *demoBundled) read(ctx context.Context) (stored []audit.Stored, err error) {
	for _, topic := range d.topics {
		err := waybillbroker.ReadAll(ctx, d.now(), topic, func(r waybillbroker.Record) error {
			messageID, _ := r.Header("waybill-id")
			seq, _ := r.Header("waybill-seq")
			stored = append(stored, storedAt(relay.Lane{Topic: topic, Index: r.Partition}, r.Offset, messageID, seq, topic, r.Key, r.Value))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return stored, nil
}

// whicheverNode is the node that runs now, or the one that was stopped.
type whicheverNode struct{ d *demoBundled }

var (
	_ waybillbroker.Broker = whicheverNode{}
	_ waybillbroker.Reader = whicheverNode{}
)

func (w whicheverNode) Ready(ctx context.Context) error { return w.d.now().Ready(ctx) }
func (w whicheverNode) Cluster() string                 { return w.d.now().Cluster() }

func (w whicheverNode) Topic(name string) (broker.Topic, bool) {
	t, ok := w.d.now().Topic(name)
	return w.d.describe(t), ok
}

func (w whicheverNode) Topics() []broker.Topic {
	list := w.d.now().Topics()
	for i := range list {
		list[i] = w.d.describe(list[i])
	}
	return list
}

func (w whicheverNode) Fence(ctx context.Context, id broker.SourceID, epoch uint64) error {
	return w.d.now().Fence(ctx, id, epoch)
}

func (w whicheverNode) SourceState(ctx context.Context, id broker.SourceID, epoch uint64, topic string, partition int32) (broker.CursorState, error) {
	return w.d.now().SourceState(ctx, id, epoch, topic, partition)
}

func (w whicheverNode) AppendFrom(ctx context.Context, s broker.Source, topic string, partition int32, batch []byte, ids []int64, sums []uint32, replay bool) (broker.Ack, error) {
	return w.d.now().AppendFrom(ctx, s, topic, partition, batch, ids, sums, replay)
}

// Bounds and Read are for audits.
func (w whicheverNode) Bounds(topic string, partition int32) (start, high int64, err error) {
	return w.d.now().Bounds(topic, partition)
}

func (w whicheverNode) Read(ctx context.Context, topic string, partition int32, from int64, maxBytes int) ([]broker.StoredBatch, error) {
	return w.d.now().Read(ctx, topic, partition, from, maxBytes)
}
