package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// settleEvery is how often a node of several looks for what is left to settle, besides whenever something has moved: a proposal may have been lost with a leader.
const settleEvery = time.Second

// settling settles what this node leads, again and again.
func (n *Node) settling(ctx context.Context) {
	again := time.NewTicker(settleEvery)
	defer again.Stop()
	for {
		moved := n.moved.wait()
		if err := n.settle(ctx); err != nil && ctx.Err() == nil {
			n.cfg.Failed("opening and closing of partitions", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-moved:
		case <-again.C:
		}
	}
}

// settle makes the cluster on its first start, and brings the partitions in line with the topics, as far as this node leads: a node may have died between the two,
// and whoever leads the topics need not lead the partitions. The error is that of all groups that failed.
func (n *Node) settle(ctx context.Context) error {
	if n.leads(0) && !n.meta.founded() {
		r := fsm.InitRequest{Cluster: fsm.UUID(n.id.cluster), Groups: DataGroups}
		if err := n.change(ctx, fsm.Command{Type: fsm.CommandInit, Body: r.Append(nil)}); err != nil && !n.passedOn(err) {
			return err
		}
	}
	r := n.round()
	for _, t := range n.meta.topics() {
		r.openPartitions(ctx, t)
	}
	r.closeOrphans(ctx)
	return r.err()
}

// openPartitions opens those of a topic that are not.
func (r *round) openPartitions(ctx context.Context, t fsm.Topic) {
	for _, p := range t.Partitions {
		if _, _, open := r.n.machine(p).bounds(p.ID); !open {
			r.propose(ctx, p.Group, fsm.Command{Type: fsm.CommandOpen, Body: le.AppendUint32(nil, p.ID)})
		}
	}
}

// closeOrphans closes the partitions that belong to no topic any more. Of one that was made later than the newest topic that this node has heard of it knows
// nothing: another node may have opened it.
func (r *round) closeOrphans(ctx context.Context) {
	owned, placed := r.n.meta.placed()
	for i, m := range r.n.data {
		for _, id := range m.partitions() {
			if !owned[id] && id <= placed {
				r.propose(ctx, uint16(i+1), fsm.Command{Type: fsm.CommandClose, Body: le.AppendUint32(nil, id)})
			}
		}
	}
}

// opened waits until all partitions of a topic are open here: those who lead them open them. [ErrUnknownTopic]: it was deleted meanwhile.
func (n *Node) opened(ctx context.Context, t fsm.Topic) error {
	gone := false
	err := n.until(ctx, func() bool {
		now, ok := n.meta.topic(t.Name)
		if gone = !ok || now.UUID != t.UUID; gone {
			return true
		}
		for _, p := range t.Partitions {
			if _, _, open := n.machine(p).bounds(p.ID); !open {
				return false
			}
		}
		return true
	})
	if err == nil && gone {
		err = fmt.Errorf("it was deleted while its partitions were being opened: %w", ErrUnknownTopic)
	}
	return err
}
