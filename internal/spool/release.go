package spool

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/relay"
)

// release gives up the oldest segments of which nothing is needed. When little of the others is needed, what the oldest one holds is written again behind the
// newest first: what one destination leaves there must not keep the room of all.
func (s *Spool) release(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.releaseOldest(); err != nil {
			return err
		}
		if again, err := s.rewriteOldest(); err != nil || !again {
			return err
		}
	}
	return nil
}

func (s *Spool) releaseOldest() error {
	s.mu.Lock()
	below := min(s.index.oldest(), s.newest)
	for n := range s.flying {
		below = min(below, n)
	}
	first := s.first
	s.mu.Unlock()
	if below <= first {
		return nil
	}
	if err := s.log.Release(below); err != nil {
		return err
	}
	s.mu.Lock()
	s.first = below
	s.mu.Unlock()
	return nil
}

// rewriteOldest writes what the oldest segment holds again, if that is worth it, and says whether it did. A record that cannot be read ends that for good: the
// lane's own read will tell whoever needs it.
func (s *Spool) rewriteOldest() (done bool, err error) {
	u, err := s.usage()
	if err != nil || s.unmoved {
		return false, nil // closed: nothing more to do
	}
	if u.free, err = s.cfg.FS.Free(s.queue); err != nil {
		return false, err
	}
	if !s.cfg.rewrites(u) {
		return false, nil
	}
	s.mu.Lock()
	list := s.index.inSegment(s.first)
	s.mu.Unlock()
	for part := range slices.Chunk(list, 256) {
		if err := s.rewrite(part); err != nil {
			s.unmoved = !errors.Is(err, relay.ErrCacheFull)
			return false, nil
		}
	}
	return len(list) > 0, nil
}

// rewrite appends records again and lets the index point there.
func (s *Spool) rewrite(list []located) error {
	records := make([]commitlog.Record, len(list))
	for i, e := range list {
		r, err := s.log.ReadAt(e.at.position())
		if err == nil && (!whole(&r) || r.Index != uint64(e.id)) {
			err = errRecord
		}
		if err != nil {
			return err
		}
		records[i] = r
	}
	segment, err := s.begin()
	if err != nil {
		return err
	}
	at, err := s.append(records)
	gone := map[relay.CacheLane][]relay.ID{}
	s.mu.Lock()
	for i, p := range at {
		if !s.index.move(list[i], placeOf(p)) {
			gone[list[i].lane] = append(gone[list[i].lane], list[i].id)
		}
		s.newest = max(s.newest, p.Segment)
	}
	s.end(segment)
	s.mu.Unlock()
	for lane, ids := range gone { // behind the copy too
		s.note(lane, ids)
	}
	return err
}

// located is where the message or the ack of an id stands.
type located struct {
	lane relay.CacheLane
	id   relay.ID
	at   place
}

// inSegment are the messages and acks that stand in a segment, in the order in which they stand there.
func (x *index) inSegment(segment uint64) (list []located) {
	for name, l := range x.lanes {
		for i := range l.entries {
			e := &l.entries[i]
			for _, p := range [...]place{e.message, e.ack} {
				if p != 0 && p.segment() == segment {
					list = append(list, located{name, e.id, p})
				}
			}
		}
	}
	slices.SortFunc(list, func(a, b located) int { return cmp.Compare(a.at, b.at) })
	return list
}

// move says that what was located stands at another place too, which counts from now on, and whether the id is there at all.
func (x *index) move(from located, to place) bool {
	l := x.lanes[from.lane]
	if l == nil {
		return false
	}
	i, found := l.find(from.id)
	if !found {
		return false
	}
	e := &l.entries[i]
	switch from.at {
	case e.message:
		e.message = to
	case e.ack:
		e.ack = to
	default:
		return !e.empty() // acked meanwhile, or there anew
	}
	x.held[to.segment()]++
	x.release(from.at.segment())
	return true
}
