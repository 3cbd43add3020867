package spool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/relay"
)

// Next implements [relay.Cache].
func (s *Spool) Next(name relay.CacheLane, maxMessages, maxBytes int) ([]*relay.Message, error) {
	s.mu.Lock()
	var list []entry
	err := s.closed
	if l := s.index.lanes[name]; l != nil && err == nil {
		list = l.take(maxMessages, maxBytes)
	}
	done := s.keep(list, func(e *entry) place { return e.message })
	s.mu.Unlock()
	defer done()
	if err != nil {
		return nil, err
	}
	batch := make([]*relay.Message, 0, len(list))
	for _, e := range list {
		m, err := s.message(name, &e)
		if err != nil {
			return batch, s.leave(name, e.id, err)
		}
		batch = append(batch, m)
	}
	return batch, nil
}

// keep holds the segments of entries until done is called, although what stands there may be moved meanwhile. The caller holds mu, of done nobody may.
func (s *Spool) keep(list []entry, at func(*entry) place) (done func()) {
	if len(list) == 0 {
		return func() {}
	}
	oldest := at(&list[0]).segment()
	for i := range list {
		oldest = min(oldest, at(&list[i]).segment())
	}
	s.flying[oldest]++
	return func() {
		s.mu.Lock()
		s.end(oldest)
		s.mu.Unlock()
		s.poke()
	}
}

// message reads one message.
func (s *Spool) message(name relay.CacheLane, e *entry) (*relay.Message, error) {
	r, err := s.log.ReadAt(e.message.position())
	if err != nil {
		return nil, err
	}
	m, err := readMessage(&r)
	if err == nil && (m.ID != e.id || m.lane != name || m.generation != s.generation(e)) {
		err = errRecord
	}
	return &m.Message, err
}

func (s *Spool) generation(e *entry) uuid {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.generations[e.generation]
}

// leave makes a lane leave the cache from a message on that cannot be read: what stands behind it must not overtake it.
func (s *Spool) leave(name relay.CacheLane, from relay.ID, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		return s.closed
	}
	if errors.Is(err, commitlog.ErrClosed) {
		return closedBy(err)
	}
	s.index.drop(name, from)
	return &relay.CacheDamageError{Lane: name, From: from, Err: err}
}

// Rewind implements [relay.Cache].
func (s *Spool) Rewind(name relay.CacheLane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.index.lanes[name]; l != nil {
		l.rewind()
	}
}

// Has implements [relay.Cache].
func (s *Spool) Has(lane relay.CacheLane, id relay.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.has(lane, id)
}

// Drop implements [relay.Cache].
func (s *Spool) Drop(name relay.CacheLane) (lowest relay.ID) {
	s.mu.Lock()
	ids := s.index.clear(name)
	if _, refused := s.fullAt[name.Destination]; refused && s.index.empty(name.Destination) {
		delete(s.fullAt, name.Destination)
	}
	s.mu.Unlock()
	if len(ids) == 0 {
		return 0
	}
	s.note(name, ids)
	s.poke()
	return ids[0]
}

// Begin makes the cache that of an ownership: without messages, which the table has, and with the acks that count in its history. No other call may run. An
// error: the whole folder is of another outbox; open it again.
func (s *Spool) Begin(generations []relay.Generation) (dropped int, err error) {
	if dropped, err = s.Recheck(generations); err != nil {
		return dropped, err
	}
	if kp.Planted(kp.CacheSecondTruth) {
		return dropped, nil
	}
	for _, name := range s.Lanes() {
		s.Drop(name)
	}
	return dropped, nil
}

// Unsettled implements [relay.Cache].
func (s *Spool) Unsettled(name relay.CacheLane, after relay.ID, limit int) (acks []relay.CachedAck, err error) {
	s.mu.Lock()
	var list []entry
	if l := s.index.lanes[name]; l != nil {
		list = l.list(after, limit, func(e *entry) bool { return e.ack != 0 })
	}
	err = s.closed
	done := s.keep(list, func(e *entry) place { return e.ack })
	s.mu.Unlock()
	defer done()
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		r, err := s.log.ReadAt(e.ack.position())
		if err == nil {
			var a ack
			if a, err = readAck(&r); err == nil && (a.ID != e.id || a.lane != name) {
				err = errRecord
			}
			acks = append(acks, a.CachedAck)
		}
		if err != nil {
			return nil, fmt.Errorf("degraded cache: the ack of message %d: %w", e.id, err)
		}
	}
	return acks, nil
}

// Lanes implements [relay.Cache].
func (s *Spool) Lanes() []relay.CacheLane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.names()
}

// Recheck drops what was written under a generation other than the one that the list gives for its id now, and rewinds every lane; no other call may run. An
// error: the whole folder is of another outbox; open it again.
func (s *Spool) Recheck(generations []relay.Generation) (dropped int, err error) {
	valid, err := newHistory(generations)
	if err != nil {
		return 0, err
	}
	s.remember.Lock()
	defer s.remember.Unlock()
	if !valid.knows(s.id.outbox) {
		return 0, s.fail(errors.New("the database does not know the outbox that it is of"))
	}
	id := s.id
	if newest := valid[len(valid)-1].uuid; newest != id.outbox { // its ids may be drawn anew: what was claimed before is no measure
		id.outbox, id.epoch, id.claimed = newest, 0, 0
	}
	if err := s.identify(id); errors.Is(err, relay.ErrCacheClosed) { // any other: the database will still know the older generation
		return 0, err
	}
	s.mu.Lock()
	dropped = s.index.recheck(valid)
	s.mu.Unlock()
	s.poke()
	return dropped, nil
}

// Status implements [relay.Cache].
func (s *Spool) Status() relay.CacheStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := relay.CacheStatus{Destinations: s.index.destinations(), DiskBytes: int64(s.newest-s.first+1) * s.cfg.SegmentBytes, Dropped: s.index.dropped,
		Damaged: s.index.damaged, Closed: s.closed}
	for name, at := range s.fullAt {
		st.Destinations = withFull(st.Destinations, name, at)
	}
	return st
}

// withFull adds since when a destination is refused.
func withFull(list []relay.CachedDestination, name string, at time.Time) []relay.CachedDestination {
	i, found := slices.BinarySearchFunc(list, name, func(d relay.CachedDestination, name string) int { return strings.Compare(d.Name, name) })
	if !found {
		list = slices.Insert(list, i, relay.CachedDestination{Name: name})
	}
	list[i].FullAt = at
	return list
}
