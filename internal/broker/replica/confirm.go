package replica

import (
	"context"
	"slices"

	"go.etcd.io/raft/v3"
)

// confirm is a question whether this node still leads, on its way.
type confirm struct {
	index uint64 // applied when it is answered; known when a majority has agreed
	done  chan error
}

// Confirm returns when a majority has heard this leader after the call, and everything that was committed before the call is applied here: what the machine says
// from then on is no older than the call. The error is [ErrNotLeader], [ErrStopped] or that of ctx.
func (h *Host) Confirm(ctx context.Context, group uint16) error {
	g, c := h.groups[group], &confirm{done: make(chan error, 1)}
	g.mu.Lock()
	switch {
	case g.closed != nil:
		g.mu.Unlock()
		return g.closed
	case !g.leads.Load():
		g.mu.Unlock()
		return ErrNotLeader
	}
	g.confirms = append(g.confirms, c)
	g.mu.Unlock()
	g.steps.put() // wakes the worker
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask puts one question to the others for all who wait. The worker does it.
func (g *group) ask() {
	g.mu.Lock()
	list := g.confirms
	g.confirms = nil
	g.mu.Unlock()
	if len(list) == 0 {
		return
	}
	g.questions++
	g.asked[g.questions] = list
	g.raw.ReadIndex(le.AppendUint64(nil, g.questions))
}

// agreed takes the answers of a majority.
func (g *group) agreed(states []raft.ReadState) {
	for _, s := range states {
		if len(s.RequestCtx) != 8 {
			continue // not asked here
		}
		number := le.Uint64(s.RequestCtx)
		for _, c := range g.asked[number] {
			c.index = s.Index
		}
		g.sure = append(g.sure, g.asked[number]...)
		delete(g.asked, number)
	}
}

// answerConfirms lets those go on for whom enough is applied.
func (g *group) answerConfirms() {
	if len(g.sure) == 0 {
		return
	}
	done := g.store.appliedUpTo()
	g.sure = slices.DeleteFunc(g.sure, func(c *confirm) bool {
		if c.index <= done {
			c.done <- nil
		}
		return c.index <= done
	})
}

// refuseConfirms ends all questions.
func (g *group) refuseConfirms(err error) {
	g.mu.Lock()
	list := append(g.confirms, g.sure...)
	g.confirms, g.sure = nil, nil
	g.mu.Unlock()
	for _, more := range g.asked {
		list = append(list, more...)
	}
	clear(g.asked)
	for _, c := range list {
		c.done <- err
	}
}
