package relay

import (
	"fmt"
	"slices"
	"time"

	"github.com/waybillmq/waybill/internal/kp"
)

// How patient a lane is with unknown answers while others of its destination are acked (rule R16).
const (
	unknownTries = 5                // in place, then its messages leave the lane
	unknownFor   = 60 * time.Second // the same as a time
	aloneFor     = 5 * time.Second  // the same for messages that nobody takes in
	lonelyTries  = 5                // answers in which one message alone met unavailable while its neighbours passed
	retryInitial = 50 * time.Millisecond
	retryCap     = 30 * time.Second
)

// resolve decides what the answer to a lane's open batch does to each of its messages. took is how long the publish ran.
func (f *flow) resolve(l *lane, outcomes []Outcome, took time.Duration, now time.Time) {
	d := l.dest
	if len(outcomes) != len(l.open) {
		panic(fmt.Sprintf("relay: destination %q answered %d outcomes for %d messages", d.Name, len(outcomes), len(l.open)))
	}
	l.busy = false
	answered := sortOutcomes(l.open, outcomes)
	if len(answered.acked) > 0 {
		d.acks++
		d.ackedAt = now
		f.ack(l, answered.acked, answered.at, now)
	}
	clear(l.open) // a lane that is idle must not keep the pages of what it sent last
	l.open = append(l.open[:0], answered.rest...)
	l.maybe = len(l.open) > 0 && answered.fault.Kind == Unknown
	for i, m := range answered.rejected {
		f.reject(l, m, answered.why[i], took)
	}
	f.setAsideKept(l)
	if len(answered.acked)+len(answered.rejected) > 0 {
		f.alive(d, l, now)
	}
	if d.draining {
		d.poke()
	}
	if len(l.open) == 0 {
		l.calm()
	} else {
		f.failed(l, answered, took, now)
	}
	f.probed(l, answered.fault, now)
	if answered.living() && !d.breaker.open {
		d.ramp.answered(d.order, l, now)
	}
	f.putDown(l)
	l.poke()
}

// probed passes the turn on after a probe whose answer neither closed the breaker nor counted: all of it was set aside meanwhile, or it waits for our own
// settlements. Nobody else may probe before that.
func (f *flow) probed(l *lane, o Outcome, now time.Time) {
	if b := &l.dest.breaker; b.open && b.probing && b.turn == l {
		f.passTurn(l.dest, f.next(l), o.Alive || o.Full, now)
	}
}

// answered is a batch sorted by what is to be done.
type answered struct {
	acked    []*Message
	at       []Position
	rejected []*Message
	why      []Outcome
	rest     []*Message // to be presented again, in order
	fault    Outcome    // the gravest among rest: unknown, config, unavailable
}

// living says that a broker answered, and not the silence in its place.
func (a *answered) living() bool {
	o := a.fault
	return len(a.acked)+len(a.rejected) > 0 || o.Kind == Config || o.Alive || o.Full
}

// sortOutcomes keeps acks of a key a prefix: what was acked behind a hole of its own key goes again after the hole, and nothing is dead while an earlier
// message of its key is undecided.
func sortOutcomes(batch []*Message, outcomes []Outcome) (a answered) {
	var holes map[Key]bool
	for i, m := range batch {
		o := outcomes[i]
		k, keyed := m.OrderKey()
		behind := keyed && holes[k] && !m.passed()
		switch {
		case o.Kind == Acked && (!behind || kp.Planted(kp.FailedToTail)):
			a.acked, a.at = append(a.acked, m), append(a.at, o.At)
			continue
		case o.Kind == Rejected && !behind:
			a.rejected, a.why = append(a.rejected, m), append(a.why, o)
		default:
			m.maybe = o.Kind == Unknown || o.Kind == Acked
			if o.Kind == Acked || o.Kind == Rejected {
				o = Outcome{Kind: Unavailable, Scope: ScopeKey}
			}
			if len(a.rest) == 0 || graver(o, a.fault) {
				a.fault = o
			}
			a.rest = append(a.rest, m)
		}
		if keyed && !m.passed() {
			if holes == nil {
				holes = map[Key]bool{}
			}
			holes[k] = true
		}
	}
	if kp.Planted(kp.WholeBatchAcked) && len(a.acked) > 0 && len(a.rest) > 0 {
		for _, m := range a.rest {
			a.acked, a.at = append(a.acked, m), append(a.at, Position{})
		}
		a.rest = nil
	}
	return a
}

// graver orders faults: what may be stored first, then what a person must change, then the wider scope.
func graver(a, b Outcome) bool {
	rank := func(o Outcome) int {
		switch {
		case o.Kind == Unknown:
			return 10
		case o.Kind == Config:
			return 5 - int(o.Scope)
		}
		return -int(o.Scope)
	}
	return rank(a) > rank(b)
}

