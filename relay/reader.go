package relay

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/waybillmq/waybill/internal/kp"
)

// slowAfter is how long a full look-ahead may not move before the lane that holds most is put behind, so that it stalls itself only.
const slowAfter = 250 * time.Millisecond

// read is the reader loop: main pages, and between them pages of the catch-up reader for lanes that are behind.
func (s *session) read(ctx context.Context) error {
	defer close(s.pages)
	wakes := make(<-chan struct{})
	if s.opt.Waker != nil {
		if c, err := s.opt.Waker.Wake(ctx); err == nil {
			wakes = c
		} else {
			s.r.failed("listen", err)
		}
	}
	pace := pace{busy: s.opt.PollBusy, idle: s.opt.PollIdle}
	after, resets, fails := ID(0), -1, 0
	for ctx.Err() == nil {
		s.r.beats.beat("reader")
		if err := s.awaitRoom(ctx, resets); err != nil {
			return nil
		}
		caught, err := s.readCatchUp(ctx)
		if err == nil {
			var page *readPage
			if page, err = s.readMain(ctx, &after, &resets); err == nil {
				fails = 0
				more := page.More || caught
				if !s.paceReader(ctx, pace.next(more || len(page.Messages) > 0, more, time.Now()), wakes) {
					return nil
				}
				continue
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case lost(err):
			return err
		case errors.Is(err, ErrReborn):
			s.reset(err)
		default:
			s.r.failed("read", err)
		}
		if !sleep(ctx, backoff(fails, retryInitial, 2*time.Second)) {
			return nil
		}
		fails++
	}
	return nil
}

// awaitRoom waits until the look-ahead has room. Lanes that cannot send let go their queues at once; when nothing moves for slowAfter, the lane that holds
// most does. After a reset it does not wait: the read revives the outbox, and without that nothing is settled and no room comes.
func (s *session) awaitRoom(ctx context.Context, resets int) error {
	moved, ahead := time.Now(), -1
	for {
		spill := false
		s.mu.Lock()
		now := time.Now()
		if s.flow.ahead != ahead {
			moved, ahead = now, s.flow.ahead
		}
		if s.flow.full(now) {
			spill = s.flow.relieve(now.Sub(moved) >= slowAfter && len(s.flow.unplaced) == 0, now)
		}
		full := s.flow.full(now) && s.resets == resets
		s.waiting = full
		s.mu.Unlock()
		if !full {
			return nil
		}
		if spill {
			poke(s.wakeSpill)
		}
		s.r.beats.beat("reader")
		t := time.NewTimer(slowAfter / 5)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-s.wakeRead:
			t.Stop()
		case <-t.C:
		}
	}
}

func (s *session) limit() ReadLimit {
	return ReadLimit{Rows: s.opt.ReadRows, InlineBytes: s.opt.InlineBytes, PageBytes: s.opt.PageBytes}
}

// readMain reads one page of the main flow and hands it to the claimer.
func (s *session) readMain(ctx context.Context, after *ID, resets *int) (*readPage, error) {
	limit := s.limit()
	s.mu.Lock()
	if *resets != s.resets {
		*resets, *after = s.resets, 0
	}
	s.flow.pages.reads++
	limit.Seq = s.flow.pages.reads
	lease := s.lease
	s.mu.Unlock()
	began := time.Now()
	page, err := s.call(ctx, lease, *after, limit)
	if err != nil {
		return nil, err
	}
	p := &readPage{Page: page, resets: *resets}
	s.mu.Lock()
	if *resets == s.resets {
		s.flow.unread = false
		s.flow.firstHole = page.FirstHole
		s.flow.holes, s.flow.oldestHole = page.Holes, page.OldestHole
		if len(page.Messages) > 0 {
			s.flow.unplaced = append(s.flow.unplaced, newUnplaced(&page))
		} else {
			s.flow.mainAfter = s.emptyAfter(page.After)
			s.flow.purge(page.Listed)
		}
	}
	s.mu.Unlock()
	*after = page.After
	if len(page.Messages) == 0 {
		return p, nil
	}
	s.worked += len(page.Messages)
	kp.Hit(kp.Read)
	if ev := s.opt.Events.Read; ev != nil {
		ev(len(page.Messages), time.Since(began))
	}
	return p, s.pass(ctx, *p)
}

// emptyAfter is the main position after an empty page: only when nothing read before it still waits to be placed.
func (s *session) emptyAfter(after ID) ID {
	if len(s.flow.unplaced) > 0 {
		return s.flow.mainAfter
	}
	return max(s.flow.mainAfter, after)
}

// readCatchUp reads one page for the lanes that are behind, if any of them has room; it says whether there was anything to do.
func (s *session) readCatchUp(ctx context.Context) (bool, error) {
	limit := s.limit()
	limit.CatchUp = true
	s.mu.Lock()
	after, restart, ok := s.flow.catchUpFrom(time.Now())
	if !ok {
		s.mu.Unlock()
		return false, nil
	}
	limit.Restart = restart
	s.flow.pages.reads++
	limit.Seq = s.flow.pages.reads
	gen, resets, lease := s.flow.catch.gen, s.resets, s.lease
	s.mu.Unlock()
	limit.Skip = func(id ID) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.flow.skip(id)
	}
	page, err := s.call(ctx, lease, after, limit)
	if err != nil {
		s.mu.Lock()
		s.flow.catch.busy, s.flow.catch.fresh = false, true
		s.mu.Unlock()
		return false, err
	}
	s.worked += len(page.Messages)
	return true, s.pass(ctx, readPage{Page: page, resets: resets, catchUp: true, start: after, gen: gen})
}

func (s *session) call(ctx context.Context, lease Lease, after ID, limit ReadLimit) (Page, error) {
	call, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return s.store.Read(call, lease, after, limit)
}

func (s *session) pass(ctx context.Context, p readPage) error {
	select {
	case s.pages <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// paceReader does what the pace says; false = ctx ended.
func (s *session) paceReader(ctx context.Context, st step, wakes <-chan struct{}) bool {
	if st.arm || st.calm {
		s.arm(ctx, st.arm)
	}
	if st.wait == 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(st.wait)
	defer t.Stop()
	if st.wake {
		s.giveBack()
	} else {
		wakes = nil
	}
	cause := "poll"
	select {
	case <-ctx.Done():
		return false
	case <-wakes:
		cause = "notify"
	case <-s.wakeRead:
		cause = "retry"
	case <-t.C:
	}
	if ev := s.opt.Events.Woken; ev != nil {
		ev(cause)
	}
	return true
}

// muchWork is how many messages leave pages behind that are worth giving back.
const muchWork = 10_000

// giveBack returns the memory of past pages to the machine when a busy time is over: a relay that sleeps would hold what it took at its busiest for minutes.
func (s *session) giveBack() {
	if s.worked < muchWork {
		return
	}
	s.mu.Lock()
	busy := s.flow.ahead > 0 || s.settling || !s.flow.out.empty()
	s.mu.Unlock()
	if !busy {
		s.worked = 0
		runtime.GC() // what is pooled outlives one collection
		debug.FreeOSMemory()
	}
}

func (s *session) arm(ctx context.Context, asleep bool) {
	if s.opt.Waker == nil {
		return
	}
	call, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := s.opt.Waker.Arm(call, asleep); err != nil && ctx.Err() == nil {
		s.r.failed("arm", err)
	}
}
