package replica

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// Status is where a group stands on this node, as of its last tick, or since when another node leads.
type Status struct {
	Group   uint16
	Term    uint64
	Leader  uint64 // node; 0 = this one knows of none
	Commit  uint64 // index of the newest entry that a majority has synced, as far as this node knows
	Applied uint64
	Last    uint64       // index of the newest entry that is synced here
	Peers   []PeerStatus // of a leader, by node
}

// PeerStatus is what a leader knows of another node.
type PeerStatus struct {
	Node     uint64
	Synced   uint64 // index of the newest entry that it has confirmed
	Lag      uint64 // entries that it has not confirmed
	Active   bool   // it was heard within the last election timeout
	Snapshot bool   // it is too far behind for entries, and is given a state
}

// electionTicks is how many ticks without a word from its leader a follower waits at least before it asks for votes. It waits for twice as many at most.
const electionTicks = 10

// Status tells where each group stands.
func (h *Host) Status() []Status {
	var list []Status
	for _, g := range h.groups {
		if s := g.status.Load(); s != nil {
			list = append(list, *s)
		} else {
			list = append(list, Status{Group: g.id})
		}
	}
	return list
}

// publish is the worker's.
func (g *group) publish() {
	raw := g.raw.BasicStatus()
	last, _ := g.store.LastIndex()
	s := &Status{Group: g.id, Term: raw.HardState.GetTerm(), Leader: raw.Lead, Commit: raw.HardState.GetCommit(), Applied: raw.Applied, Last: last}
	if raw.RaftState == raft.StateLeader {
		g.raw.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
			if id != g.host.cfg.ID {
				s.Peers = append(s.Peers, PeerStatus{Node: id, Synced: p.Match, Lag: last - min(last, p.Match), Active: g.heard[id] > 0 && g.ticks-g.heard[id] < electionTicks, Snapshot: p.State == tracker.StateSnapshot})
			}
		})
	}
	g.status.Store(s)
}
