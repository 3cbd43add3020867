package relay

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	keepAfter     = 500 * time.Millisecond // a settlement that takes longer counts as the database being away
	mostUnsettled = 100_000                // messages that are acked and not settled, of all lanes, while their acks are in the cache
	acksAtOnce    = 5_000                  // of one settlement of an ownership that begins
)

// keepAcks puts the acks of a group whose settlement does not get through, and those that come meanwhile, into the cache: then lanes need not wait for the
// database, and a restart repeats nothing. It goes on until stop is called.
func (s *session) keepAcks(g *group) (stop func()) {
	s.mu.Lock()
	cache := s.flow.cache
	s.mu.Unlock()
	if cache == nil {
		return func() {}
	}
	ended, done := make(chan struct{}), make(chan struct{})
	timer := time.AfterFunc(keepAfter, func() {
		defer close(done)
		for {
			s.keepOnce(cache, g)
			t := time.NewTimer(keepAfter / 5)
			select {
			case <-ended:
				t.Stop()
				return
			case <-t.C:
			}
		}
	})
	return sync.OnceFunc(func() {
		close(ended)
		if !timer.Stop() {
			<-done
		}
	})
}

// keepOnce keeps what is not kept yet.
func (s *session) keepOnce(cache Cache, g *group) {
	s.mu.Lock()
	lease, closed := s.lease, s.flow.closed
	groups := []*group{g, s.flow.out} // only the settler, which waits for us, gives the session another out
	ends := []int{len(g.batches), len(s.flow.out.batches)}
	byLane := map[*lane][]CachedAck{}
	for i, of := range groups {
		for j := range of.batches[:ends[i]] {
			if b := &of.batches[j]; b.kept == 0 {
				byLane[b.lane] = append(byLane[b.lane], b.cachedAcks()...)
			}
		}
	}
	s.mu.Unlock()
	if closed {
		return
	}
	kept := map[*lane]bool{}
	var failed error
	for l, acks := range byLane {
		if len(acks) == 0 {
			continue
		}
		if err := cache.Acked(lease, l.cacheName(), acks); err != nil {
			failed = err
			break
		}
		kept[l] = true
	}
	s.mu.Lock()
	for i, of := range groups {
		for j := range of.batches[:ends[i]] {
			if b := &of.batches[j]; b.kept == 0 && kept[b.lane] {
				b.kept = len(b.cachedAcks())
				b.lane.unsettled -= b.kept
				b.lane.poke()
			}
		}
	}
	broken := failed != nil && !errors.Is(failed, ErrCacheFull)
	s.flow.closed = s.flow.closed || broken
	s.mu.Unlock()
	if broken {
		s.r.failed("cache", failed)
	}
}

// forgetAcks drops the acks of a group that is settled, before its rows count as that: in between they are known to the engine, and afterwards a crash of the
// database may bring them back.
func (s *session) forgetAcks(g *group) {
	s.mu.Lock()
	cache := s.flow.cache
	s.mu.Unlock()
	for i := range g.batches {
		b := &g.batches[i]
		if b.kept == 0 {
			continue
		}
		ids := make([]ID, 0, b.kept)
		for _, a := range b.cachedAcks() {
			ids = append(ids, a.ID)
		}
		cache.Forget(b.lane.cacheName(), ids)
	}
}

// settleCached settles the acks that former ownerships left in the cache: they are facts. What is pending no more is passed over by the store. When it cannot,
// this ownership has no cache, and what they are of is sent again.
func (s *session) settleCached(ctx context.Context) {
	s.mu.Lock()
	cache := s.flow.cache
	s.mu.Unlock()
	if cache == nil {
		return
	}
	if err := s.settleLeft(ctx, cache); err != nil && ctx.Err() == nil {
		s.r.failed("cache", err)
		s.mu.Lock()
		s.flow.cache = nil
		s.mu.Unlock()
	}
}

func (s *session) settleLeft(ctx context.Context, cache Cache) error {
	for _, name := range cache.Lanes() {
		for after := ID(0); ; {
			acks, err := cache.Unsettled(name, after, acksAtOnce)
			if err != nil {
				return err
			}
			if len(acks) == 0 {
				break
			}
			if err := s.settleAcks(ctx, name, acks); err != nil {
				return err
			}
			ids := make([]ID, len(acks))
			for i, a := range acks {
				ids[i] = a.ID
			}
			cache.Forget(name, ids)
			after = ids[len(ids)-1]
		}
	}
	return nil
}

func (s *session) settleAcks(ctx context.Context, name CacheLane, acks []CachedAck) error {
	rows, at := make([]*Message, len(acks)), make([]Position, len(acks))
	var settlement Settlement
	for i, a := range acks {
		rows[i], at[i] = &Message{ID: a.ID}, a.At
		settlement.Acked = append(settlement.Acked, Run{a.ID, a.ID})
	}
	settlement.Receipts = receipts(name.Destination, name.Lane, rows, at, nil)
	s.mu.Lock()
	for i := range settlement.Receipts {
		s.seq++
		settlement.Receipts[i].Seq = s.seq
	}
	s.mu.Unlock()
	for fails := 0; ; fails++ {
		s.mu.Lock()
		lease := s.lease
		s.mu.Unlock()
		call, cancel := context.WithTimeout(ctx, 12*time.Second)
		_, err := s.store.Settle(call, lease, settlement)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case lost(err):
			s.cancel(err)
			return err
		case errors.Is(err, ErrReborn): // only a read revives the outbox
			return err
		}
		s.r.failed("settle", err)
		if !sleep(ctx, backoff(fails, retryInitial, time.Second)) {
			return ctx.Err()
		}
	}
}
