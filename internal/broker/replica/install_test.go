package replica

import (
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// put writes records as one frame each.
func put(t *testing.T, h *Host, records ...commitlog.Record) {
	t.Helper()
	for _, r := range records {
		_, err := h.log.Begin(h.log.Refused(), r)
		must(t, err)
		f, err := h.log.Write()
		must(t, err)
		must(t, f.Sync())
	}
}

// A state of another node that was taken over whole stands in place of every entry before; cut off anywhere, it changes nothing.
func TestTakenState(t *testing.T) {
	state := &pb.Snapshot{Data: []byte(strings.Repeat("command\n", 300) + "last"),
		Metadata: &pb.SnapshotMetadata{Index: new(uint64(50)), Term: new(uint64(7)), ConfState: &pb.ConfState{Voters: []uint64{1, 2, 3}, AutoLeave: new(false)}}}
	for cut := 0; ; cut++ {
		fs := vfs.NewMemory()
		h := stillHost(t, fs)
		put(t, h, h.first()...)
		for i := uint64(2); i <= 60; i++ { // of a leader that nobody followed
			put(t, h, commitlog.Record{Kind: commitlog.KindEntry, Stream: 0, Index: i, Term: 2})
		}
		h.partSize = 500
		var records []commitlog.Record
		for _, w := range newWriter(h.groups[0]).planInstall(state, &pb.HardState{Term: new(uint64(8)), Vote: new(uint64(0)), Commit: new(uint64(50))}) {
			records = append(records, w.records...)
		}
		last := len(records) - 2 // the membership and the hard state stand in one frame with the first index
		if cut > last {
			break
		}
		if cut < last {
			put(t, h, records[:cut]...)
		} else {
			put(t, h, records[:cut-1]...)
			_, err := h.log.Begin(h.log.Refused(), records[cut-1:]...)
			must(t, err)
			f, err := h.log.Write()
			must(t, err)
			must(t, f.Sync())
		}
		must(t, h.log.Close())
		g := stillHost(t, fs).groups[0]
		end, _ := g.store.LastIndex()
		got := fmt.Sprintf("applied %d, log to %d, %d commands", g.appliedIndex, end, len(g.machine.(*list).all()))
		want := "applied 1, log to 60, 0 commands"
		if cut == last {
			want = "applied 50, log to 50, 301 commands"
		}
		if got != want {
			t.Errorf("cut behind %d of %d records: %s, want %s", cut, last, got, want)
		}
	}
}
