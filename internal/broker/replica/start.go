package replica

import (
	"fmt"
	"io"
	"log"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// recover brings one group to where the log has left it.
func (h *Host) recover(id uint16, machine Machine, f *found) (*group, error) {
	g := &group{id: id, host: h, machine: machine, steps: newMailbox[*pb.Message](), writes: newMailbox[*pb.Message](), apply: newMailbox[*pb.Message](),
		asks: make(chan chan snapshot), led: make(chan struct{}), proposed: map[uint64]*ownEntry{}, heard: map[uint64]uint64{}, sending: map[uint64]uint64{}, asked: map[uint64][]*confirm{}}
	// A group begins behind an entry 1 of term 1 that nobody wrote: raft learns its members from the storage, not from entries.
	g.appliedIndex, g.appliedTerm = 1, 1
	g.store = &storage{log: h.log, stream: id, wanted: make(chan struct{}, 1), hard: &pb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(1))}, members: &pb.ConfState{Voters: h.cfg.Voters}}
	base := &snapshot{index: 1, term: 1, state: bare(machine)}
	if f != nil {
		if f.hard == nil || f.conf == nil {
			return nil, fmt.Errorf("no hard state or no membership: %w", ErrRecords)
		}
		g.store.hard, g.store.members = f.hard, f.conf
		if f.state != nil {
			g.appliedIndex, g.appliedTerm = f.state.index, f.state.term
			if err := machine.Restore(f.state.state); err != nil {
				return nil, err
			}
			base = nil
			if f.base != nil {
				base = &snapshot{index: f.base.index, term: f.base.term, state: f.base.state}
			}
		}
	}
	g.alone = slices.Equal(g.store.members.GetVoters(), []uint64{h.cfg.ID})
	g.store.begin(g.appliedIndex, g.appliedTerm)
	if !g.alone {
		if base == nil {
			return nil, fmt.Errorf("its checkpoint is that of an only voter, without a state for others: %w", ErrRecords)
		}
		g.base.Store(base)
		g.store.keep = tailBytes / len(h.cfg.Machines)
		g.store.first, g.store.beforeTerm = base.index+1, base.term
	}
	if _, next := h.log.Bounds(id); next > 0 && g.alone {
		g.store.hard.Commit = new(max(g.store.hard.GetCommit(), next-1)) // synced on the only voter is committed
	}
	if err := g.replay(); err != nil {
		return nil, err
	}
	if commit := g.store.hard.GetCommit(); commit > g.store.last {
		return nil, fmt.Errorf("entry %d was committed and the log ends with %d: %w", commit, g.store.last, ErrRecords)
	}
	g.store.hard.Commit = new(max(g.store.hard.GetCommit(), g.appliedIndex))
	g.hard.Store(g.store.hard)
	var err error
	g.raw, err = raft.NewRawNode(&raft.Config{ID: h.cfg.ID, ElectionTick: electionTicks, HeartbeatTick: 1, Storage: g.store, Applied: g.appliedIndex, AsyncStorageWrites: true,
		MaxSizePerMsg: 1 << 20, MaxCommittedSizePerReady: 8 << 20, MaxUncommittedEntriesSize: 16 << 20, MaxInflightMsgs: 64, MaxInflightBytes: 4 << 20,
		CheckQuorum: true, PreVote: true, ReadOnlyOption: raft.ReadOnlySafe, DisableProposalForwarding: true, StepDownOnRemoval: true, Logger: quiet})
	return g, err
}

// bare is the state of a machine for other nodes.
func bare(machine Machine) []byte {
	if m, points := machine.(Pointing); points {
		return m.Bare(nil)
	}
	return machine.Snapshot(nil)
}

// replay applies what the log holds behind the state up to the commit it knows, and keeps the rest for raft.
func (g *group) replay() error {
	_, next := g.store.log.Bounds(g.id)
	for i := g.appliedIndex + 1; i < next; i++ {
		rec, err := g.store.log.Read(g.id, i)
		if err != nil {
			return err
		}
		e := &pb.Entry{Type: pb.EntryType(rec.Flags).Enum(), Term: &rec.Term, Index: new(i), Data: rec.Body}
		g.store.add([]*pb.Entry{e})
		if i > g.store.hard.GetCommit() {
			continue
		}
		if err := g.applyEntry(e); err != nil {
			return err
		}
		g.store.applied(i)
	}
	return nil
}

// quiet drops raft's own log: what matters to people is said by this package.
var quiet = &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)}
