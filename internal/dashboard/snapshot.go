package dashboard

import (
	"context"
	"sync"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// state is the whole outbox at one moment, read once for all viewers.
type state struct {
	At       time.Time // by this machine's clock; zero = never read
	Overview relay.Overview
	Failures []relay.FailureGroup
	Keys     relay.KeyList // the first ones
	Answer   Answer
	Err      error // the last reading failed; the rest is as of At
}

// snapshots reads the state at most once a second, and never for more than a fiftieth of the time: a hundred open pages cost the database what one costs.
type snapshots struct {
	mu     sync.Mutex // held while the database is asked: those who come meanwhile want the same answer
	last   state
	loaded time.Time     // when the last reading ended
	took   time.Duration // how long it took
	stale  bool          // somebody acted since
}

const (
	snapshotEvery = time.Second
	snapshotShare = 50
	snapshotLimit = 5 * time.Second
	overviewKeys  = 5
)

// get returns the present state, as old as the pause between two readings at most.
func (l *snapshots) get(ctx context.Context, d *Dashboard) state {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stale || time.Since(l.loaded) >= max(snapshotEvery, min(snapshotShare*l.took, time.Minute)) {
		began := time.Now()
		// The answer is for everybody who waits, also when the one who asked first has gone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), snapshotLimit)
		defer cancel()
		if s, err := d.read(ctx); err != nil {
			l.last.Err = err
			d.Log.Warn("the dashboard cannot read the state of the outbox", "err", err)
		} else {
			l.last = s
		}
		l.loaded, l.took, l.stale = time.Now(), time.Since(began), false
	}
	return l.last
}

// changed makes the next viewer read anew.
func (l *snapshots) changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stale = true
}

func (d *Dashboard) read(ctx context.Context) (s state, err error) {
	if s.Overview, err = d.Inspector.Overview(ctx); err != nil {
		return s, err
	}
	if s.Failures, err = d.Inspector.Failures(ctx); err != nil {
		return s, err
	}
	if s.Keys, err = d.Inspector.Keys(ctx, relay.Key{}, overviewKeys); err != nil {
		return s, err
	}
	s.At = time.Now()
	s.Answer = d.Guide.Outbox(s.Overview)
	if s.Answer.Since.IsZero() && s.Answer.Verdict == "dead" {
		for _, g := range s.Failures {
			if s.Answer.Since.IsZero() || g.First.Before(s.Answer.Since) {
				s.Answer.Since = g.First
			}
		}
	}
	return s, nil
}
