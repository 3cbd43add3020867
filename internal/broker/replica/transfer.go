package replica

import (
	"slices"
	"time"
)

// heirLag is how many entries a follower may lack to be made the leader: until it has them nobody takes a command.
const heirLag = 64

// Ready says of a leader's status whether a follower could lead at once: it is heard, and lacks few entries.
func (s Status) Ready(node uint64) bool {
	return slices.ContainsFunc(s.Peers, func(p PeerStatus) bool { return p.Node == node && p.ready() })
}

func (p PeerStatus) ready() bool { return p.Active && !p.Snapshot && p.Lag <= heirLag }

// Heir is the follower that is best prepared to lead: of those that are ready, the one that lacks the fewest entries. not is left out. 0 = there is none, or another node leads.
func (s Status) Heir(not uint64) uint64 {
	var best PeerStatus
	for _, p := range s.Peers {
		if p.ready() && p.Node != not && (best.Node == 0 || p.Lag < best.Lag) {
			best = p
		}
	}
	return best.Node
}

// diskPatience is how long a leader's disk may make no progress before another node should lead: nothing is answered before it is back.
const diskPatience = time.Second

// watchDisk hands the leadership over when the own disk does not answer, and a follower does.
func (g *group) watchDisk() {
	since := g.syncing.Load()
	if since == 0 || g.alone || !g.leads.Load() || g.host.now().UnixNano()-since < int64(diskPatience) {
		return
	}
	if heir := g.status.Load().Heir(0); heir != 0 {
		g.raw.TransferLeader(heir)
		g.settle()
	}
}

// clock notes that the writer begins to wait for the disk now, or goes on to wait after it has made progress; or that it does not wait.
func (w *writer) clock(waits bool) {
	if waits {
		w.syncing.Store(w.host.now().UnixNano())
	} else {
		w.syncing.Store(0)
	}
}
