package replica

import (
	"math"
	"testing"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// A group encodes every entry into the same buffer, because raft takes a copy of what is proposed. Its documentation does not promise it.
func TestRaftCopiesProposals(t *testing.T) {
	storage := raft.NewMemoryStorage()
	rn, err := raft.NewRawNode(&raft.Config{ID: 1, ElectionTick: 10, HeartbeatTick: 1, Storage: storage, MaxSizePerMsg: math.MaxUint64, MaxInflightMsgs: 1, Logger: quiet})
	must(t, err)
	must(t, rn.Bootstrap([]raft.Peer{{ID: 1}}))
	var newest []*pb.Entry
	settle := func() {
		t.Helper()
		for rn.HasReady() {
			rd := rn.Ready()
			if len(rd.Entries) > 0 {
				newest = rd.Entries
			}
			must(t, storage.Append(rd.Entries))
			for _, e := range rd.CommittedEntries {
				if e.GetType() == pb.EntryConfChange {
					rn.ApplyConfChange(&pb.ConfChange{NodeId: new(uint64(1)), Type: pb.ConfChangeAddNode.Enum()})
				}
			}
			rn.Advance(rd)
		}
	}
	settle()
	must(t, rn.Campaign())
	settle()
	buf := []byte("proposed")
	must(t, rn.Propose(buf))
	copy(buf, "replaced")
	settle()
	if got := string(newest[len(newest)-1].GetData()); got != "proposed" {
		t.Errorf("raft holds %q: group.merge must give it a buffer of its own now", got)
	}
}
