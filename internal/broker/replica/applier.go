package replica

import (
	"context"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// applying is the applier.
func (g *group) applying(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case answer := <-g.asks:
			answer <- g.snapshot()
		case <-g.apply.ready:
			if err := g.applyWaiting(); err != nil {
				g.host.fail(err)
				return
			}
		}
	}
}

// applyWaiting applies what has come.
func (g *group) applyWaiting() error {
	for _, m := range g.apply.take() {
		if err := g.restore(m.GetSnapshot()); err != nil {
			return err
		}
		for _, e := range m.GetEntries() {
			if err := g.applyEntry(e); err != nil {
				return err
			}
		}
		g.deliver(m.GetResponses())
	}
	return nil
}

// applyEntry applies a committed entry and answers whoever proposed it.
func (g *group) applyEntry(e *pb.Entry) error {
	if e.GetType() != pb.EntryNormal {
		return fmt.Errorf("group %d: entry %d changes the membership, which this version does not know: %w", g.id, e.GetIndex(), ErrRecords)
	}
	if len(e.GetData()) > 0 { // empty: a leader begins its term
		data, err := g.data(e)
		if err != nil {
			return err
		}
		entry, err := fsm.ParseEntry(data)
		if err != nil {
			return fmt.Errorf("group %d: entry %d: %w", g.id, e.GetIndex(), err)
		}
		at, _ := g.host.log.Position(g.id, e.GetIndex())
		results := g.machine.Apply(at, e.GetTerm(), entry)
		if entry.Proposer == g.host.cfg.ID {
			g.answer(entry.Proposal, results)
		}
	}
	g.appliedIndex, g.appliedTerm = e.GetIndex(), e.GetTerm()
	if term := e.GetTerm(); term != g.ledTerm.Load() && g.leads.Load() && term == g.term.Load() {
		if g.ledTerm.Swap(term) == 0 {
			close(g.led)
		}
		g.host.cfg.Moved()
	}
	return nil
}

// restore takes a state of another node, which is synced here.
func (g *group) restore(s *pb.Snapshot) error {
	if s == nil {
		return nil
	}
	if err := g.machine.Restore(s.GetData()); err != nil {
		return fmt.Errorf("group %d: the state of another node up to entry %d: %w", g.id, s.GetMetadata().GetIndex(), err)
	}
	g.appliedIndex, g.appliedTerm = s.GetMetadata().GetIndex(), s.GetMetadata().GetTerm()
	g.base.Store(&snapshot{index: g.appliedIndex, term: g.appliedTerm, state: s.GetData()})
	g.installing.Add(-1)
	return nil
}
