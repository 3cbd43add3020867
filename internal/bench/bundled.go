package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/relay"
)

// bundled is the bundled broker as a destination of the relay in this process.
type bundled struct {
	node  *node
	store *postgres.Store

	mu    sync.Mutex
	acked map[int64]int64 // by number of the message: when, ns since 1970; nil = nobody asks
	took  []float64       // ms of each call of Publish
}

func startBundled(ctx context.Context, j *job, store *postgres.Store) (*bundled, error) {
	n, err := startNode(ctx, j.Dir, j.Segment, 0)
	if err != nil {
		return nil, err
	}
	if err := n.makeTopic(ctx, 0); err != nil {
		return nil, errors.Join(err, n.stop())
	}
	n.settle(ctx)
	b := &bundled{node: n, store: store}
	if j.Acks {
		b.acked = map[int64]int64{}
	}
	return b, nil
}

// stop may be called of nil.
func (b *bundled) stop() error {
	if b == nil {
		return nil
	}
	return b.node.stop()
}

// destination is as the product has it.
func (b *bundled) destination() relay.Destination {
	cfg := waybillbroker.Config{Broker: b.node, Unsettled: b.store.Unsettled}
	return relay.Destination{Name: "bench", Capabilities: waybillbroker.Capabilities(), New: func() (relay.Publisher, error) {
		p, err := waybillbroker.New(cfg)
		if err != nil || b.acked == nil {
			return p, err
		}
		return &clock{p, b}, nil
	}}
}

// clock is a publisher that takes note of when a message is acked. Its payload begins with its number.
type clock struct {
	*waybillbroker.Publisher
	of *bundled
}

func (c *clock) Publish(ctx context.Context, lane relay.Lane, batch []*relay.Message) []relay.Outcome {
	began := time.Now()
	out := c.Publisher.Publish(ctx, lane, batch)
	now := time.Now()
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.took = append(c.of.took, now.Sub(began).Seconds()*1000)
	for i, m := range batch {
		if out[i].Kind == relay.Acked {
			c.of.acked[int64(binary.BigEndian.Uint64(m.Payload))] = now.UnixNano()
		}
	}
	return out
}

// check reads the topic back: it must hold every message once and each key in order, by the ids of a backlog, or by the numbers of what was acked.
func (b *bundled) check(ctx context.Context, w *witness, r *report) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.AckedAt = b.acked
	if len(b.took) > 0 {
		r.P50, r.P99 = quantile(b.took, 0.5), quantile(b.took, 0.99)
	}
	if b.acked != nil {
		w = newWitness(0, int64(len(b.acked)), true)
	}
	err = waybillbroker.ReadAll(ctx, b.node, nodeTopic, func(r waybillbroker.Record) error {
		if b.acked != nil && len(r.Value) >= 8 {
			w.saw(int64(binary.BigEndian.Uint64(r.Value)), string(r.Key))
			return nil
		}
		seq, _ := r.Header(headerSeq)
		id, err := strconv.ParseInt(seq, 10, 64)
		if err != nil {
			w.strange.Add(1)
			return nil
		}
		w.saw(id, string(r.Key))
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the bundled broker back: %w", err)
	}
	return w.verdict()
}
