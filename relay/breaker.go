package relay

import "time"

// livingProbes bounds the doubling of the pause between probes that a living broker refuses: four times the first pause.
const livingProbes = 2

// breaker decides when a destination as a whole is down, and who probes it (rule R22). It opens after openAfter failures in a row when no lane was acked
// since the first of them, and either two lanes failed, or the only active one, or the outcome spoke of the whole destination. Otherwise only the failing
// lane pauses. It closes on any answer that shows a living broker, and never gives up. Pure: callers pass the time and own the lock.
type breaker struct {
	openAfter        int
	initial, ceiling time.Duration

	failures int           // in a row, since the last ack
	lanes    map[Lane]bool // which failed in this row
	open     bool
	since    time.Time
	cause    Outcome
	probes   int // failed ones since it opened
	probeAt  time.Time
	probing  bool
	turn     *lane // whose head is the next probe; nil = whoever has one first
}

// fail records a failed publish and says whether the breaker opened by it.
func (b *breaker) fail(l Lane, o Outcome, active int, now time.Time) (opened bool) {
	if b.open {
		return false
	}
	if b.lanes == nil {
		b.lanes = map[Lane]bool{}
	}
	b.failures++
	b.lanes[l] = true
	whole := o.Kind == Unavailable && o.Scope == ScopeDestination
	if b.failures < b.openAfter || !(whole || len(b.lanes) >= 2 || active <= 1) {
		return false
	}
	b.open, b.since, b.cause, b.probes, b.probing = true, now, o, 0, false
	b.probeAt = now.Add(backoff(0, b.initial, b.ceiling))
	return true
}

// alive records an answer that shows a living broker, and says whether the breaker closed by it.
func (b *breaker) alive() (closed bool) {
	closed = b.open
	b.failures, b.open, b.probing, b.turn = 0, false, false, nil
	clear(b.lanes)
	return closed
}

// probe asks whether lane l may send its head now although the breaker is open; otherwise wait says how long not to ask again (negative: until woken). A lane
// that did not fail takes the turn from one that did: it tells more.
func (b *breaker) probe(l *lane, now time.Time) (ok bool, wait time.Duration) {
	if b.probing || (b.turn != nil && b.turn != l && b.turn.hasHead() && (l.fails > 0 || b.turn.fails == 0)) {
		return false, -1
	}
	b.turn = l
	if d := b.probeAt.Sub(now); d > 0 {
		return false, d
	}
	b.probing = true
	return true, 0
}

// probeFailed gives the turn to the next lane, later; soon when a living broker answered, for it may take what another lane has.
func (b *breaker) probeFailed(next *lane, living bool, now time.Time) {
	b.probing, b.turn = false, next
	b.probes++
	if living {
		b.probes = min(b.probes, livingProbes)
	}
	b.probeAt = now.Add(backoff(b.probes, b.initial, b.ceiling))
}
