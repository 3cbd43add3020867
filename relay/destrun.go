package relay

import (
	"context"
	"errors"
	"time"
)

// openTimeout bounds one Open.
const openTimeout = 10 * time.Second

// runDestination opens a destination's publisher, again and again while the broker is down, and replaces it when its lanes have changed. announced is
// called once, after the first try: reading waits for it.
func (s *session) runDestination(ctx context.Context, d *destination, announced func()) error {
	first := true
	done := func() {
		if first {
			first = false
			announced()
		}
	}
	defer done()
	defer s.closePublisher(d) // one that was made when the others were closed
	for ctx.Err() == nil {
		pub, err := d.New()
		if err != nil {
			s.openFailed(d, err, 0)
			done()
			if !sleep(ctx, configPause) {
				return nil
			}
			continue
		}
		exact, _ := pub.(Exact)
		s.mu.Lock()
		d.pub, d.exact, d.settled = pub, exact, nil
		generations := s.lease.Generations
		s.mu.Unlock()
		if exact != nil {
			exact.Source(generations)
		}
		for fails := 0; ; fails++ {
			err := s.openOnce(ctx, d, pub)
			if err == nil {
				break
			}
			if errors.Is(err, ErrFenced) {
				return err
			}
			wait := s.openFailed(d, err, fails)
			done()
			if !sleep(ctx, wait) {
				return nil
			}
		}
		s.opened(d)
		done()
		select {
		case <-ctx.Done():
			return nil
		case <-d.changed:
		}
		if !s.drainDestination(ctx, d) {
			return nil
		}
	}
	return nil
}

func (s *session) openOnce(ctx context.Context, d *destination, pub Publisher) error {
	s.mu.Lock()
	epoch := s.lease.Epoch
	s.mu.Unlock()
	call, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := pub.Open(call, epoch); err != nil {
		return err
	}
	if d.Opened != nil {
		return d.Opened(pub)
	}
	return nil
}

// openFailed records why a destination is not open, and says when to try again.
func (s *session) openFailed(d *destination, err error, fails int) time.Duration {
	var config *ConfigError
	o := Outcome{Kind: Unavailable, Class: ClassUnreachable, Detail: err.Error()}
	if errors.As(err, &config) {
		o = Outcome{Kind: Config, Class: config.Class, Detail: config.Text}
	}
	now := time.Now()
	s.mu.Lock()
	paused, opened := false, false
	d.lastFault = o
	if o.Kind == Config {
		paused = d.paused.set(o, now)
	} else {
		opened = !d.breaker.open
		d.breaker.open = true
		if opened {
			d.breaker.since = now
		}
		d.breaker.cause = o
	}
	s.mu.Unlock()
	if ev := s.opt.Events.Paused; ev != nil && paused {
		ev(d.Name, Lane{}, ScopeDestination, o)
	}
	if ev := s.opt.Events.Breaker; ev != nil && opened {
		ev(d.Name, true, o)
	}
	if o.Kind == Config {
		return configPause
	}
	return backoff(fails, s.opt.ProbeInitial, s.opt.ProbeCap)
}

func (s *session) opened(d *destination) {
	s.mu.Lock()
	if d.pub == nil { // the session has ended and closed it
		s.mu.Unlock()
		return
	}
	d.opened, d.draining = true, false
	s.flow.closeBreaker(d, nil, Outcome{Kind: Acked}, time.Now())
	wasPaused := d.paused.active()
	d.paused = pause{}
	s.mu.Unlock()
	if ev := s.opt.Events.Resumed; ev != nil && wasPaused {
		ev(d.Name, Lane{}, ScopeDestination)
	}
	s.pokeReader()
	s.pokeHeld()
}

func (s *session) lanesChanged(name string) {
	s.mu.Lock()
	d := s.flow.byName[name]
	s.mu.Unlock()
	if d != nil {
		poke(d.changed)
	}
}

// drainDestination lets open batches resolve, then lets go queues and lanes: the new lanes start behind, at the lowest id that the old ones held. false =
// ctx ended.
func (s *session) drainDestination(ctx context.Context, d *destination) bool {
	s.mu.Lock()
	d.draining = true
	d.pokeAll()
	s.mu.Unlock()
	for {
		s.mu.Lock()
		open := false
		for _, l := range d.order {
			open = open || l.busy || l.moving || len(l.open) > 0 && l.maybe
		}
		if !open {
			s.dropCached(d)
			s.flow.dissolve(d)
			s.mu.Unlock()
			s.closePublisher(d)
			poke(s.wakeOut)
			s.pokeReader()
			return true
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return false
		case <-d.signal:
		}
	}
}

// dissolve ends the lanes of a drained destination.
func (f *flow) dissolve(d *destination) {
	low := d.from
	for _, l := range d.order {
		l.queue = append(append([]*Message(nil), l.open...), l.queue...)
		for _, m := range l.open {
			l.bytes += m.Weight()
		}
		l.open = nil
		f.drop(l)
		l.pull(func(*Message) bool { return true }, f.putBack)
		if l.from != 0 && (low == 0 || l.from < low) {
			low = l.from
		}
		l.gone = true
		l.poke()
	}
	d.lanes, d.order, d.opened, d.from = map[Lane]*lane{}, nil, false, low
	d.topics = map[string]*pause{}
	d.breaker.alive()
	d.ramp = ramp{}
	f.catchGen++
}
