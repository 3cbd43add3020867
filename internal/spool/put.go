package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/relay"
)

// chunkBytes is how much is appended at once: what different lanes append shares a frame.
const chunkBytes = 1 << 20

// append writes records in order, as many as there is room for, and returns the places of those that are synced.
func (s *Spool) append(records []commitlog.Record) (at []commitlog.Position, err error) {
	var begun []commitlog.Pending
	var sizes []int // records of each
	refused := s.log.Refused()
	for rest := records; len(rest) > 0 && err == nil; {
		n, bytes := 0, 0
		for n < len(rest) && n < 1024 && (n == 0 || bytes+recordBytes(&rest[n]) <= min(chunkBytes, s.log.MaxBody())) {
			bytes += recordBytes(&rest[n])
			n++
		}
		var p commitlog.Pending
		if p, err = s.log.Begin(refused, rest[:n]...); err == nil {
			begun, sizes, rest = append(begun, p), append(sizes, n), rest[n:]
		}
	}
	for i, p := range begun {
		place, failed := p.Wait()
		if failed != nil {
			return at, s.refusal(failed)
		}
		for range sizes[i] {
			at = append(at, place)
			place.At += int64(recordBytes(&records[len(at)-1]))
		}
	}
	if err != nil {
		err = s.refusal(err)
	}
	return at, err
}

// refusal puts an error of the log into the port's words. A folder that was removed looks like a full disk to the log, which cannot make another file.
func (s *Spool) refusal(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.fail(err)
	case errors.Is(err, commitlog.ErrFull), errors.Is(err, commitlog.ErrTooLarge):
		return fmt.Errorf("%w: %w", relay.ErrCacheFull, err)
	}
	return s.fail(err)
}

// Put implements [relay.Cache].
func (s *Spool) Put(lease relay.Lease, lane relay.CacheLane, batch []*relay.Message) (stored int, err error) {
	claimed, err := newHistory(lease.Generations)
	if err != nil {
		return 0, err
	}
	if err := s.room(); err != nil {
		return 0, s.refused(lane, err)
	}
	segment, fresh, err := s.fresh(lane, batch)
	if err != nil {
		return 0, err
	}
	records, messages := s.encode(claimed, lease.Epoch, lane, batch, fresh)
	at, err := s.append(records)
	s.mu.Lock()
	for i, p := range at {
		s.index.put(&messages[i], p, recordBytes(&records[i]))
		s.newest = max(s.newest, p.Segment)
	}
	s.end(segment)
	if err == nil {
		delete(s.fullAt, lane.Destination)
	}
	s.mu.Unlock()
	if err != nil {
		return fresh[len(at)], s.refused(lane, err)
	}
	return len(batch), nil
}

// fresh are the places in a batch of what is not in the cache yet; it begins the append of them.
func (s *Spool) fresh(lane relay.CacheLane, batch []*relay.Message) (segment uint64, fresh []int, err error) {
	if segment, err = s.begin(); err != nil {
		return 0, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, m := range batch {
		if !s.index.has(lane, m.ID) {
			fresh = append(fresh, i)
		}
	}
	return segment, fresh, nil
}

// encode makes the records of what is fresh in a batch. A message of a history that is gone makes one too, which the index drops.
func (s *Spool) encode(claimed history, epoch relay.Epoch, lane relay.CacheLane, batch []*relay.Message, fresh []int) ([]commitlog.Record, []message) {
	size := 0
	for _, i := range fresh {
		size += len(batch[i].Payload) + batch[i].Weight() - batch[i].Size + 256
	}
	buf := make([]byte, 0, size)
	records, messages := make([]commitlog.Record, len(fresh)), make([]message, len(fresh))
	for n, i := range fresh {
		m := &messages[n]
		*m = message{lane: lane, epoch: epoch, Message: *batch[i]}
		m.generation, _ = claimed.of(m.ID)
		buf, records[n] = appendMessage(buf, m, s.log.MaxBody())
		m.Message = relay.Message{ID: m.ID} // the index needs no more
	}
	return records, messages
}

// refused notes since when a destination is.
func (s *Spool) refused(lane relay.CacheLane, err error) error {
	if !errors.Is(err, relay.ErrCacheFull) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fullAt[lane.Destination].IsZero() {
		s.fullAt[lane.Destination] = time.Now()
	}
	return err
}

// Acked implements [relay.Cache].
func (s *Spool) Acked(lease relay.Lease, lane relay.CacheLane, acks []relay.CachedAck) error {
	claimed, err := newHistory(lease.Generations)
	if err != nil {
		return err
	}
	if err := s.roomForAcks(); err != nil {
		return err
	}
	segment, err := s.begin()
	if err != nil {
		return err
	}
	list, records := make([]ack, len(acks)), make([]commitlog.Record, len(acks))
	for i := range acks {
		list[i] = ack{lane: lane, CachedAck: acks[i]}
		list[i].Epoch = lease.Epoch
		list[i].generation, _ = claimed.of(acks[i].ID)
		records[i] = list[i].record()
	}
	at, err := s.append(records)
	s.mu.Lock()
	for i, p := range at {
		s.index.acked(&list[i], p)
		s.newest = max(s.newest, p.Segment)
	}
	s.end(segment)
	s.mu.Unlock()
	s.poke()
	if kp.Planted(kp.CacheAckBelieved) {
		return nil
	}
	return err
}

// Forget implements [relay.Cache].
func (s *Spool) Forget(lane relay.CacheLane, ids []relay.ID) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	s.mu.Lock()
	ids = s.index.forget(lane, ids)
	if _, refused := s.fullAt[lane.Destination]; refused && s.index.empty(lane.Destination) {
		delete(s.fullAt, lane.Destination)
	}
	s.mu.Unlock()
	if len(ids) > 0 {
		s.note(lane, ids)
		s.poke()
	}
}

// note writes down which ids are forgotten, ascending. It is not awaited, and no loss when it is refused: after a restart the ids come back and are found settled.
func (s *Spool) note(lane relay.CacheLane, ids []relay.ID) {
	slices.Sort(ids)
	for _, r := range forgetRecords(lane, slices.Compact(ids)) {
		if _, err := s.log.Begin(s.log.Refused(), r); err != nil {
			break
		}
	}
}
