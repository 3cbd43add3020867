package broker

import (
	"context"

	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// Point is an offset of a partition.
type Point struct {
	Topic     string
	Partition int32
	Offset    int64
}

// Wait returns when one of the partitions holds records from its offset on, or was closed; or with the error of ctx, [ErrUnknownTopic], [ErrStopped] or
// [*NotLeaderError]. Without a point it waits for the end. It takes no goroutine; while it waits it holds some 200 bytes for each point.
func (n *Node) Wait(ctx context.Context, points ...Point) error {
	places := make([]fsm.PartitionPlace, len(points))
	for i, p := range points {
		var err error
		if places[i], err = n.place(p.Topic, p.Partition); err != nil {
			return err
		}
	}
	w := make(waiter, 1)
	defer func() {
		for _, p := range places {
			n.machine(p).forget(p.ID, w)
		}
	}()
	for {
		moved := n.moved.wait()
		for i, p := range places {
			if err := n.mustLead(p.Group); err != nil {
				return err
			}
			if n.machine(p).grown(p.ID, points[i].Offset, w) {
				return nil
			}
		}
		select {
		case <-w:
		case <-moved:
		case <-n.ended:
			return ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waiter is who waits for some partitions. It has one slot, which the first change of any of them fills.
type waiter chan struct{}

// grown says whether a partition holds records from an offset on, or is not open; if not, w is told of its next change.
func (m *dataMachine) grown(partition uint32, from int64, w waiter) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.state.Partition(partition); p == nil || p.HighWatermark() > from {
		return true
	}
	m.rowsOf(partition).wait(w)
	return false
}

// forget ends the wait of w.
func (m *dataMachine) forget(partition uint32, w waiter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.rows[partition]; r != nil {
		delete(r.waiters, w)
	}
}
