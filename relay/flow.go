package relay

import (
	"fmt"
	"slices"
	"time"
)

// flow is the engine's decisions on plain data: where a claimed row goes, what a lane may send next, what an answer does to a message. No I/O, no clock, no
// goroutine; the session's lock guards it, and no lock is held across a call to a port.
//
// Invariants: a message is in one place (a queue, an open batch, the outbox of the settler, or none); per lane and key the order of sending is the order
// of the ids; a message of a closed key is never queued behind its head.
type flow struct {
	opt    *Options
	router *Router
	byName map[string]*destination
	dests  []*destination
	pages  livePages
	keys   keyset
	out    *group
	cache  Cache // nil = none
	closed bool  // the cache takes nothing any more

	ahead      int // rows placed and not yet acked or settled as held
	aheadBytes int
	noRoute    ID             // lowest id that no route matched; 0 = none. Read again after a restart with other routes
	claimedTo  ID             // ids up to here may already lie at brokers (take-over)
	repeats    map[string]int // of those, by destination, not reported yet
	catch      catchUp

	unread     bool       // the main reader has not read since the last reset
	mainAfter  ID         // After of the newest main page that was placed
	catchGen   uint64     // grows when what a catch-up read has listed may be incomplete
	firstHole  ID         // of the newest main read
	unplaced   []unplaced // main pages read and not placed yet
	holes      int
	oldestHole time.Time

	lane     func(*lane) // starts the goroutine of a new lane
	stopping bool
}

// unplaced is a main page on its way from the reader to the lanes.
type unplaced struct {
	lowest ID
	listed int64
	rows   int
	bytes  int
}

func newUnplaced(p *Page) unplaced {
	u := unplaced{lowest: p.Messages[0].ID, listed: p.Listed, rows: len(p.Messages)}
	for i := range p.Messages {
		u.bytes += p.Messages[i].Weight()
	}
	return u
}

// placeMain puts the rows of a claimed main page into lanes.
func (f *flow) placeMain(p *Page, now time.Time) {
	page := newLivePage(p.Messages, now)
	known := f.known(page)
	f.pages.pages = append(f.pages.pages, page)
	for i := range p.Messages {
		m := &p.Messages[i]
		m.page, m.row = page, int32(i)
		if known != nil && known[i] {
			continue
		}
		late := m.ID <= f.mainAfter
		l := f.laneOf(m, late)
		if l == nil {
			continue
		}
		if l.from != 0 {
			// The catch-up reader brings it. What it has listed already may be older than this row.
			if late {
				f.catchGen++
			}
			if m.ID < l.from {
				l.from = m.ID
			}
			continue
		}
		if f.inCache(l, m.ID) {
			continue
		}
		if m.ID <= f.claimedTo {
			f.repeats[l.dest.Name]++
		}
		f.admit(l, m)
	}
	if page.left == 0 {
		page.ended = f.pages.reads
	}
	f.mainAfter = max(f.mainAfter, p.After)
	f.pokeReady()
}

// known says which rows of a page the engine has already, nil when none: after a reset, rows in lanes come again.
func (f *flow) known(page *livePage) []bool {
	if page.lo > f.pages.highest() {
		return nil
	}
	known := make([]bool, len(page.msgs))
	for i := range page.msgs {
		known[i] = f.pages.find(page.msgs[i].ID) != nil
	}
	return known
}

// laneOf finds the lane of a message, or nil when it goes elsewhere: scheduled messages to held, messages without a route or without an open destination
// nowhere, to be read again.
func (f *flow) laneOf(m *Message, late bool) *lane {
	route := f.router.Find(m)
	if route == nil {
		if f.noRoute == 0 || m.ID < f.noRoute {
			f.noRoute = m.ID
		}
		return nil
	}
	m.route = route
	d := f.byName[route.Destination]
	if !m.DeliverAfter.IsZero() && m.held == nil {
		// The database decides when it is due, not this process's clock.
		f.enter(m)
		f.hold(m, Hold{State: Scheduled, Due: true, Destination: d.Name})
		return nil
	}
	if !d.opened {
		if d.from == 0 || m.ID < d.from {
			d.from = m.ID
		}
		if late {
			f.catchGen++
		}
		return nil
	}
	return f.laneFor(d, d.pub.Lane(m))
}

