package replica

import (
	"errors"
	"fmt"
	"iter"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
	"github.com/waybillmq/waybill/internal/kp"
)

// The base of a group is a bare state that lies before every entry to which the newest state points. A follower far behind is given it, and all entries behind it
// as entries: so each place that the follower remembers is one of its own log. Every checkpoint brings the base forward, as far as what is kept allows, and the
// segments behind it stay.

// snapshot is the applier's state now.
func (g *group) snapshot() snapshot {
	s := snapshot{index: g.appliedIndex, term: g.appliedTerm, state: g.machine.Snapshot(nil)}
	if g.alone {
		return s
	}
	if m, may := g.machine.(Pointing); may && !kp.Planted(kp.BaseTooNew) {
		if at, points := m.Oldest(); points {
			s.oldest = &at
			return s
		}
	}
	s.bare = bare(g.machine)
	return s
}

// bring sets the base that belongs to a state: a newer one than there is, when less is kept by now. It reads the entries between the two; when it cannot, the
// older one is as good, and more is kept.
func (g *group) bring(s *snapshot) {
	s.base = g.base.Load()
	if g.alone {
		return
	}
	if s.oldest == nil {
		if s.index > s.base.index {
			s.base = &snapshot{index: s.index, term: s.term, state: s.bare}
		}
		return
	}
	oldest, err := g.host.log.ReadAt(*s.oldest)
	if err == nil && oldest.Index > s.base.index+1 {
		var next *snapshot
		if next, err = g.forward(s.base, oldest.Index-1); err == nil {
			s.base = next
		}
	}
	if err != nil && !g.overtaken(s) { // else the entries are void, and so is the state
		g.host.cfg.Failed("the state that is kept for followers", fmt.Errorf("group %d, behind entry %d: %w", g.id, s.base.index, err))
	}
}

// overtaken says whether a state of another node has come, or is coming, since this one was taken.
func (g *group) overtaken(s *snapshot) bool {
	return g.installing.Load() > 0 || g.store.covered() > s.index
}

// forward is a base behind the entries up to one.
func (g *group) forward(base *snapshot, to uint64) (*snapshot, error) {
	var err error
	next := &snapshot{index: base.index, term: base.term}
	state, broken := g.machine.(Pointing).Forward(base.state, g.entries(next, to, &err))
	next.state = state
	return next, errors.Join(err, broken)
}

// entries are those behind at, up to one; at moves along.
func (g *group) entries(at *snapshot, to uint64, err *error) iter.Seq2[uint64, fsm.Entry] {
	return func(yield func(uint64, fsm.Entry) bool) {
		for at.index < to {
			var rec commitlog.Record
			if rec, *err = g.store.read(at.index + 1); *err != nil {
				return
			}
			at.index, at.term = rec.Index, rec.Term
			if len(rec.Body) == 0 || pb.EntryType(rec.Flags) != pb.EntryNormal {
				continue
			}
			var e fsm.Entry
			if e, *err = fsm.ParseEntry(rec.Body); *err != nil || !yield(rec.Term, e) {
				return
			}
		}
	}
}

// keepFrom is the oldest segment that a node needs besides what its machines point to, when reading begins at that of a checkpoint: a follower may come for what is
// behind a base. It is 0 when that cannot be told.
func (h *Host) keepFrom(c *checkpoint) uint64 {
	from := c.from
	for i, g := range h.groups {
		base := c.states[i].base
		if g.alone || base.index == c.states[i].index || kp.Planted(kp.BaseUnkept) {
			continue // what is behind the state is in from
		}
		at, held := h.log.Position(g.id, base.index+1)
		if !held {
			if err := h.log.Complete(); err != nil {
				h.cfg.Failed("what is kept for followers", err)
				return 0
			}
			if at, held = h.log.Position(g.id, base.index+1); !held {
				return 0
			}
		}
		from = min(from, at.Segment)
	}
	return from
}

// Release gives up the segments below one, as far as no follower that is heard needs them: it would be given a newer base for ever. A full disk counts more.
func (h *Host) Release(below uint64) error {
	if !h.full.Load() {
		below = h.needed(below)
	}
	return h.log.Release(below)
}

// needed is the oldest segment that a follower of this leader waits for, or below.
func (h *Host) needed(below uint64) uint64 {
	for _, g := range h.groups {
		s := g.status.Load()
		if s == nil {
			continue
		}
		for _, p := range s.Peers {
			if !p.Active || p.Lag == 0 {
				continue
			}
			if at, held := h.log.Position(g.id, max(p.Synced, g.store.offered())+1); held {
				below = min(below, at.Segment)
			}
		}
	}
	return below
}
