package relay

import (
	"context"
	"errors"
	"time"

	"github.com/waybillmq/waybill/internal/kp"
)

// lockedAgain is the pause before a part that a person's lock held up is written again.
const lockedAgain = 200 * time.Millisecond

// settle is the settler loop: outcomes of all lanes are gathered for a moment, because only merged lanes give long runs, and written as one group.
func (s *session) settle(ctx context.Context) error {
	var waiting *group // held up by a person's lock
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := time.Hour
		if waiting != nil {
			wait = lockedAgain
		}
		timer.Reset(wait)
		locked := false
		s.r.beats.rest("settler")
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			locked = waiting != nil
		case <-s.wakeOut:
		}
		s.r.beats.beat("settler")
		if !locked && !s.gather(ctx) {
			return nil
		}
		if locked {
			s.mu.Lock()
			s.flow.untangle(waiting)
			s.mu.Unlock()
			left, err := s.write(ctx, waiting, true)
			if err != nil {
				return err
			}
			waiting = left
		}
		s.mu.Lock()
		g := s.flow.out
		s.flow.out = &group{}
		if waiting != nil {
			waiting.join(g)
		}
		s.flow.untangle(g)
		s.settling = !g.empty() || waiting != nil
		s.mu.Unlock()
		if !g.empty() {
			left, err := s.write(ctx, g, false)
			if err != nil {
				return err
			}
			switch {
			case waiting == nil:
				waiting = left
			case left != nil:
				waiting.holds = append(waiting.holds, left.holds...)
				waiting.release = append(waiting.release, left.release...)
				waiting.attempts = append(waiting.attempts, left.attempts...)
			}
		}
		s.mu.Lock()
		s.settling = waiting != nil
		more := !s.flow.out.empty()
		s.mu.Unlock()
		if more {
			poke(s.wakeOut)
		}
		poke(s.wakeDrain)
	}
}

// gather waits until the group is large or old enough; false = ctx ended.
func (s *session) gather(ctx context.Context) bool {
	deadline := time.NewTimer(s.opt.SettleDelay)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		size := s.flow.out.size()
		s.mu.Unlock()
		if size >= s.opt.SettleMessages {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-s.flush:
			return true
		case <-deadline.C:
			return true
		case <-s.wakeOut:
		}
	}
}

// write settles one group until the store has it. It returns the part that a person's lock holds up, nil when there is none.
func (s *session) write(ctx context.Context, g *group, heldOnly bool) (*group, error) {
	if g.empty() {
		return nil, nil
	}
	s.mu.Lock()
	settlement := g.settlement(&s.seq)
	s.mu.Unlock()
	stopKeeping := s.keepAcks(g)
	defer stopKeeping()
	for fails := 0; ; fails++ {
		s.r.beats.beat("settler")
		s.mu.Lock()
		lease := s.lease
		s.mu.Unlock()
		began := time.Now()
		call, cancel := context.WithTimeout(ctx, 12*time.Second)
		answer, err := s.store.Settle(call, lease, settlement)
		cancel()
		if err == nil {
			stopKeeping()
			return s.written(g, answer, heldOnly, time.Since(began)), nil
		}
		switch {
		case ctx.Err() != nil:
			return nil, nil
		case lost(err):
			return nil, err
		case errors.Is(err, ErrReborn):
			s.reset(err) // the reader revives; these acks are facts and are settled then
		default:
			s.r.failed("settle", err)
		}
		if !sleep(ctx, backoff(fails, retryInitial, time.Second)) {
			return nil, nil
		}
	}
}

func (s *session) written(g *group, answer Settled, heldOnly bool, took time.Duration) (left *group) {
	if answer.HeldWaits {
		if heldOnly {
			return g
		}
		left = g.held()
	}
	s.forgetAcks(g)
	s.mu.Lock()
	s.flow.settled(g, answer.StillHeld)
	due := len(g.holds) > 0 || len(g.release) > 0
	waiting := s.waiting
	s.mu.Unlock()
	if due {
		kp.Hit(kp.HeldSettled)
		s.pokeHeld()
	}
	if waiting {
		s.pokeReader()
	}
	if n := len(g.acked) + len(g.ackedHeld); n > 0 {
		kp.Hit(kp.Settled)
		if ev := s.opt.Events.Settled; ev != nil {
			ev(n, len(g.receipts), took)
		}
	}
	return left
}
