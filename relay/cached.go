package relay

import (
	"cmp"
	"slices"
	"time"
)

// noRoomFor is how long nothing of a lane is put after the cache was full.
const noRoomFor = time.Second

// The degraded cache, decided on plain data. The order of a lane: open, queue, the cache, tail, then what the catch-up reader brings. While the cache has
// something of a lane, its queue has only what the cache handed out, what was taken from held, and what was in an open batch before; so a row that is put is
// behind all of it.

// errand is what somebody does at the cache for a lane, in the order of the fields, while the lane is moving.
type errand struct {
	lane   *lane
	forget []ID
	rewind bool
	put    []*Message // ascending
	next   bool
}

func (l *lane) cacheName() CacheLane { return CacheLane{l.dest.Name, l.id} }

// behindCache says that a row of the main flow which comes now has to wait for what the cache has.
func (l *lane) behindCache() bool { return l.spooled || l.moving || len(l.tail) > 0 }

// holds notes that the cache has a message of the lane which is not in memory.
func (l *lane) holds(id ID) {
	if l.lowest == 0 || id < l.lowest {
		l.lowest = id
	}
}

// inCache says whether the cache has a message that is still to be sent.
func (f *flow) inCache(l *lane, id ID) bool {
	return f.cache != nil && l.behindCache() && f.cache.Has(l.cacheName(), id) && !slices.Contains(l.forget, id) && !slices.Contains(l.going, id)
}

// spills says whether a lane has anything for the cache, and may put it there.
func (f *flow) spills(l *lane, now time.Time) bool {
	d := l.dest
	if f.cache == nil || f.closed || f.stopping || !d.opened || d.draining || !d.breaker.open || l.moving || l.from != 0 || now.Before(l.noRoom) {
		return false
	}
	return len(l.tail) > 0 || !l.spooled && slices.ContainsFunc(l.queue, (*Message).uncached)
}

// uncached says that a message of a queue is neither in the cache nor taken from held.
func (m *Message) uncached() bool { return m.held == nil && m.cachedIn == nil }

// spill begins an errand for each lane that has something for the cache.
func (f *flow) spill(now time.Time) (all []errand) {
	for _, d := range f.dests {
		for _, l := range d.order {
			if !f.spills(l, now) {
				continue
			}
			e := f.goes(l)
			if !l.spooled {
				l.pull((*Message).uncached, func(m *Message) { e.put = append(e.put, m) })
			}
			for _, m := range l.tail {
				l.bytes -= m.Weight()
			}
			e.put = append(e.put, l.tail...)
			l.tail = nil
			slices.SortFunc(e.put, func(a, b *Message) int { return cmp.Compare(a.ID, b.ID) })
			all = append(all, e)
		}
	}
	return all
}

// goes begins an errand with what waits for one.
func (f *flow) goes(l *lane) errand {
	e := errand{lane: l, forget: l.forget, rewind: l.rewind}
	l.moving, l.going, l.forget, l.rewind = true, l.forget, nil, false
	return e
}

// tidy begins an errand for a lane that has something to forget and nothing better to do.
func (f *flow) tidy(l *lane) (e errand, ok bool) {
	if f.cache == nil || l.dest.draining || l.moving || len(l.forget) == 0 && !l.rewind {
		return e, false
	}
	return f.goes(l), true
}

// returns ends an errand.
func (f *flow) returns(l *lane) {
	l.moving, l.going = false, nil
	l.poke()
	if l.dest.draining {
		l.dest.poke()
	}
}

// putDone takes the cache's answer: the first `stored` are there.
func (f *flow) putDone(e errand, stored int, err error, now time.Time) {
	l := e.lane
	for _, m := range e.put[:stored] {
		f.leave(m, rowDropped)
		l.holds(m.ID)
		l.spooled = true
	}
	if rest := e.put[stored:]; len(rest) > 0 {
		for _, m := range rest {
			l.bytes += m.Weight()
		}
		l.tail = append(slices.Clone(rest), l.tail...)
	}
	if l.dest.cacheFull = err != nil; err != nil {
		l.noRoom = now.Add(noRoomFor)
	}
	f.returns(l)
}

// nextDone takes what the cache handed out: it goes into the queue, unless it is in the engine's hands anyway.
func (f *flow) nextDone(e errand, got []*Message, now time.Time) {
	l := e.lane
	if len(got) == 0 {
		l.spooled, l.lowest = false, 0
		f.returns(l)
		if l.dest.breaker.open {
			l.dest.pokeAll() // the turn to probe is another lane's
		}
		return
	}
	rows := make([]Message, 0, len(got))
	for _, m := range got {
		if f.pages.find(m.ID) == nil {
			rows = append(rows, *m)
		}
	}
	if len(rows) > 0 {
		page := newLivePage(rows, now)
		f.pages.pages = append(f.pages.pages, page)
		for i := range page.msgs {
			m := &page.msgs[i]
			m.page, m.row, m.cachedIn = page, int32(i), l
			m.route = f.router.Find(m)
			f.enter(m)
			f.lineUp(l, m)
		}
	}
	f.returns(l)
}

// leaveCache lets a lane go on from the table from an id on, of which and of all behind it the cache has nothing any more.
func (f *flow) leaveCache(l *lane, from ID) {
	low := f.dropTail(l, l.from)
	if low == 0 || from < low {
		low = from
	}
	for _, m := range slices.Concat(l.open, l.queue) {
		if m.ID >= from {
			m.cachedIn = nil
		}
	}
	f.fallBehind(l, low)
}

// untail lets the rows behind an empty cache go on.
func (f *flow) untail(l *lane) {
	tail := l.tail
	l.tail = nil
	for _, m := range tail {
		l.bytes -= m.Weight()
		f.lineUp(l, m)
	}
}

// uncache ends the use of the cache for a lane whose messages were all dropped from it, the lowest of which is given; 0 = there were none.
func (f *flow) uncache(l *lane, lowest ID) {
	for _, m := range slices.Concat(l.open, l.queue) {
		m.cachedIn = nil
	}
	l.spooled, l.lowest, l.rewind, l.forget = false, 0, false, nil
	if lowest != 0 {
		f.leaveCache(l, lowest)
	}
}

// degraded says whether any destination is down while there is a cache.
func (f *flow) degraded() bool {
	return f.cache != nil && slices.ContainsFunc(f.dests, func(d *destination) bool { return d.breaker.open })
}
