package relay

import (
	"context"
	"errors"
	"time"

	"github.com/waybillmq/waybill/internal/kp"
)

// heldEvery is how often held messages and people's acts are looked for when nothing is known to be due earlier.
const heldEvery = time.Second

var heldLimit = HeldLimit{Rows: 500, InlineBytes: 64 << 10, Bytes: 8 << 20}

// runHeld takes held messages that are due and places them. It never publishes itself.
func (s *session) runHeld(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for fails := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wakeHeld:
		case <-timer.C:
		}
		s.r.beats.beat("held")
		s.reaskClosed(ctx)
		wait, err := heldEvery, error(nil)
		if open, lease, ok := s.openDestinations(); ok {
			wait, err = s.takeHeld(ctx, lease, open)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			fails = 0
		case lost(err):
			return err
		case errors.Is(err, ErrReborn):
			s.reset(err)
			wait = retryInitial
		default:
			s.r.failed("held", err)
			wait = backoff(fails, retryInitial, heldEvery)
			fails++
		}
		timer.Reset(wait)
	}
}

// takeHeld takes what is due once, and says when to look again.
func (s *session) takeHeld(ctx context.Context, lease Lease, open []string) (time.Duration, error) {
	call, cancel := context.WithTimeout(ctx, 10*time.Second)
	taken, err := s.store.Held(call, lease, open, heldLimit)
	cancel()
	if err != nil {
		return 0, err
	}
	if len(taken.Messages) > 0 {
		kp.Hit(kp.HeldTaken)
	}
	odd := append(s.behindHead(taken.Messages), taken.Keys...)
	if taken.Many {
		odd = nil
	}
	if taken.Many || len(odd) > 0 {
		// The messages are ours already: they are placed whatever the answer.
		if err := s.askClosed(ctx, odd); err != nil {
			s.r.failed("closed keys", err)
			s.askAgain()
		}
	}
	s.mu.Lock()
	s.flow.placeHeld(taken.Messages)
	s.mu.Unlock()
	poke(s.wakeOut)
	switch {
	case len(taken.Messages) >= heldLimit.Rows:
		return 0, nil
	case taken.NextDue >= 0:
		return min(max(taken.NextDue, time.Millisecond), heldEvery), nil
	}
	return heldEvery, nil
}

// How often the closed keys are asked for although nothing is known to have changed: seldom enough that the question takes a small share of the time.
const (
	closedEvery = time.Minute
	closedShare = 20 // of the time that the last answer took
)

// closedPage is how many closed keys one call asks for: reading goes on between two calls.
const closedPage = 5000

// reaskClosed asks for the closed keys after a reset, after a question that failed, and every now and then; for some only, when the last answer left them
// open.
func (s *session) reaskClosed(ctx context.Context) {
	s.mu.Lock()
	all, only := s.again || !time.Now().Before(s.askNext), s.unsure
	s.again, s.unsure = false, nil
	s.mu.Unlock()
	switch {
	case all:
		only = nil
	case len(only) == 0:
		return
	}
	if err := s.askClosed(ctx, only); err != nil && ctx.Err() == nil {
		s.r.failed("closed keys", err)
		s.askAgain()
	}
}

func (s *session) askAgain() {
	s.mu.Lock()
	s.again = true
	s.mu.Unlock()
}

// openDestinations are those that held messages may be taken for now, "" (to be routed) among them.
func (s *session) openDestinations() (open []string, lease Lease, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !now.Before(s.until) || s.flow.full(now) {
		return nil, Lease{}, false
	}
	for _, d := range s.flow.dests {
		if d.sendable(now) || d.starving() {
			open = append(open, d.Name)
		}
	}
	if len(open) > 0 {
		open = append(open, "")
	}
	return open, s.lease, true
}

// behindHead names the keys of released messages that stand behind a head which the store does not know of, or no longer has: only a person's act or a
// settlement that crossed the take can tell.
func (s *session) behindHead(taken []HeldMessage) (keys []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range taken {
		h := &taken[i]
		k, keyed := h.OrderKey()
		if c := s.flow.keys.get(k); keyed && c != nil && h.State == Blocked && !h.Passed && c.head != 0 && c.head != h.ID && c.settledHead() {
			keys = append(keys, k)
		}
	}
	return keys
}

// loadClosed learns the closed keys before the first read.
func (s *session) loadClosed(ctx context.Context) error {
	for fails := 0; ; fails++ {
		err := s.askClosed(ctx, nil)
		switch {
		case err == nil:
			return nil
		case lost(err):
			s.cancel(err)
			return err
		case ctx.Err() == nil && !errors.Is(err, ErrReborn):
			s.r.failed("closed keys", err)
		}
		if !sleep(ctx, backoff(fails, retryInitial, time.Second)) {
			return ctx.Err()
		}
	}
}

// askClosed asks for the closed keys, all or only some. Only the held loop, and the start before it, ask.
func (s *session) askClosed(ctx context.Context, only []Key) error {
	began := time.Now()
	s.mu.Lock()
	s.flow.keys.ask()
	s.mu.Unlock()
	for q := (ClosedQuery{Limit: closedPage, Only: only}); ; {
		s.r.beats.beat("held")
		s.mu.Lock()
		lease := s.lease
		s.mu.Unlock()
		call, cancel := context.WithTimeout(ctx, 10*time.Second)
		page, err := s.store.Closed(call, lease, q)
		cancel()
		if err != nil {
			return err
		}
		last := len(only) > 0 || len(page) < q.Limit
		s.closedFound(page, only, last)
		if last {
			break
		}
		q.After = page[len(page)-1].Key
	}
	if len(only) == 0 {
		s.askNext = time.Now().Add(max(closedEvery, closedShare*time.Since(began)))
	}
	return nil
}

// closedFound takes a page of the answer, and after the last one what no page named.
func (s *session) closedFound(page []Head, only []Key, last bool) {
	s.mu.Lock()
	closed, release, again := s.flow.keys.answer(page)
	if last {
		again = append(again, s.flow.keys.answered(only)...)
	}
	s.unsure = append(s.unsure, again...)
	s.flow.shutFound(closed)
	s.flow.out.release = append(s.flow.out.release, release...)
	work := !s.flow.out.empty()
	s.mu.Unlock()
	if work {
		poke(s.wakeOut)
	}
}
