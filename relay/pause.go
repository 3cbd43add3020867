package relay

import (
	"context"
	"slices"
	"time"
)

// Pauser tells the owner what people have stopped.
type Pauser interface {
	// Paused returns every pause that is not over, in any order. It is asked before an ownership sends its first byte, and then every second, one call at a time. ErrFenced and
	// ErrMoved as of Store; after any other error the answer before it holds.
	Paused(ctx context.Context, lease Lease) ([]PausedDestination, error)
}

// PausedDestination is a destination that a person has stopped.
type PausedDestination struct {
	Destination string    `json:"destination,omitempty"` // empty = all of them
	At          time.Time `json:"at"`                    // database time
	Actor       string    `json:"by"`
	Reason      string    `json:"reason"`
	Until       time.Time `json:"until,omitzero"` // when it ends by itself, database time; zero = when somebody resumes it
}

// Text is by whom, until when and why, in a few words.
func (p *PausedDestination) Text() string {
	what := "by "
	if p.Destination == "" {
		what = "with all others by "
	}
	if !p.Until.IsZero() {
		what += p.Actor + " until " + p.Until.UTC().Format(time.RFC3339)
	} else {
		what += p.Actor
	}
	return what + ": " + p.Reason
}

// pausedEvery is how often people's pauses are asked for.
const pausedEvery = time.Second

// stoppedBy finds what stops a destination: its own pause before that of all.
func stoppedBy(paused []PausedDestination, name string) *PausedDestination {
	for _, of := range []string{name, ""} {
		if i := slices.IndexFunc(paused, func(p PausedDestination) bool { return p.Destination == of }); i >= 0 {
			return &paused[i]
		}
	}
	return nil
}

// heed takes what people have stopped now, and returns the destinations that it stops or lets go on.
func (f *flow) heed(paused []PausedDestination) (changed []*destination) {
	for _, d := range f.dests {
		was := d.stopped
		d.stopped = stoppedBy(paused, d.Name)
		if (was == nil) == (d.stopped == nil) {
			continue
		}
		changed = append(changed, d)
		for _, l := range d.order {
			f.putDown(l)
		}
		d.pokeAll()
	}
	return changed
}

// putDown gives back what a lane of a stopped destination has of held messages, untried: people cannot act on what is being sent. A batch that may be stored stays
// as it is, and what is behind it.
func (f *flow) putDown(l *lane) {
	if l.dest.stopped == nil || l.busy || slices.ContainsFunc(l.open, func(m *Message) bool { return m.maybe }) {
		return
	}
	if len(l.open) > 0 {
		l.unfill(slices.Clone(l.open))
		clear(l.open)
		l.open = l.open[:0]
		l.calm()
	}
	l.pull(func(m *Message) bool { return m.held != nil }, f.putBack)
}

// runPaused obeys what people stop and let go on.
func (s *session) runPaused(ctx context.Context) error {
	if s.opt.Pauser == nil {
		return nil
	}
	for sleep(ctx, pausedEvery) {
		s.r.beats.beat("paused")
		err := s.askPaused(ctx)
		s.r.beats.rest("paused")
		switch {
		case err == nil || ctx.Err() != nil:
		case lost(err):
			return err
		default:
			s.r.failed("paused", err)
		}
	}
	return nil
}

// loadPaused learns what is stopped before the first byte.
func (s *session) loadPaused(ctx context.Context) error {
	for fails := 0; s.opt.Pauser != nil; fails++ {
		err := s.askPaused(ctx)
		switch {
		case err == nil:
			return nil
		case lost(err):
			s.cancel(err)
			return err
		case ctx.Err() == nil:
			s.r.failed("paused", err)
		}
		if !sleep(ctx, backoff(fails, retryInitial, time.Second)) {
			return ctx.Err()
		}
	}
	return nil
}

func (s *session) askPaused(ctx context.Context) error {
	s.mu.Lock()
	lease := s.lease
	s.mu.Unlock()
	call, cancel := context.WithTimeout(ctx, 5*time.Second)
	paused, err := s.opt.Pauser.Paused(call, lease)
	cancel()
	if err != nil {
		return err
	}
	s.mu.Lock()
	changed := s.flow.heed(paused)
	work := !s.flow.out.empty()
	s.mu.Unlock()
	if work {
		poke(s.wakeOut)
	}
	if len(changed) == 0 {
		return nil
	}
	if ev := s.opt.Events.Stopped; ev != nil {
		for _, d := range changed {
			ev(d.Name, stoppedBy(paused, d.Name))
		}
	}
	poke(s.wakeDrain)
	s.pokeReader()
	s.pokeHeld()
	return nil
}
