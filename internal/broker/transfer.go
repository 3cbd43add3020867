package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/waybillmq/waybill/internal/broker/replica"
)

// GroupStatus is where a group stands on a node.
type GroupStatus = replica.Status

// Status tells of each group, 0 to [DataGroups], who leads it and what is stored here; of those that this node leads, how far the other nodes are.
func (n *Node) Status() []GroupStatus { return n.host.Status() }

// transferLimit is how long a change of leaders may take. raft gives it up after an election timeout of 1 s.
const transferLimit = 2 * time.Second

// Transfer makes another node the leader of a group, which this one must lead, and returns when that one does. Meanwhile nothing is stored. A node that is not heard,
// or is far behind, is refused. [ErrUnknownGroup]: there is no such group.
func (n *Node) Transfer(ctx context.Context, group uint16, node uint64) error {
	if err := known(group); err != nil {
		return err
	}
	if err := n.mustLead(group); err != nil {
		return err
	}
	if s := n.host.Status()[group]; !s.Ready(node) {
		return fmt.Errorf("group %d: node %d is not heard, or too far behind to lead; look at the status, and try again when it has caught up", group, node)
	}
	ctx, cancel := context.WithTimeout(ctx, transferLimit)
	defer cancel()
	n.host.Transfer(group, node)
	if err := n.until(ctx, func() bool { return n.host.Leader(group) == node }); err != nil {
		return fmt.Errorf("group %d: node %d has not taken over: %w", group, node, err)
	}
	return nil
}

// raft gives a change of leaders up after an election timeout; then another node is tried.
const transferAgain = time.Second

// handOver makes others lead what this node leads, before it ends: nobody waits for an election then. It takes transferLimit at most, and half a second when nobody is
// ready.
func (n *Node) handOver(ctx context.Context) {
	if n.cfg.Cluster == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, transferLimit)
	defer cancel()
	look := time.NewTicker(transferAgain / 20)
	defer look.Stop()
	asked, heirs := map[uint16]time.Time{}, map[uint16]uint64{}
	for began := time.Now(); len(asked) > 0 || time.Since(began) < transferAgain/2; {
		moved, left := n.moved.wait(), false
		for i, s := range n.host.Status() {
			group := uint16(i)
			if !n.host.Leads(group) {
				continue
			}
			left = true
			if at, waits := asked[group]; waits && time.Since(at) < transferAgain {
				continue
			}
			if heir := s.Heir(heirs[group]); heir != 0 {
				n.host.Transfer(group, heir)
				asked[group], heirs[group] = time.Now(), heir
			}
		}
		if !left {
			return
		}
		select {
		case <-moved:
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// until waits until something holds that changes only when something moves.
func (n *Node) until(ctx context.Context, holds func() bool) error {
	for {
		moved := n.moved.wait()
		if holds() {
			return nil
		}
		select {
		case <-moved:
		case <-n.ended:
			return ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