// alive records that the destination answered.
func (f *flow) alive(d *destination, l *lane, now time.Time) {
	f.closeBreaker(d, l, Outcome{Kind: Acked}, now)
	for _, p := range []struct {
		pause *pause
		scope Scope
	}{{&d.paused, ScopeDestination}, {d.topics[l.id.Topic], ScopeTopic}} {
		if p.pause != nil && p.pause.active() {
			*p.pause = pause{}
			d.pokeAll()
			if ev := f.opt.Events.Resumed; ev != nil {
				ev(d.Name, l.id, p.scope)
			}
		}
	}
}

// reject makes a message dead at once. Its key closes, unless its route lets keys go on.
func (f *flow) reject(l *lane, m *Message, o Outcome, took time.Duration) {
	attempts := 1
	if m.held != nil {
		attempts = m.held.Attempts
	}
	f.fail(l, m, o, attempts, Dead, took)
}

// fail holds a message with its failure, and what waits behind it in memory as blocked.
func (f *flow) fail(l *lane, m *Message, o Outcome, attempts int, state HeldState, took time.Duration) {
	failure := &Failure{Outcome: o.Kind, Class: o.Class, Code: o.Code, Text: o.Detail}
	h := Hold{State: state, Attempts: attempts, Destination: l.dest.Name, Failure: failure, Fingerprint: fingerprint(l.dest.Name, failure)}
	retry := &m.route.Retry
	if state == Retrying {
		h.Due, h.Delay = true, backoff(max(attempts-1, 0), retry.Initial, retry.Cap)
		if o.Kind == Unavailable && o.Alive && attempts == 0 {
			h.Delay = configPause // nothing passes: what is missing is looked for now and then
		}
	}
	if state == Dead && m.route.SkipDead {
		h.Passed = true
	}
	if attempts > 0 {
		f.out.attempts = append(f.out.attempts, Attempt{ID: m.ID, N: attempts, Instance: f.opt.Instance, Lane: l.id.String(), Failure: *failure, Took: took})
	}
	k, keyed := m.OrderKey()
	keyed = keyed && !m.passed()
	f.hold(m, h)
	if keyed && !h.Passed && !kp.Planted(kp.FailedToTail) {
		f.shut(k)
	}
}

// failed decides about the rest of a batch: again in place, later; the breaker; or out of the lane.
func (f *flow) failed(l *lane, a answered, took time.Duration, now time.Time) {
	d, o := l.dest, a.fault
	d.lastFault = o
	if o.Fenced {
		return // the session gives the outbox up
	}
	l.fails++
	l.fault = o
	pauseFor := max(o.After, backoff(l.fails-1, retryInitial, retryCap))
	alone := o.Kind == Unavailable && o.Scope == ScopeKey && o.Alive
	if alone {
		pauseFor = min(pauseFor, aloneFor/2) // others wait behind it
	}
	l.retryAt = now.Add(pauseFor)
	if kp.Planted(kp.ChargeOutage) {
		f.moveOut(l, o, true, took)
		return
	}
	switch {
	case o.Kind == Config:
		f.closeBreaker(d, l, o, now) // a broker that says what to change is not down
		f.pauseScope(l, o, now)
		return
	case alone, o.Kind == Unavailable && o.Class == ClassUnknownTopic:
		f.closeBreaker(d, l, o, now) // the broker answered: only this lane waits
	case o.Full, o.Kind == Unavailable && o.Scope == ScopeKey:
	case o.Alive && !d.breaker.open: // so here; but a broker that comes back answers like this too, before it takes anything
	default:
		f.countFault(l, o, now)
	}
	switch {
	case o.Kind == Unknown && (o.Earlier || o.Alive):
		l.unknowns = 0
		return
	case alone:
		f.returned(l, o, len(a.acked) > 0, took, now)
		return
	case o.Kind == Unknown:
		f.unknown(l, o, took, now)
		return
	}
	l.unknowns, l.firstUnknown = 0, time.Time{}
	if len(a.acked) > 0 && o.Scope >= ScopeLane {
		if l.lonely++; l.lonely >= lonelyTries {
			f.moveOut(l, o, true, took)
		}
	}
}

// closeBreaker lets the lanes try again when the breaker was open: lane l, which had the answer, at once, the others in turn.
func (f *flow) closeBreaker(d *destination, l *lane, by Outcome, now time.Time) {
	if !d.breaker.alive() {
		return
	}
	for _, other := range d.order {
		other.fails, other.retryAt = 0, time.Time{}
		other.poke()
	}
	d.ramp.begin(d.order, l, now)
	if ev := f.opt.Events.Breaker; ev != nil {
		ev(d.Name, false, by)
	}
}

func (f *flow) countFault(l *lane, o Outcome, now time.Time) {
	d := l.dest
	if d.breaker.open {
		if d.breaker.turn == l || d.breaker.turn == nil {
			f.passTurn(d, f.next(l), o.Alive, now)
		}
		return
	}
	if d.breaker.fail(l.id, o, d.active(), now) {
		if d.breaker.turn = f.next(l); d.breaker.turn != nil {
			d.breaker.turn.retryAt = d.breaker.probeAt
		}
		d.pokeAll()
		if ev := f.opt.Events.Breaker; ev != nil {
			ev(d.Name, true, o)
		}
	}
}

