package relay

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	spillDelay = 20 * time.Millisecond // rows are gathered for one sync of the cache, unless the reader waits for room
	spillLanes = 64                    // lanes that put at once: they share a sync
)

// openCache gives this ownership its cache, if there is one.
func (s *session) openCache() {
	if s.opt.Cache == nil {
		return
	}
	s.mu.Lock()
	lease := s.lease
	s.mu.Unlock()
	cache, err := s.opt.Cache(lease)
	if err != nil {
		s.r.failed("cache", err)
		return
	}
	s.mu.Lock()
	s.flow.cache = cache
	s.mu.Unlock()
}

// runSpill puts rows of destinations that are down into the cache.
func (s *session) runSpill(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wakeSpill:
		}
		s.mu.Lock()
		hurry := s.waiting
		s.mu.Unlock()
		if !hurry && !sleep(ctx, spillDelay) {
			return
		}
		s.mu.Lock()
		errands := s.flow.spill(time.Now())
		s.mu.Unlock()
		var wg sync.WaitGroup
		slots := make(chan struct{}, spillLanes)
		for _, e := range errands {
			slots <- struct{}{}
			wg.Go(func() {
				s.visit(e)
				<-slots
			})
		}
		wg.Wait()
	}
}

// visit does an errand at the cache.
func (s *session) visit(e errand) {
	name := e.lane.cacheName()
	s.mu.Lock()
	cache, lease := s.flow.cache, s.lease
	s.mu.Unlock()
	if len(e.forget) > 0 {
		cache.Forget(name, e.forget)
	}
	if e.rewind {
		cache.Rewind(name)
	}
	switch {
	case len(e.put) > 0:
		s.put(cache, lease, name, e)
	case e.next:
		s.next(cache, name, e)
	default:
		s.mu.Lock()
		s.flow.returns(e.lane)
		s.mu.Unlock()
	}
}

func (s *session) put(cache Cache, lease Lease, name CacheLane, e errand) {
	stored, err := cache.Put(lease, name, e.put)
	s.mu.Lock()
	first := err != nil && s.cacheFailed(err, e.lane)
	s.flow.putDone(e, stored, err, time.Now())
	waiting := s.waiting
	s.mu.Unlock()
	if first {
		s.r.failed("cache", err)
	}
	if ev := s.opt.Events.Cached; ev != nil && stored > 0 {
		ev(name.Destination, stored)
	}
	if waiting {
		s.pokeReader()
	}
}

func (s *session) next(cache Cache, name CacheLane, e errand) {
	c := e.lane.dest.Capabilities
	got, err := cache.Next(name, 2*c.MaxBatch, 2*c.MaxBytes)
	var damage *CacheDamageError
	lowest := ID(0)
	if err != nil && !errors.As(err, &damage) {
		lowest = cache.Drop(name)
	}
	s.mu.Lock()
	if len(got) > 0 || err == nil {
		s.flow.nextDone(e, got, time.Now())
	} else {
		s.flow.returns(e.lane)
	}
	first := false
	switch {
	case damage != nil:
		s.flow.leaveCache(e.lane, damage.From)
		first = true
	case err != nil:
		first = s.cacheFailed(err, e.lane)
		s.flow.uncache(e.lane, lowest)
	}
	behind := e.lane.from != 0
	s.mu.Unlock()
	if first {
		s.r.failed("cache", err)
	}
	if behind {
		s.pokeReader()
	}
}

// cacheFailed takes note of an error of the cache, and says whether it is worth telling: what is refused is asked again every second. The caller holds mu.
func (s *session) cacheFailed(err error, l *lane) (tell bool) {
	if errors.Is(err, ErrCacheFull) {
		return !l.dest.cacheFull
	}
	tell = !s.flow.closed
	s.flow.closed = true
	return tell
}

// dropCached takes what the cache has of a drained destination back. The caller holds mu, which is released meanwhile.
func (s *session) dropCached(d *destination) {
	cache := s.flow.cache
	if cache == nil {
		return
	}
	lowest := map[*lane]ID{}
	lanes := append([]*lane(nil), d.order...)
	s.mu.Unlock()
	for _, l := range lanes {
		lowest[l] = cache.Drop(l.cacheName())
	}
	s.mu.Lock()
	for _, l := range lanes {
		s.flow.uncache(l, lowest[l])
	}
}
