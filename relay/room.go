package relay

import "time"

// drop lets go the queue of a lane: it is behind from its lowest row on, and the catch-up reader brings the rest. Never the open batch, never what was
// taken from held, and nothing that would have to go before what the cache has. What the cache handed out it hands out again.
func (f *flow) drop(l *lane) {
	low := l.from
	let := func(m *Message) {
		if m.cachedIn != nil {
			l.spooled, l.rewind = true, true
			l.holds(m.ID)
		} else if low == 0 || m.ID < low {
			low = m.ID
		}
		f.leave(m, rowDropped)
	}
	before := l.spooled
	l.pull(func(m *Message) bool { return m.held == nil && (m.cachedIn != nil || !before) }, let)
	f.fallBehind(l, f.dropTail(l, low))
}

// dropTail lets go what waits behind the cache, and returns the lowest of its ids and of low; 0 = none.
func (f *flow) dropTail(l *lane, low ID) ID {
	for _, m := range l.tail {
		l.bytes -= m.Weight()
		if low == 0 || m.ID < low {
			low = m.ID
		}
		f.leave(m, rowDropped)
	}
	l.tail = nil
	return low
}

// fallBehind puts a lane behind from an id on.
func (f *flow) fallBehind(l *lane, low ID) {
	if low == l.from {
		return
	}
	was := l.from
	l.from = low
	f.catchGen++
	if l.dest.breaker.turn == l && !l.hasHead() {
		l.dest.pokeAll() // the turn to probe is another lane's
	}
	if was == 0 && f.opt.Events.Behind != nil {
		f.opt.Events.Behind(l.dest.Name, l.id, low, true)
	}
}

// full says that the reader is far enough ahead.
func (f *flow) full(now time.Time) bool {
	rows, bytes := f.ahead, f.aheadBytes
	for _, p := range f.unplaced {
		rows, bytes = rows+p.rows, bytes+p.bytes
	}
	if rows >= f.opt.Ahead || bytes >= f.opt.AheadBytes {
		r, b := f.stuck(now)
		rows, bytes = rows-min(r, f.opt.Ahead), bytes-min(b, f.opt.AheadBytes)
	}
	return rows >= f.opt.Ahead || bytes >= f.opt.AheadBytes || len(f.out.holds) > 2*f.opt.SettleMessages
}

// stuck is what lanes that cannot send have in their open batches, which can neither be dropped nor go into the cache: many lanes of one broker that is down
// would keep all the room, and every other destination would wait. So as much again is read beside them, once.
func (f *flow) stuck(now time.Time) (rows, bytes int) {
	for _, d := range f.dests {
		for _, l := range d.order {
			if l.sendable(now) {
				continue
			}
			for _, m := range l.open {
				if m.held == nil {
					rows, bytes = rows+1, bytes+m.Weight()
				}
			}
		}
	}
	return rows, bytes
}

// sendable says that nothing but its turn keeps a lane from sending.
func (l *lane) sendable(now time.Time) bool {
	return l.dest.sendable(now) && l.fails <= 1 && !l.dest.topicPaused(l.id.Topic, now)
}

// crowdedAfter is how long what was read may wait in the longest queue while another lane has nothing to send: that lane gets more than it can carry, and the
// rows of others stay unread because of it. Well above what a full look-ahead takes when all lanes move.
const crowdedAfter = time.Second

// relieve makes room for the reader: queues of lanes that cannot send go into the cache, or are dropped. When there are none, the longest queue is dropped if slow
// is set (nothing moved for a while), or if it keeps the room that others lack. spill says that something is to be put into the cache.
func (f *flow) relieve(slow bool, now time.Time) (spill bool) {
	var worst *lane
	before, idle := f.ahead, false
	for _, d := range f.dests {
		for _, l := range d.order {
			if !l.sendable(now) {
				if l.moving || f.spills(l, now) {
					spill = true
				} else {
					f.drop(l)
				}
				continue
			}
			if worst == nil || len(l.queue) > len(worst.queue) {
				worst = l
			}
			idle = idle || len(l.queue)+len(l.open) == 0
		}
	}
	if f.ahead == before && !spill && worst != nil && (slow || idle && worst.waits(now) >= crowdedAfter) {
		f.drop(worst)
	}
	return spill
}

// waits is how long the first of the queue has been there.
func (l *lane) waits(now time.Time) time.Duration {
	if len(l.queue) == 0 || l.queue[0].page == nil {
		return 0
	}
	return now.Sub(l.queue[0].page.at)
}