func (f *flow) laneFor(d *destination, id Lane) *lane {
	l := d.lanes[id]
	if l == nil {
		l = &lane{id: id, dest: d, wake: make(chan struct{}, 1), barred: d.ramp.on, from: d.from}
		d.lanes[id] = l
		d.order = append(d.order, l)
		f.lane(l)
	}
	return l
}

// admit takes a message in: behind the cache of its lane, or into the queue.
func (f *flow) admit(l *lane, m *Message) {
	f.enter(m)
	if m.held == nil && l.behindCache() {
		l.tail = append(l.tail, m)
		l.bytes += m.Weight()
		return
	}
	f.lineUp(l, m)
}

// lineUp queues a message in its lane, or settles it as blocked when its key is closed.
func (f *flow) lineUp(l *lane, m *Message) {
	if k, keyed := m.OrderKey(); keyed && !m.passed() {
		if c := f.keys.get(k); c != nil && !m.mayGo(c) && !(m.held == nil && slices.Contains(l.kept, k)) {
			f.block(m)
			return
		}
	}
	l.push(m)
}

// enter counts a message into the look-ahead, leave out of it.
func (f *flow) enter(m *Message) {
	f.pages.set(m, rowQueued)
	f.ahead++
	f.aheadBytes += m.Weight()
}

func (f *flow) leave(m *Message, to rowState) {
	f.ahead--
	f.aheadBytes -= m.Weight()
	if m.state != rowQueued || f.ahead < 0 {
		panic(fmt.Sprintf("relay: message %d left the look-ahead twice", m.ID))
	}
	f.pages.set(m, to)
	if l := m.cachedIn; l != nil {
		if m.cachedIn = nil; to == rowResolved {
			l.forget = append(l.forget, m.ID)
		}
	}
}

// passed says that the message is outside the order of its key: a replay, or one whose key a person let go on.
func (m *Message) passed() bool { return m.held != nil && m.held.Passed }

// pokeReady wakes every lane that has something to send and sends nothing.
func (f *flow) pokeReady() {
	for _, d := range f.dests {
		for _, l := range d.order {
			if !l.busy && !l.moving && l.hasHead() {
				l.poke()
			}
		}
	}
}

// placeHeld puts messages taken from held into lanes. Their closed keys are known by now.
func (f *flow) placeHeld(taken []HeldMessage) {
	for i := range taken {
		h := &taken[i]
		m := &h.Message
		m.held = &heldPlace{HeldMessage: HeldMessage{State: h.State, Attempts: h.Attempts, FailedFor: h.FailedFor, Destination: h.Destination, Passed: h.Passed}}
		if k, keyed := m.OrderKey(); keyed && !h.Passed {
			c := f.keys.get(k)
			was := c
			switch {
			case h.State == Retrying:
				c = f.keys.close(k, m.ID)
			case h.State == Blocked && c == nil:
				c = f.keys.close(k, 0)
			}
			if was == nil && c != nil {
				f.shut(k)
			}
			if c != nil {
				c.flying++
				m.held.counted = true
				f.keys.touch(c)
			}
		}
		l := f.laneOf(m, false)
		if l == nil || l.dest.stopped != nil {
			f.giveBack(m)
			continue
		}
		f.admit(l, m)
	}
	f.pokeReady()
}

// giveBack returns a taken message untried: it has no route now, or its destination closed meanwhile.
func (f *flow) giveBack(m *Message) {
	f.enter(m)
	f.putBack(m)
}

