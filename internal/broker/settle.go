package broker

import (
	"context"
	"errors"
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
		if err := n.settle(ctx); err != nil && ctx.Err() == nil && !n.passedOn(err) {
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
// and whoever leads the topics need not lead the partitions.
func (n *Node) settle(ctx context.Context) error {
	if n.leads(0) && !n.meta.founded() {
		r := fsm.InitRequest{Cluster: fsm.UUID(n.id.cluster), Groups: DataGroups}
		if err := n.change(ctx, fsm.Command{Type: fsm.CommandInit, Body: r.Append(nil)}); err != nil {
			return err
		}
	}
	for _, t := range n.meta.topics() {
		if err := n.openPartitions(ctx, t); err != nil {
			return err
		}
	}
	return n.closeOrphans(ctx)
}

// openPartitions opens those of a topic that are not.
func (n *Node) openPartitions(ctx context.Context, t fsm.Topic) error {
	for _, p := range t.Partitions {
		if _, _, open := n.machine(p).bounds(p.ID); open || !n.leads(p.Group) {
			continue
		}
		if r, err := n.host.Propose(ctx, p.Group, fsm.Command{Type: fsm.CommandOpen, Body: le.AppendUint32(nil, p.ID)}, 0); err != nil || r.Err != nil {
			return errors.Join(err, r.Err)
		}
	}
	return nil
}

// closeOrphans closes the partitions that belong to no topic any more. Of one that was made later than the newest topic that this node has heard of it knows
// nothing: another node may have opened it.
func (n *Node) closeOrphans(ctx context.Context) error {
	owned, placed := n.meta.placed()
	for i, m := range n.data {
		group := uint16(i + 1)
		if !n.leads(group) {
			continue
		}
		for _, id := range m.partitions() {
			if owned[id] || id > placed {
				continue
			}
			if r, err := n.host.Propose(ctx, group, fsm.Command{Type: fsm.CommandClose, Body: le.AppendUint32(nil, id)}, 0); err != nil || r.Err != nil {
				return errors.Join(err, r.Err)
			}
		}
	}
	return nil
}

// opened waits until all partitions of a topic are open here: those who lead them open them.
func (n *Node) opened(ctx context.Context, t fsm.Topic) error {
	return n.until(ctx, func() bool {
		for _, p := range t.Partitions {
			if _, _, open := n.machine(p).bounds(p.ID); !open {
				return false
			}
		}
		return true
	})
}
