package replica

import (
	"sync"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
)

// storage is what raft may read of a group's log: what is synced. Entries above the applied one are kept in memory; older ones, which only a follower that
// fell behind needs, are not read here: a read of the disk would hold up heartbeats.
type storage struct {
	log    *commitlog.Log
	stream uint16

	mu         sync.Mutex
	hard       *pb.HardState // as it was when the group started
	members    *pb.ConfState
	first      uint64 // index of the oldest entry that raft may ask for
	beforeTerm uint64 // term of the entry before it
	last       uint64
	tail       []*pb.Entry // the newest entries, up to last
}

var _ raft.Storage = (*storage)(nil)

func (s *storage) InitialState() (*pb.HardState, *pb.ConfState, error) { return s.hard, s.members, nil }

func (s *storage) FirstIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first, nil
}

func (s *storage) LastIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, nil
}

func (s *storage) Term(i uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.last + 1 - uint64(len(s.tail))
	switch {
	case i+1 < s.first:
		return 0, raft.ErrCompacted
	case i+1 == s.first:
		return s.beforeTerm, nil
	case i > s.last:
		return 0, raft.ErrUnavailable
	case i >= from:
		return s.tail[i-from].GetTerm(), nil
	}
	term, err := s.log.Term(s.stream, i)
	if err != nil {
		return 0, raft.ErrCompacted
	}
	return term, nil
}

func (s *storage) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.last + 1 - uint64(len(s.tail))
	if lo < from {
		return nil, raft.ErrCompacted
	}
	if hi > s.last+1 {
		return nil, raft.ErrUnavailable
	}
	size, n := uint64(0), lo-from
	for ; n < hi-from; n++ {
		size += uint64(len(s.tail[n].GetData())) + entryAllowance
		if n > lo-from && size > maxSize {
			break
		}
	}
	return append([]*pb.Entry(nil), s.tail[lo-from:n]...), nil
}

// entryAllowance is what an entry takes in memory and on the wire besides its data.
const entryAllowance = 32

// Snapshot tells raft to wait: a follower that needs older entries is served beside raft.
func (s *storage) Snapshot() (*pb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

// add takes note of entries that are synced: those of their indexes and above, if any, are void.
func (s *storage) add(entries []*pb.Entry) {
	if len(entries) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := entries[0].GetIndex()
	switch from := s.last + 1 - uint64(len(s.tail)); {
	case at == s.last+1:
		s.tail = append(s.tail, entries...)
	case at >= from:
		s.tail = append(s.tail[:at-from:at-from], entries...)
	default:
		s.tail = append([]*pb.Entry(nil), entries...)
	}
	s.last = entries[len(entries)-1].GetIndex()
}

// applied lets go the entries up to an index from memory.
func (s *storage) applied(i uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.last + 1 - uint64(len(s.tail))
	if i < from {
		return
	}
	n := min(i+1-from, uint64(len(s.tail)))
	clear(s.tail[:n])
	s.tail = s.tail[n:]
}
