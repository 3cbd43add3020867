package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// round is one go of a chore over the groups that this node leads. A group that fails is left alone until the next round, so that it holds up no other.
type round struct {
	n    *Node
	lost map[uint16]bool
	errs []error // what people should hear of
}

func (n *Node) round() *round { return &round{n: n, lost: map[uint16]bool{}} }

// try does something for a group unless another node leads it, or it has failed before.
func (r *round) try(group uint16, do func() error) {
	if r.lost[group] || !r.n.leads(group) {
		return
	}
	if err := do(); err != nil {
		r.lost[group] = true
		if !r.n.passedOn(err) {
			r.errs = append(r.errs, fmt.Errorf("group %d: %w", group, err))
		}
	}
}

// propose is a try that waits for the answer as long as this node leads.
func (r *round) propose(ctx context.Context, group uint16, c fsm.Command) {
	r.try(group, func() error {
		res, err := r.n.host.Propose(ctx, group, c, 0)
		return errors.Join(err, res.Err)
	})
}

// err is what all groups have said; nil when nothing failed, or by nodes that lead no more.
func (r *round) err() error { return errors.Join(r.errs...) }