// next is the lane after l, in turn, that has something to send, one that did not fail before one that did; l itself when no other has.
func (f *flow) next(l *lane) (failed *lane) {
	d := l.dest
	at := slices.Index(d.order, l)
	for i := 1; i <= len(d.order); i++ {
		switch o := d.order[(at+i)%len(d.order)]; {
		case !o.hasHead() || f.ending(o):
		case o.fails == 0:
			return o
		case failed == nil:
			failed = o
		}
	}
	return failed
}

// passTurn gives the next probe to a lane.
func (f *flow) passTurn(d *destination, to *lane, living bool, now time.Time) {
	d.breaker.probeFailed(to, living, now)
	if to == nil {
		return
	}
	to.retryAt = d.breaker.probeAt
	to.poke()
}

func (f *flow) pauseScope(l *lane, o Outcome, now time.Time) {
	d, first := l.dest, false
	switch o.Scope {
	case ScopeDestination:
		first = d.paused.set(o, now)
	case ScopeTopic:
		p := d.topics[l.id.Topic]
		if p == nil {
			p = &pause{}
			d.topics[l.id.Topic] = p
		}
		first = p.set(o, now)
	default:
		first = l.fails == 1
		l.retryAt = now.Add(configPause)
	}
	if ev := f.opt.Events.Paused; ev != nil && first {
		ev(d.Name, l.id, o.Scope, o)
	}
}

// unknown decides whether a batch that may be stored goes again in place. It leaves the lane after unknownTries or unknownFor, but only while others are
// acked: a black hole answers everything with time-outs, and an outage must not spend an attempt. A destination whose only active lane this is has no
// others: there a healthy Check stands in for them, and no attempt is charged.
func (f *flow) unknown(l *lane, o Outcome, took time.Duration, now time.Time) {
	if l.unknowns++; l.unknowns == 1 {
		l.firstUnknown, l.acksThen, l.healthyAt = now, l.dest.acks, time.Time{}
	}
	others := l.dest.acks > l.acksThen
	switch {
	case others && (l.unknowns >= unknownTries || now.Sub(l.firstUnknown) >= unknownFor):
		f.moveOut(l, o, true, took)
	case !others && !l.healthyAt.IsZero() && now.Sub(l.healthyAt) >= unknownFor<<min(l.moves, 6):
		f.moveUncharged(l, o, took)
	}
}

// returned decides about a batch of which a living broker says that nobody takes it in. It is certainly not stored, so that others may go in its place: it
// leaves the lane at once when neighbours passed in the same answer or when one of it had failed before, else after a few tries in place. It is charged while
// others pass: for what had failed before, in the last configPause. Where nothing passes it is an outage, and a lane moves a batch after 5 s, 10 s, then every 20 s.
func (f *flow) returned(l *lane, o Outcome, neighbours bool, took time.Duration, now time.Time) {
	d := l.dest
	if l.unknowns++; l.unknowns == 1 {
		l.firstUnknown, l.acksThen = now, d.acks
	}
	others := neighbours || d.acks > l.acksThen
	again := slices.ContainsFunc(l.open, func(m *Message) bool { return m.held != nil && m.held.State == Retrying })
	switch {
	case again && now.Sub(d.ackedAt) < configPause, others && (neighbours || l.unknowns >= unknownTries):
		f.moveOut(l, o, true, took)
	case again, !others && now.Sub(l.firstUnknown) >= aloneFor<<min(l.moves, 2):
		f.moveUncharged(l, o, took)
	}
}

// moveUncharged moves the open batch out without an attempt; the lane remembers how often since its last ack.
func (f *flow) moveUncharged(l *lane, o Outcome, took time.Duration) {
	moves := l.moves + 1
	f.moveOut(l, o, false, took)
	l.moves = moves
}

// moveOut takes the open batch out of its lane into held: per key the lowest message is retrying, or dead when it has used up its attempts, the others of
// its key wait behind it.
func (f *flow) moveOut(l *lane, o Outcome, charge bool, took time.Duration) {
	rest := append([]*Message(nil), l.open...)
	clear(l.open)
	l.open = l.open[:0]
	moves := l.moves
	l.calm()
	l.moves = moves
	f.setAsideKept(l)
	for _, m := range rest {
		k, keyed := m.OrderKey()
		if c := f.keys.get(k); keyed && !m.passed() && c != nil && c.head != 0 && c.head != m.ID && !kp.Planted(kp.TwoHeads) {
			f.block(m)
			continue
		}
		attempts := 0
		if m.held != nil {
			attempts = m.held.Attempts - 1
		}
		state := Retrying
		if charge {
			attempts++
			retry := &m.route.Retry
			if attempts >= retry.MaxAttempts || m.held != nil && m.held.FailedFor >= retry.MaxAge {
				state = Dead
			}
		}
		f.fail(l, m, o, attempts, state, took)
	}
	if ev := f.opt.Events.Repeats; ev != nil && o.Kind == Unknown {
		ev(l.dest.Name, "unknown", len(rest))
	}
}
