package relay

import (
	"context"
	"errors"
	"time"

	"github.com/waybillmq/waybill/internal/kp"
)

// claimPages is how many waiting pages one claim covers.
const claimPages = 4

// claim commits that what was read may be published, and only then places it. One claim covers what waits.
func (s *session) claim(ctx context.Context) error {
	for {
		var first readPage
		var ok bool
		s.r.beats.rest("claimer")
		select {
		case first, ok = <-s.pages:
			if !ok {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
		pages := append(make([]readPage, 0, claimPages), first)
		for len(pages) < claimPages && len(s.pages) > 0 {
			if p, ok := <-s.pages; ok {
				pages = append(pages, p)
			}
		}
		if err := s.claimPages(ctx, pages); err != nil {
			return err
		}
	}
}

func (s *session) claimPages(ctx context.Context, pages []readPage) error {
	for len(pages) > 0 {
		n, upTo, rows := 1, ID(0), 0
		for n < len(pages) && pages[n].Incarnation == pages[0].Incarnation && pages[n].resets == pages[0].resets {
			n++
		}
		for i := range pages[:n] {
			rows += len(pages[i].Messages)
			for j := range pages[i].Messages {
				upTo = max(upTo, pages[i].Messages[j].ID)
			}
		}
		if rows > 0 {
			claimed, err := s.claimUpTo(ctx, upTo, pages[0], rows)
			if err != nil {
				return err
			}
			if !claimed {
				if ctx.Err() != nil {
					return nil
				}
				pages = pages[n:]
				continue
			}
		}
		s.place(pages[:n])
		pages = pages[n:]
	}
	return nil
}

// claimUpTo repeats the claim until it is committed, or what it covers is dropped by a reset (false).
func (s *session) claimUpTo(ctx context.Context, upTo ID, p readPage, rows int) (bool, error) {
	for fails := 0; ; fails++ {
		s.r.beats.beat("claimer")
		s.mu.Lock()
		lease, stale, trusted := s.lease, p.resets != s.resets, time.Now().Before(s.until)
		s.mu.Unlock()
		if stale {
			return false, nil
		}
		err := errUntrusted
		if trusted {
			began := time.Now()
			durable := s.settledBefore()
			call, cancel := context.WithTimeout(ctx, 10*time.Second)
			err = s.store.Claim(call, lease, upTo, p.Incarnation)
			cancel()
			s.tellDurable(durable, err == nil)
			if err == nil {
				if ev := s.opt.Events.Claimed; ev != nil {
					ev(rows, time.Since(began))
				}
				kp.Hit(kp.Claimed)
				return true, nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return false, nil
		case lost(err):
			return false, err
		case errors.Is(err, ErrReborn):
			s.reset(err)
			return false, nil
		case trusted:
			s.r.failed("claim", err)
		}
		if !sleep(ctx, backoff(fails, retryInitial, time.Second)) {
			return false, nil
		}
	}
}

// marked are messages of a destination that are marked sent.
type marked struct {
	dest  *destination
	exact Exact
	ids   []ID
}

// settledBefore takes what is marked sent up to now: a claim that begins later, and is committed synchronously, makes it durable.
func (s *session) settledBefore() (all []marked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.flow.dests {
		if len(d.settled) > 0 {
			all = append(all, marked{d, d.exact, d.settled})
			d.settled = nil
		}
	}
	return all
}

// tellDurable tells the publishers, or keeps it for the next claim.
func (s *session) tellDurable(all []marked, durable bool) {
	for _, m := range all {
		if durable {
			m.exact.Settled(m.ids)
			continue
		}
		s.mu.Lock()
		if m.dest.exact == m.exact {
			m.dest.settled = append(m.ids, m.dest.settled...)
		}
		s.mu.Unlock()
	}
}

var errUntrusted = errors.New("relay: the lease was not renewed in time; nothing is claimed until it is")

// place hands claimed pages to the lanes.
func (s *session) place(pages []readPage) {
	s.mu.Lock()
	now := time.Now()
	for i := range pages {
		p := &pages[i]
		if p.resets != s.resets {
			continue
		}
		if p.catchUp {
			s.flow.placeCatchUp(&p.Page, p.start, p.gen, now)
			continue
		}
		s.flow.unplaced = s.flow.unplaced[1:]
		s.flow.placeMain(&p.Page, time.Now())
		s.flow.purge(p.Listed)
	}
	repeats := s.flow.repeats
	if len(repeats) > 0 {
		s.flow.repeats = map[string]int{}
	}
	work := !s.flow.out.empty()
	behind, degraded := s.flow.behind(), s.flow.degraded()
	s.mu.Unlock()
	if work {
		poke(s.wakeOut)
	}
	if behind {
		s.pokeReader()
	}
	if degraded {
		poke(s.wakeSpill)
	}
	for name, n := range repeats {
		if ev := s.opt.Events.Repeats; ev != nil {
			ev(name, "owner", n)
		}
	}
}
