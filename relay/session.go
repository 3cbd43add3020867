package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/waybillmq/waybill/internal/kp"
)

// session is one ownership, from Acquire to release or loss. Its goroutines and what each owns alone: the keeper renews the lease; the reader owns both
// reading positions; the claimer claims what was read and places it; a runner per lane publishes; the settler writes outcomes; the held loop takes what is
// due; one loop per destination opens its publisher; one obeys people's pauses. They share the flow under mu, which is never held across a call to a port.
type session struct {
	r     *Relay
	opt   *Options
	store Store

	mu     sync.Mutex
	flow   flow
	lease  Lease
	until  time.Time // end of trust
	resets int       // what was read before the newest reset is dropped unclaimed
	seq    int64     // of receipts

	pages     chan readPage
	wakeRead  chan struct{}
	wakeHeld  chan struct{}
	wakeOut   chan struct{}
	wakeSpill chan struct{}
	wakeDrain chan struct{} // something was resolved or settled while stopping
	flush     chan struct{} // closed when stopping: settle without waiting for more

	again    bool       // the closed keys must be asked for; guarded by mu
	askNext  time.Time  // for all closed keys; the held loop's
	unsure   []Key      // closed keys to be asked for again; guarded by mu
	worked   int        // messages read since memory was given back; the reader's
	fetching sync.Mutex // one Fetch at a time
	waiting  bool       // the reader waits for room; guarded by mu
	settling bool       // a settlement is on its way, or waits for a person's lock; guarded by mu

	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // every goroutine but the lanes
	lanes  sync.WaitGroup
}

// readPage is a page on its way to the claimer.
type readPage struct {
	Page
	resets  int
	catchUp bool
	start   ID
	gen     uint64
}

func newSession(r *Relay, lease Lease) *session {
	s := &session{
		r: r, opt: &r.opt, store: r.opt.Store, lease: lease,
		until: lease.Asked.Add(r.opt.trust()),
		pages: make(chan readPage, 3), wakeRead: make(chan struct{}, 1), wakeHeld: make(chan struct{}, 1), wakeOut: make(chan struct{}, 1), wakeSpill: make(chan struct{}, 1),
		wakeDrain: make(chan struct{}, 1), flush: make(chan struct{}),
	}
	s.flow = flow{opt: &r.opt, router: r.router, byName: map[string]*destination{}, out: &group{}, repeats: map[string]int{}}
	if lease.Takeover {
		s.flow.claimedTo = lease.Claimed
	}
	for _, c := range r.opt.Destinations {
		d := &destination{Destination: c, signal: make(chan struct{}, 1), changed: make(chan struct{}, 1), lanes: map[Lane]*lane{}, topics: map[string]*pause{},
			breaker: breaker{openAfter: r.opt.OpenAfter, initial: r.opt.ProbeInitial, ceiling: r.opt.ProbeCap}}
		if !c.Capabilities.Fences {
			d.quietTo = lease.Asked.Add(lease.Quiet)
		}
		s.flow.dests = append(s.flow.dests, d)
		s.flow.byName[c.Name] = d
	}
	return s
}

// run works until ctx ends (nil) or the ownership does (its cause).
func (s *session) run(ctx context.Context) error {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	s.cancel = cancel
	reading, stopReading := context.WithCancel(work)
	s.flow.lane = func(l *lane) {
		s.lanes.Add(1)
		go func() {
			defer s.lanes.Done()
			s.runLane(work, l)
		}()
	}
	if ev := s.opt.Events.Acquired; ev != nil {
		ev(s.lease)
	}
	kp.Hit(kp.Acquired)

	s.start("keeper", work, s.keep)
	s.start("settler", work, s.settle)
	var announced sync.WaitGroup
	for _, d := range s.flow.dests {
		announced.Add(1)
		s.start("destination", work, func(ctx context.Context) error { return s.runDestination(ctx, d, announced.Done) })
	}
	var readers sync.WaitGroup
	readers.Go(func() {
		announced.Wait() // announce the epoch to every broker that can be reached, then read: a read before lets an old owner publish behind it
		s.openCache()
		s.settleCached(reading)
		if s.loadPaused(reading) != nil || s.loadClosed(reading) != nil {
			return
		}
		s.start("paused", work, s.runPaused)
		readers.Go(func() { s.runSpill(reading) })
		readers.Go(func() { s.guard(work, "held", s.runHeld(reading)) })
		readers.Go(func() { s.guard(work, "claimer", s.claim(reading)) })
		s.guard(work, "reader", s.read(reading))
	})

	select {
	case <-ctx.Done():
	case <-work.Done():
	}
	stopReading()
	readers.Wait()
	released := work.Err() == nil && s.drain(work)
	cause := context.Cause(work)
	if released {
		cause = nil // a renewal that came too late is told that it is fenced
	}
	cancel(nil)
	s.closePublishers()
	s.lanes.Wait()
	s.wg.Wait()
	return cause
}

// start runs a loop that ends with work, or ends the session with its error.
func (s *session) start(name string, work context.Context, loop func(context.Context) error) {
	s.wg.Go(func() { s.guard(work, name, loop(work)) })
}

