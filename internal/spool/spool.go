package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/relay"
)

// Spool is an open cache; it is a [relay.Cache]. Its methods work while [Spool.Run] runs.
type Spool struct {
	cfg    Config
	queue  string // its folder
	lock   io.Closer
	log    *commitlog.Log
	freed  chan struct{} // one slot: something is needed no more
	broken chan struct{} // closed when the cache has failed
	// unmoved: the oldest segment is not written again any more. Run's alone.
	unmoved bool

	mu     sync.Mutex // guards what is below; never held across a call of the disk
	index  *index
	first  uint64         // oldest segment
	newest uint64         // the highest that is known; appends go there or behind it
	flying map[uint64]int // calls that need a segment which the index may not know of: appends by newest when they began, reads by the oldest they read
	fullAt map[string]time.Time
	closed error

	remember sync.Mutex // guards id, and is held while the file is written
	id       identity
}

var _ relay.Cache = (*Spool)(nil)

func newSpool(cfg Config, id identity, log *commitlog.Log, x *index, first, newest uint64) *Spool {
	return &Spool{cfg: cfg, queue: path.Join(cfg.Dir, queueDir), log: log, freed: make(chan struct{}, 1), broken: make(chan struct{}), index: x,
		first: first, newest: newest, flying: map[uint64]int{}, fullAt: map[string]time.Time{}, id: id}
}

// Run keeps the cache working until ctx ends, or its disk fails: then it returns the error, and everything else [relay.ErrCacheClosed] until a restart.
func (s *Spool) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.log.Run(work) }()
	s.poke()
	s.work(ctx, ended)
	s.mu.Lock()
	err := s.closed
	if err == nil {
		s.closed = closedBy(nil)
	}
	s.mu.Unlock()
	stop()
	if last := <-ended; err == nil {
		err = last
	}
	return errors.Join(err, s.lock.Close())
}

// work gives up segments until the cache ends.
func (s *Spool) work(ctx context.Context, ended chan error) {
	for {
		select {
		case <-s.freed:
			if err := s.release(ctx); err != nil && !full(err) {
				_ = s.fail(err)
			}
		case err := <-ended:
			_ = s.fail(err)
			ended <- nil
			return
		case <-s.broken:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Close gives back a cache that was opened and will not run.
func (s *Spool) Close() error {
	s.mu.Lock()
	s.closed = closedBy(nil)
	s.mu.Unlock()
	return errors.Join(s.log.Close(), s.lock.Close())
}

func closedBy(err error) error {
	if err == nil {
		return relay.ErrCacheClosed
	}
	return fmt.Errorf("%w: %w; its messages are sent from the table", relay.ErrCacheClosed, err)
}

// fail closes the cache and returns what its users are told.
func (s *Spool) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("its folder was removed, a restart makes it anew: %w", err)
		}
		s.closed = closedBy(err)
		close(s.broken)
	}
	return s.closed
}

func (s *Spool) poke() {
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// full says that a disk has no room: what is there stays, and later may be better.
func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// begin counts an append as being on its way, for release.
func (s *Spool) begin() (segment uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil {
		s.flying[s.newest]++
	}
	return s.newest, s.closed
}

// end says that it is in the index, has been read, or has failed. The caller holds mu.
func (s *Spool) end(segment uint64) {
	if s.flying[segment]--; s.flying[segment] == 0 {
		delete(s.flying, segment)
	}
}

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
	segment, err := s.begin()
	if err != nil {
		return 0, err
	}
	records, messages := s.encode(claimed, lease.Epoch, lane, batch)
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
		return len(at), s.refused(lane, err)
	}
	return len(batch), nil
}

// encode makes the records of a batch. A message of a history that is gone makes one too, which the index drops.
func (s *Spool) encode(claimed history, epoch relay.Epoch, lane relay.CacheLane, batch []*relay.Message) ([]commitlog.Record, []message) {
	size := 0
	for _, m := range batch {
		size += len(m.Payload) + m.Weight() - m.Size + 256
	}
	buf := make([]byte, 0, size)
	records, messages := make([]commitlog.Record, len(batch)), make([]message, len(batch))
	for i, m := range batch {
		messages[i] = message{lane: lane, epoch: epoch, Message: *m}
		messages[i].generation, _ = claimed.of(m.ID)
		buf, records[i] = appendMessage(buf, &messages[i], s.log.MaxBody())
		messages[i].Message = relay.Message{ID: m.ID} // the index needs no more
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
	return err
}

// Forget implements [relay.Cache].
func (s *Spool) Forget(lane relay.CacheLane, ids []relay.ID) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	s.mu.Lock()
	known := s.index.lanes[lane] != nil && s.closed == nil
	s.index.forget(lane, ids)
	if _, refused := s.fullAt[lane.Destination]; refused && s.index.empty(lane.Destination) {
		delete(s.fullAt, lane.Destination)
	}
	s.mu.Unlock()
	if !known || len(ids) == 0 {
		return
	}
	s.note(lane, ids)
	s.poke()
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

// Remember implements [relay.Cache].
func (s *Spool) Remember(epoch relay.Epoch, claimed relay.ID) error {
	s.remember.Lock()
	defer s.remember.Unlock()
	id := s.id
	id.epoch, id.claimed = max(id.epoch, epoch), max(id.claimed, claimed)
	return s.identify(id)
}

// identify writes an identity that has changed; remember is held.
func (s *Spool) identify(id identity) error {
	if _, err := s.usage(); err != nil {
		return err
	}
	if id == s.id {
		return nil
	}
	if err := id.write(s.cfg.FS, s.queue); errors.Is(err, fs.ErrNotExist) {
		return s.fail(err)
	} else if err != nil {
		return fmt.Errorf("degraded cache: write its identity: %w", err) // the old one stands
	}
	s.id = id
	return nil
}
