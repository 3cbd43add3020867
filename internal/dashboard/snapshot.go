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
	Counted  time.Time     // when the failures were counted, by the database's clock
	Keys     relay.KeyList // the first ones
	Answer   Answer
	Err      error // the last reading failed; the rest is as of At
}

// snapshots reads the state at most once a second, and each of its two parts for no more than a fiftieth of the time: a hundred open pages cost the database
// what one costs.
type snapshots struct {
	mu     sync.Mutex // held while the database is asked: those who come meanwhile want the same answer
	last   state
	loaded time.Time     // when the last reading ended
	took   time.Duration // how long it took, without the failures
	stale  bool          // somebody acted since

	counted  time.Time     // when the failures were counted last
	counting time.Duration // how long that took; it is the dearest part, and must not make the rest old
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
	if l.stale || time.Since(l.loaded) >= due(l.took) {
		began := time.Now()
		// The answer is for everybody who waits, also when the one who asked first has gone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), snapshotLimit)
		defer cancel()
		counting := time.Duration(0)
		s, err := d.read(ctx)
		if err == nil && (l.stale || time.Since(l.counted) >= due(l.counting)) {
			start := time.Now()
			s.Failures, err = d.Inspector.Failures(ctx)
			counting, s.Counted = time.Since(start), s.Overview.Now
			l.counted, l.counting = time.Now(), counting
		} else {
			s.Failures, s.Counted = l.last.Failures, l.last.Counted
		}
		if err != nil {
			l.last.Err = err
			d.Log.Warn("the dashboard cannot read the state of the outbox", "err", err)
		} else {
			s.since()
			l.last = s
		}
		l.loaded, l.took, l.stale = time.Now(), time.Since(began)-counting, false
	}
	return l.last
}

// due is the pause after a reading that took so long.
func due(took time.Duration) time.Duration {
	return max(snapshotEvery, min(snapshotShare*took, time.Minute))
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
	if s.Keys, err = d.Inspector.Keys(ctx, relay.Key{}, overviewKeys); err != nil {
		return s, err
	}
	s.At = time.Now()
	s.Answer = d.Guide.Outbox(s.Overview)
	return s, nil
}

// since dates the verdict that messages are dead by the first of them.
func (s *state) since() {
	if !s.Answer.Since.IsZero() || s.Answer.Verdict != "dead" {
		return
	}
	for _, g := range s.Failures {
		if s.Answer.Since.IsZero() || g.First.Before(s.Answer.Since) {
			s.Answer.Since = g.First
		}
	}
}