func (s *session) guard(work context.Context, name string, err error) {
	if err == nil || work.Err() != nil {
		return
	}
	if !lost(err) {
		err = fmt.Errorf("relay: %s: %w", name, err)
	}
	s.cancel(err)
}

// lost says whether an error of the store ends the ownership.
func lost(err error) bool {
	var refused *RefusedError
	return errors.Is(err, ErrFenced) || errors.Is(err, ErrMoved) || errors.As(err, &refused)
}

func (s *session) trusted(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Before(s.until)
}

// mayPublish says whether a lane may send: under a lease that is trusted, or to a broker that refuses us as soon as somebody else owns the outbox, so that an
// outage of the database ends nothing that is claimed. The caller holds mu.
func (s *session) mayPublish(l *lane, now time.Time) bool {
	return now.Before(s.until) || l.dest.Capabilities.Fences
}

// keep renews the lease. A renewal that comes late but finds the epoch unchanged is valid: nobody else owned the outbox meanwhile.
func (s *session) keep(ctx context.Context) error {
	every := s.opt.renewEvery()
	for wait := every; sleep(ctx, wait); {
		s.r.beats.beat("keeper")
		s.mu.Lock()
		lease, progress := s.lease, Progress{LowWater: s.flow.lowWater(), ReadUpTo: s.flow.mainAfter, Pending: -1}
		s.mu.Unlock()
		call, cancel := context.WithTimeout(ctx, max(min(2*time.Second, s.opt.Lease/3), 50*time.Millisecond))
		renewed, err := s.store.Renew(call, lease, progress)
		cancel()
		if err == nil {
			s.mu.Lock()
			was := s.until
			s.lease, s.until = renewed, renewed.Asked.Add(s.opt.trust())
			if was.Before(time.Now()) {
				for _, d := range s.flow.dests {
					d.pokeAll()
				}
			}
			s.mu.Unlock()
			wait = every
			s.r.beats.rest("keeper")
			continue
		}
		if lost(err) {
			return err
		}
		s.r.failed("renew", err)
		wait = max(every/4, 10*time.Millisecond)
	}
	return nil
}

// reset drops what was read and not claimed; the reader begins again at 0.
func (s *session) reset(cause error) {
	s.mu.Lock()
	s.resets++
	s.flow.reset()
	s.again = true // the held loop asks at its next turn: a poke by its own reset would make it spin
	s.mu.Unlock()
	if ev := s.opt.Events.Reborn; ev != nil && cause != nil {
		ev(cause)
	}
	s.pokeReader()
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *session) pokeReader() { poke(s.wakeRead) }
func (s *session) pokeHeld()   { poke(s.wakeHeld) }

// drain finishes what is in flight: lanes send nothing new, open batches are presented until they are resolved or the time is up, everything known is
// settled. The lease is released, and drain says so, only when no answer is open: a standby must not begin while something of ours may still be stored.
func (s *session) drain(work context.Context) (released bool) {
	close(s.flush)
	s.mu.Lock()
	s.flow.stopping = true
	for _, d := range s.flow.dests {
		d.pokeAll()
	}
	s.mu.Unlock()
	poke(s.wakeOut)
	deadline := time.NewTimer(s.opt.ShutdownTimeout)
	defer deadline.Stop()
	for {
		quiet, maybe := s.quiet()
		if quiet {
			if maybe {
				return false
			}
			kp.Hit(kp.Stopping)
			return s.release(work)
		}
		select {
		case <-s.wakeDrain:
		case <-work.Done():
			return false
		case <-deadline.C:
			_, maybe := s.quiet()
			return !maybe && s.idle() && s.release(work)
		}
	}
}

// quiet says whether nothing is in flight that ends by itself and everything is settled, and whether anything sent may be stored without an answer.
func (s *session) quiet() (quiet, maybe bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	quiet = s.flow.out.empty() && !s.settling
	for _, d := range s.flow.dests {
		for _, l := range d.order {
			maybe = maybe || l.busy || len(l.open) > 0 && l.maybe
			quiet = quiet && !l.busy && !(len(l.open) > 0 && l.maybe && d.stopped == nil)
		}
	}
	return quiet, maybe
}

// idle says whether everything known is settled.
func (s *session) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flow.out.empty() && !s.settling
}

func (s *session) release(ctx context.Context) bool {
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second) // a renewal meanwhile is told that it is fenced, and ends the session
	defer cancel()
	s.mu.Lock()
	lease := s.lease
	s.mu.Unlock()
	err := s.store.Release(call, lease)
	if err != nil {
		s.r.failed("release", err)
	}
	return err == nil
}

// closePublishers ends every connection: raw sockets first, by the contract of Close.
func (s *session) closePublishers() {
	var closing sync.WaitGroup
	for _, d := range s.flow.dests {
		closing.Go(func() { s.closePublisher(d) })
	}
	closing.Wait()
}

// closePublisher closes the publisher of a destination, if nobody else has closed it.
func (s *session) closePublisher(d *destination) {
	s.mu.Lock()
	pub := d.pub
	d.pub, d.opened = nil, false
	s.mu.Unlock()
	if pub == nil {
		return
	}
	call, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := pub.Close(call); err != nil {
		s.r.failed("close", err)
	}
}
