package replica

import (
	"errors"
	"sync"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
)

// storage is what raft may read of a group's log: what is synced. Entries above the applied one are kept in memory, and with several voters the newest below
// it. Older ones, which only a follower that fell behind needs, are not read here, as a read of the disk would hold up heartbeats: raft is told to wait, and
// [storage.prefetch] brings them for its next try.
type storage struct {
	log    *commitlog.Log
	stream uint16
	keep   int           // bytes of applied entries that stay in memory
	wanted chan struct{} // one slot: want is set

	mu         sync.Mutex
	hard       *pb.HardState // as it was when the group started
	members    *pb.ConfState // never changed in place
	first      uint64        // index of the oldest entry that raft may ask for
	beforeTerm uint64        // term of the entry before it
	last       uint64
	known      uint64      // index of the entry before those that were read when the log was opened
	knownTerm  uint64      // its term
	done       uint64      // applied
	tail       []*pb.Entry // the newest entries, up to last
	size       int         // bytes of tail
	want       uint64      // index of an older entry that raft has asked for; 0 = none
	gone       uint64      // entries up to here are not in the log any more
	cold       []*pb.Entry // older entries, as they were fetched
	asked      bool        // raft wants a state for a follower
	offer      *pb.Snapshot
	offers     uint64 // index of the newest state that was offered
	offersTerm uint64
}

const (
	tailBytes = 32 << 20 // of applied entries that a node keeps in memory for its followers
	coldBytes = 4 << 20  // of older ones, fetched at once for a group
)

var _ raft.Storage = (*storage)(nil)

// begin is the start behind a state.
func (s *storage) begin(index, term uint64) {
	s.first, s.beforeTerm, s.known, s.knownTerm, s.last, s.done = index+1, term, index, term, index, index
}

func (s *storage) InitialState() (*pb.HardState, *pb.ConfState, error) { return s.hard, s.conf(), nil }

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
	case i == s.known:
		return s.knownTerm, nil
	case i == s.offers: // the log may hold nothing but what follows
		return s.offersTerm, nil
	case i > s.last:
		return 0, raft.ErrUnavailable
	case i >= from:
		return s.tail[i-from].GetTerm(), nil
	}
	term, err := s.log.Term(s.stream, i)
	if err != nil {
		s.wish(i)
		return 0, raft.ErrCompacted
	}
	return term, nil
}

func (s *storage) Entries(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.last + 1 - uint64(len(s.tail))
	if lo < from {
		return s.older(lo, min(hi, from), maxSize)
	}
	if hi > s.last+1 {
		return nil, raft.ErrUnavailable
	}
	return upTo(s.tail[lo-from:hi-from], maxSize), nil
}

// older answers from what was fetched, or asks for it.
func (s *storage) older(lo, hi, maxSize uint64) ([]*pb.Entry, error) {
	if n := len(s.cold); n > 0 && lo >= s.cold[0].GetIndex() && lo <= s.cold[n-1].GetIndex() {
		at := lo - s.cold[0].GetIndex()
		return upTo(s.cold[at:min(uint64(n), at+hi-lo)], maxSize), nil
	}
	s.wish(lo)
	return nil, raft.ErrCompacted
}

// wish notes that raft needs an older entry.
func (s *storage) wish(i uint64) {
	if i > s.gone {
		s.want = i
		s.call()
	}
}

// call wakes whoever fetches.
func (s *storage) call() {
	select {
	case s.wanted <- struct{}{}:
	default:
	}
}

// upTo returns the first entries, as many as fit, and one at least.
func upTo(entries []*pb.Entry, maxSize uint64) []*pb.Entry {
	size := uint64(0)
	for n, e := range entries {
		if size += uint64(entrySize(e)); n > 0 && size > maxSize {
			return append([]*pb.Entry(nil), entries[:n]...)
		}
	}
	return append([]*pb.Entry(nil), entries...)
}

func entrySize(e *pb.Entry) int { return len(e.GetData()) + entryAllowance }

// entryAllowance is what an entry takes in memory and on the wire besides its data.
const entryAllowance = 32

// Snapshot is the state for a follower that needs entries which are not in the log any more. raft is told to wait while it is made, and while older entries are
// fetched.
func (s *storage) Snapshot() (*pb.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if offer := s.offer; offer != nil && s.want == 0 {
		s.offer = nil
		return offer, nil
	}
	if s.want == 0 {
		s.asked = true
		s.call()
	}
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

// stateAsked says whether a state is to be made.
func (s *storage) stateAsked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// give is the state that was asked for.
func (s *storage) give(state snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = false
	s.offers, s.offersTerm = state.index, state.term
	s.offer = &pb.Snapshot{Data: state.state, Metadata: &pb.SnapshotMetadata{ConfState: s.members, Index: &state.index, Term: &state.term}}
}

// offered is the index of the newest state that was offered to a follower.
func (s *storage) offered() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offers
}

// install takes note of a state that is synced: what was before it is void.
func (s *storage) install(m *pb.SnapshotMetadata) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin(m.GetIndex(), m.GetTerm())
	s.tail, s.size, s.cold, s.want, s.gone = nil, 0, nil, 0, m.GetIndex()
	s.members = m.GetConfState()
}

// conf is the membership.
func (s *storage) conf() *pb.ConfState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members
}

// appliedUpTo is the index of the newest entry that was applied, as the worker knows.
func (s *storage) appliedUpTo() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// covered is the index of the last entry before those that raft may ask for.
func (s *storage) covered() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first - 1
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
		for _, e := range s.tail[at-from:] {
			s.size -= entrySize(e)
		}
		s.tail = append(s.tail[:at-from:at-from], entries...)
	default:
		s.tail, s.size = append([]*pb.Entry(nil), entries...), 0
	}
	for _, e := range entries {
		s.size += entrySize(e)
	}
	s.last = entries[len(entries)-1].GetIndex()
}

// applied lets go applied entries from memory, the oldest first.
func (s *storage) applied(i uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = max(s.done, i)
	n := 0
	for n < len(s.tail) && s.tail[n].GetIndex() <= s.done && s.size > s.keep {
		s.size -= entrySize(s.tail[n])
		n++
	}
	clear(s.tail[:n])
	s.tail = s.tail[n:]
}

// read returns an entry, which may stand in a segment that was not read when the log was opened.
func (s *storage) read(i uint64) (commitlog.Record, error) {
	r, err := s.log.Read(s.stream, i)
	if !errors.Is(err, commitlog.ErrNotHeld) {
		return r, err
	}
	if err := s.log.Complete(); err != nil {
		return r, err
	}
	return s.log.Read(s.stream, i)
}

// prefetch reads the older entries that raft has asked for: they are applied, so nothing changes them. raft asks again with the follower's next answer. An entry
// that the log does not give is left to a snapshot.
func (s *storage) prefetch() {
	s.mu.Lock()
	lo, hi := s.want, s.last+1-uint64(len(s.tail))
	s.want = 0
	s.mu.Unlock()
	if lo == 0 {
		return
	}
	var entries []*pb.Entry
	for i, size := lo, 0; i < hi && size < coldBytes; i++ {
		r, err := s.read(i)
		if err != nil {
			break
		}
		e := &pb.Entry{Type: pb.EntryType(r.Flags).Enum(), Term: &r.Term, Index: new(i), Data: r.Body}
		entries, size = append(entries, e), size+entrySize(e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cold = entries; len(entries) == 0 && lo < s.last+1-uint64(len(s.tail)) {
		s.gone = max(s.gone, lo)
	}
}
