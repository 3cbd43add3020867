package relay

import (
	"slices"
	"time"
)

// rampStep is how long the next lane waits at most to be let in, however late the answers come.
const rampStep = 250 * time.Millisecond

// ramp lets the lanes of a destination go again one after the other once its breaker has closed: each answer of a living broker lets in one more, so that
// their number doubles in the time of one answer. A broker that is well has all of them again within a few answers; one that took the probe and nothing else
// holds few batches of which nobody knows whether they are stored. Pure: callers pass the time and own the lock.
type ramp struct {
	on   bool
	last time.Time // when a lane was let in
}

// begin bars every lane but first, whose answer closed the breaker; nil = none.
func (r *ramp) begin(lanes []*lane, first *lane, now time.Time) {
	r.on, r.last = true, time.Time{}
	if first != nil {
		r.last = now
	}
	for _, l := range lanes {
		l.barred = l != first
	}
}

// answered lets in the next lane behind l that has something to send. When none waits the ramp is over: whoever comes later comes alone.
func (r *ramp) answered(lanes []*lane, l *lane, now time.Time) {
	if !r.on {
		return
	}
	from := slices.Index(lanes, l) + 1
	for i := range lanes {
		if next := lanes[(from+i)%len(lanes)]; next.barred && next.hasHead() {
			next.barred, r.last = false, now
			next.poke()
			return
		}
	}
	r.on = false
	for _, l := range lanes {
		l.barred = false
	}
}

// wait says how long a lane waits before it asks again; 0 = it is in.
func (r *ramp) wait(l *lane, now time.Time) time.Duration {
	if !l.barred {
		return 0
	}
	if d := r.last.Add(rampStep).Sub(now); d > 0 {
		return d
	}
	l.barred, r.last = false, now
	return 0
}
