package replica

import (
	"fmt"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// stillHost is a host of three voters over a log that nobody runs.
func stillHost(t *testing.T, fs vfs.FS) *Host {
	t.Helper()
	r := NewRecovery()
	log, found, err := commitlog.Open(commitlog.Config{FS: fs, Dir: ".", SegmentBytes: 64 << 10}, r.Record)
	must(t, err)
	h, err := New(Config{ID: 1, Voters: []uint64{1, 2, 3}, Opens: found.Opens, Machines: []Machine{&list{}}}, log, r)
	must(t, err)
	t.Cleanup(func() { _ = log.Close() }) // maybe closed before
	return h
}

// A follower may hear that entries are committed together with the entries. Wherever a crash cuts what it writes, the log never says that more is committed than
// it holds: a restart would take it for damage.
func TestCommitIsNeverAheadOfItsEntries(t *testing.T) {
	h := stillHost(t, vfs.NewMemory())
	w := newWriter(h.groups[0])
	var messages []*pb.Message
	for from := uint64(2); from < 62; from += 20 {
		m := &pb.Message{Type: pb.MsgStorageAppend.Enum(), Term: new(from), Vote: new(uint64(2)), Commit: new(from + 19)}
		for i := range uint64(20) {
			m.Entries = append(m.Entries, &pb.Entry{Type: pb.EntryNormal.Enum(), Term: new(from), Index: new(from + i), Data: make([]byte, 8<<10)})
		}
		messages = append(messages, m)
	}
	planned, err := w.plan(messages)
	must(t, err)
	if len(planned) < 5 {
		t.Fatalf("%d frames: too few to cut between", len(planned))
	}
	last, terms := uint64(1), 0
	for i, p := range planned {
		for _, r := range p.records {
			switch r.Kind {
			case commitlog.KindEntry:
				last = r.Index
			case commitlog.KindHardState:
				terms++
				if r.Index > last {
					t.Errorf("frame %d: entry %d is said to be committed, and the log ends with %d", i, r.Index, last)
				}
			}
		}
	}
	if last != 61 || terms != 3 {
		t.Errorf("%d entries and %d hard states were planned", last, terms)
	}
}

// What a checkpoint covers was committed, whatever the hard state on disk says: raft panics for a commit below what was applied.
func TestCommitReachesTheCheckpoint(t *testing.T) {
	fs := vfs.NewMemory()
	h := stillHost(t, fs)
	g := h.groups[0]
	c, _, err := h.newCheckpoint([]snapshot{{index: 40, term: 3, state: []byte("a\nb"), base: &snapshot{index: 30, term: 2, state: []byte("a")}}})
	must(t, err)
	for _, records := range [][]commitlog.Record{c.parts[1:], h.first(), h.endCheckpoint(c), {hardRecord(g.id, &pb.HardState{Term: new(uint64(3)), Vote: new(uint64(1))}, 7)}} {
		_, err := h.log.Begin(h.log.Refused(), records...)
		must(t, err)
	}
	f, err := h.log.Write()
	must(t, err)
	must(t, f.Sync())
	must(t, h.log.Close())
	again := stillHost(t, fs).groups[0]
	if commit := again.store.hard.GetCommit(); commit != 40 || again.appliedIndex != 40 || fmt.Sprint(again.machine.(*list).all()) != "[a b]" {
		t.Errorf("commit %d, applied %d, state %q", commit, again.appliedIndex, again.machine.(*list).all())
	}
	if base := again.base.Load(); base.index != 30 || base.term != 2 || string(base.state) != "a" {
		t.Errorf("the state for followers is %+v", base)
	}
}
