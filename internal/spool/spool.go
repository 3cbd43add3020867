package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
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
