package replica

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// newStorage holds entries 2 to last, the newest of which are not applied, over a log without a goroutine.
func newStorage(t *testing.T, last, applied uint64, keep int) *storage {
	log, _, err := commitlog.Open(commitlog.Config{FS: vfs.NewMemory(), Dir: ".", SegmentBytes: 64 << 10}, NewRecovery().Record)
	must(t, err)
	t.Cleanup(func() { must(t, log.Close()) })
	s := &storage{log: log, stream: 4, keep: keep, wanted: make(chan struct{}, 1), first: 2, beforeTerm: 1, last: 1}
	for i := uint64(2); i <= last; i++ {
		e := &pb.Entry{Type: pb.EntryNormal.Enum(), Term: new(uint64(1 + i/10)), Index: new(i), Data: fmt.Appendf(nil, "entry %d", i)}
		_, err := log.Begin(log.Refused(), commitlog.Record{Kind: commitlog.KindEntry, Stream: 4, Index: i, Term: e.GetTerm(), Body: e.GetData()})
		must(t, err)
		f, err := log.Write()
		must(t, err)
		must(t, f.Sync())
		s.add([]*pb.Entry{e})
	}
	s.applied(applied)
	return s
}

func ready(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// raft panics for any error of Entries but ErrCompacted, and a read of the disk would hold up its heartbeats: older entries are fetched beside it, and while they
// are it is told to wait.
func TestOldEntriesAreFetched(t *testing.T) {
	s := newStorage(t, 50, 40, 0)
	if got, err := s.Entries(41, 51, 1<<20); err != nil || len(got) != 10 {
		t.Fatalf("what is not applied: %d entries, %v", len(got), err)
	}
	for _, lo := range []uint64{40, 21, 2} {
		if _, err := s.Entries(lo, 51, 1<<20); !errors.Is(err, raft.ErrCompacted) {
			t.Fatalf("entry %d before it was fetched: %v", lo, err)
		}
		if _, err := s.Snapshot(); !errors.Is(err, raft.ErrSnapshotTemporarilyUnavailable) || s.stateAsked() {
			t.Fatalf("entry %d is fetched, and a state is wanted too: %v", lo, err)
		}
		if !ready(s.wanted) {
			t.Fatal("nobody is told to fetch")
		}
		s.prefetch()
		got, err := s.Entries(lo, 51, 1<<20)
		if err != nil || got[0].GetIndex() != lo || string(got[0].GetData()) != fmt.Sprint("entry ", lo) || got[len(got)-1].GetIndex() != 40 {
			t.Fatalf("entry %d: %v, %v", lo, got, err)
		}
		if term, err := s.Term(lo); err != nil || term != got[0].GetTerm() {
			t.Errorf("entry %d is of term %d and %d: %v", lo, got[0].GetTerm(), term, err)
		}
	}
	if got, err := s.Entries(40, 51, 0); err != nil || len(got) != 1 {
		t.Errorf("with no room for any: %d entries, %v", len(got), err)
	}
}

// What the log gave up is left to a state, which is made beside raft too.
func TestStateForOldEntries(t *testing.T) {
	s := newStorage(t, 50, 50, 0)
	at, _ := s.log.Position(4, 30)
	must(t, s.log.Release(at.Segment))
	first, _ := s.log.Bounds(4)
	if first <= 2 {
		t.Fatal("nothing was released: the test needs a longer log")
	}
	if _, err := s.Entries(2, 51, 1<<20); !errors.Is(err, raft.ErrCompacted) {
		t.Fatal(err)
	}
	s.prefetch()
	if _, err := s.Entries(2, 51, 1<<20); !errors.Is(err, raft.ErrCompacted) {
		t.Fatal(err)
	}
	if _, err := s.Snapshot(); !errors.Is(err, raft.ErrSnapshotTemporarilyUnavailable) || !s.stateAsked() {
		t.Fatalf("no state is asked for: %v", err)
	}
	s.members = &pb.ConfState{Voters: []uint64{1, 2, 3}}
	s.give(snapshot{index: 50, term: 6, state: []byte("state")})
	got, err := s.Snapshot()
	if err != nil || got.GetMetadata().GetIndex() != 50 || got.GetMetadata().GetTerm() != 6 || string(got.GetData()) != "state" ||
		!slices.Equal(got.GetMetadata().GetConfState().GetVoters(), []uint64{1, 2, 3}) {
		t.Errorf("%v, %v", got, err)
	}
	s.give(snapshot{index: first - 1, term: 5}) // raft asks for its term before it sends what follows, and the log begins with that
	if term, err := s.Term(first - 1); term != 5 || err != nil {
		t.Errorf("the entry of a state that was given has term %d, %v", term, err)
	}
}

// Applied entries stay in memory up to a bound, those that are not applied always do.
func TestTail(t *testing.T) {
	s := newStorage(t, 50, 30, 200)
	if n := len(s.tail); n < 20 || s.size > 200+20*(entryAllowance+10) {
		t.Errorf("%d entries, %d bytes", n, s.size)
	}
	s.applied(50)
	if s.size > 200 || s.size < 150 || s.tail[len(s.tail)-1].GetIndex() != 50 {
		t.Errorf("%d bytes", s.size)
	}
	s.add([]*pb.Entry{{Index: new(uint64(49)), Term: new(uint64(9))}}) // another leader's
	if last, _ := s.LastIndex(); last != 49 {
		t.Errorf("the last entry is %d", last)
	}
	size := 0
	for _, e := range s.tail {
		size += entrySize(e)
	}
	if size != s.size {
		t.Errorf("%d bytes are counted, there are %d", s.size, size)
	}
}
