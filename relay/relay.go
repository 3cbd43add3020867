package relay

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Relay works one outbox: it waits for ownership, and as the owner moves committed messages to their destinations. Make it with New, run it with Run.
type Relay struct {
	opt    Options
	router *Router

	mu      sync.Mutex
	session *session // nil while standby
	refused error    // why this database may not be relayed; nil = it may
	lastErr error    // of the newest try to acquire; nil = another relay owns the outbox
	beats   beats
}

// New validates opt and compiles its routes. It does no I/O.
func New(opt Options) (*Relay, error) {
	if opt.Store == nil {
		panic("relay: no store")
	}
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	router, err := NewRouter(opt.Routes)
	if err != nil {
		return nil, err
	}
	return &Relay{opt: opt, router: router, beats: newBeats()}, nil
}

// Run waits for ownership and works as owner, again and again, until ctx ends; then it stops reading, finishes what is in flight within
// Options.ShutdownTimeout, settles what is known, and releases the lease if no answer is open. It returns nil then, and an error only for a broken
// invariant: outages of database and brokers are handled inside. Call it once.
func (r *Relay) Run(ctx context.Context) error {
	for {
		lease, err := r.acquire(ctx)
		if err != nil {
			return nil // ctx ended
		}
		s := newSession(r, lease)
		r.set(s)
		err = s.run(ctx)
		r.set(nil)
		r.beats.last.Clear()
		if ev := r.opt.Events.Lost; ev != nil {
			ev(lease.Epoch, err)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !lost(err):
			return err
		}
		var refused *RefusedError
		if errors.As(err, &refused) {
			r.failed("run", err)
			r.note(err)
			if !sleep(ctx, refusedPause) { // somebody has to look at it; a standby would meet the same
				return nil
			}
		}
	}
}

// refusedPause is how long a relay stays away from an outbox that it cannot work before a person has decided.
const refusedPause = 30 * time.Second

func (r *Relay) set(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session = s
}

func (r *Relay) current() *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.session
}

// acquire asks for the outbox until it gets it; the error is that of ctx. A standby asks every sixth of the lease, with jitter so that many do not ask at
// once.
func (r *Relay) acquire(ctx context.Context) (Lease, error) {
	terms := Terms{Owner: r.opt.Instance, Address: r.opt.Address, Lease: r.opt.Lease, Quarantine: r.opt.Quarantine}
	for _, d := range r.opt.Destinations {
		terms.Configured = append(terms.Configured, d.Name)
	}
	for {
		r.beats.beat("acquire")
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		lease, err := r.opt.Store.Acquire(call, terms)
		cancel()
		r.beats.rest("acquire")
		r.note(err)
		if err == nil {
			return lease, nil
		}
		if ctx.Err() != nil {
			return Lease{}, ctx.Err()
		}
		var refused *RefusedError
		wait := r.opt.renewEvery()
		switch {
		case errors.Is(err, ErrOwned):
		case errors.As(err, &refused):
			r.failed("acquire", err)
			wait = max(wait, 5*time.Second)
		default:
			r.failed("acquire", err)
			wait = min(wait, time.Second)
		}
		if !sleep(ctx, wait/2+time.Duration(rand.Int64N(int64(wait/2+1)))) {
			return Lease{}, ctx.Err()
		}
	}
}

func (r *Relay) note(err error) {
	var refused *RefusedError
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused, r.lastErr = nil, nil
	switch {
	case errors.As(err, &refused):
		r.refused = err
	case err != nil && !errors.Is(err, ErrOwned):
		r.lastErr = err
	}
}

func (r *Relay) failed(op string, err error) {
	if ev := r.opt.Events.Failed; ev != nil {
		ev(op, err)
	}
}

// Trusted says whether this relay may write to a broker now: it is the owner and believes in its lease. For the write gates of sockets; safe for concurrent
// use, cheap.
func (r *Relay) Trusted() bool {
	s := r.current()
	return s != nil && s.trusted(time.Now())
}

// LanesChanged tells that the partitions or queues of a destination changed: it is drained, closed and opened anew. Returns at once; safe for concurrent use.
func (r *Relay) LanesChanged(destination string) {
	if s := r.current(); s != nil {
		s.lanesChanged(destination)
	}
}

// Rescan makes the owner read everything unsettled again from the beginning: for rows that a self-check found behind the low-water mark.
func (r *Relay) Rescan() {
	if s := r.current(); s != nil {
		s.reset(nil)
	}
}

// Poke makes the owner look for messages, due retries and people's acts at once.
func (r *Relay) Poke() {
	if s := r.current(); s != nil {
		s.pokeReader()
		s.pokeHeld()
	}
}

// sleep waits; false = ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