// putBack is giveBack for a message that is queued.
func (f *flow) putBack(m *Message) {
	if m.held.State == Blocked {
		f.block(m) // its key is asked for again
		return
	}
	f.hold(m, Hold{State: m.held.State, Due: true, Delay: configPause, Attempts: m.held.Attempts - 1, Destination: m.held.Destination})
}

// take is what a lane may send now: its open batch, or a new one; or it has to be refilled from the cache first. Without either, wait says how long not to
// ask again; negative = until woken.
func (f *flow) take(l *lane, trusted bool, now time.Time) (batch []*Message, refill bool, wait time.Duration) {
	d := l.dest
	if l.busy {
		panic("relay: two batches at once in lane " + l.id.String())
	}
	if !trusted || !d.opened || !l.hasHead() {
		return nil, false, -1
	}
	switch {
	case f.ending(l):
		return nil, false, -1
	case len(l.open) == 0 && (l.unsettled >= f.opt.SettleBatches*d.Capabilities.MaxBatch || f.out.size() >= mostUnsettled):
		return nil, false, -1
	}
	ready := now
	for _, t := range []time.Time{l.retryAt, d.quietTo, d.paused.until} {
		if t.After(ready) {
			ready = t
		}
	}
	if p := d.topics[l.id.Topic]; p != nil && p.until.After(ready) {
		ready = p.until
	}
	if ready.After(now) {
		return nil, false, ready.Sub(now)
	}
	if len(l.open) == 0 && len(l.queue) == 0 {
		switch {
		case l.moving:
			return nil, false, -1
		case !l.spooled:
			if f.untail(l); len(l.queue) == 0 {
				return nil, false, -1
			}
		}
	}
	if d.breaker.open {
		if t := d.breaker.turn; t != nil && f.ending(t) {
			d.breaker.turn = nil
		}
		if ok, wait := d.breaker.probe(l, now); !ok {
			return nil, false, wait
		}
	} else if wait := d.ramp.wait(l, now); wait > 0 && !f.stopping && !d.draining {
		return nil, false, wait
	}
	if len(l.open) == 0 && len(l.queue) == 0 {
		d.breaker.probing = false
		return nil, true, 0
	}
	if len(l.open) == 0 {
		l.fill(d.Capabilities.MaxBatch, d.Capabilities.MaxBytes, d.Capabilities.Atomic)
	}
	l.busy = true
	return l.open, false, 0
}

// ending says that a lane sends no more: a person stopped its destination; or the relay stops or the destination gets other lanes, and then what may be stored is
// still asked for again.
func (f *flow) ending(l *lane) bool {
	return l.dest.stopped != nil || (f.stopping || l.dest.draining) && !(len(l.open) > 0 && l.maybe)
}

// lowWater is the id up to which nothing is unsettled or unseen. For people and retention, never a cursor.
func (f *flow) lowWater() ID {
	low := f.mainAfter + 1
	lower := func(id ID) {
		if id != 0 && id < low {
			low = id
		}
	}
	lower(f.firstHole)
	lower(f.noRoute)
	lower(f.pages.lowest())
	for _, p := range f.unplaced {
		lower(p.lowest)
	}
	for _, d := range f.dests {
		lower(d.lowest())
		for _, l := range d.order {
			lower(l.lowest)
		}
	}
	return low - 1
}

// reset begins to read from 0: what is in lanes or in the cache was claimed and stays, everything else comes again. So do rows that were settled, if a crash of
// the database took the settlement back: every list of ids from now on is younger than it. Lanes that are behind stay so: were they live, and got other lanes
// before the main reader is back at what they lack, the new ones would begin above it.
func (f *flow) reset() {
	f.pages.forgetSettled()
	f.unread, f.mainAfter, f.firstHole, f.noRoute = true, 0, 0, 0
	f.unplaced = f.unplaced[:0]
	f.catchGen++
	f.catch = catchUp{gen: f.catchGen, fresh: true}
}
