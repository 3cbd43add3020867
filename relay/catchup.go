package relay

import "time"

// catchUp is the reader of the lanes that are behind: it brings their rows again, in id order, up to the main reader's position. One page of it is on its
// way at a time.
type catchUp struct {
	busy   bool
	after  ID // the next page begins behind it
	listed int64
	gen    uint64 // of flow.catchGen when its ids were asked for: a row that came since may be missing among them
	fresh  bool   // the next read begins a new list
}

// catchUpFrom says where a catch-up read should begin now, if any lane that is behind can be fed.
func (f *flow) catchUpFrom(now time.Time) (after ID, restart, ok bool) {
	if f.catch.busy || f.unread { // the main reader revives the outbox, and knows how far it is
		return 0, false, false
	}
	low := ID(0)
	lower := func(from ID) {
		if from != 0 && (low == 0 || from < low) {
			low = from
		}
	}
	for _, d := range f.dests {
		if d.sendable(now) {
			lower(d.from)
		}
		for _, l := range d.order {
			if l.from != 0 && l.room(hungry, now) {
				lower(l.from)
			}
		}
	}
	if low == 0 {
		return 0, false, false
	}
	if f.catch.gen != f.catchGen || f.catch.after != low-1 || f.catch.fresh {
		f.catch.gen, f.catch.after, f.catch.listed, f.catch.fresh = f.catchGen, low-1, f.pages.reads+1, false
		restart = true
	}
	f.catch.busy = true
	return low - 1, restart, true
}

// placeCatchUp hands the rows of a claimed catch-up page to the lanes that are behind and have room. A lane whose position lies before the page missed
// something, one without room keeps its position; both are fed by a later read.
func (f *flow) placeCatchUp(p *Page, start ID, gen uint64, now time.Time) {
	f.catch.busy = false
	if gen != f.catchGen {
		f.catch.fresh = true
		return
	}
	missed := map[*lane]bool{}
	from := make(map[*destination]ID, len(f.dests))
	for _, d := range f.dests {
		from[d] = d.from
	}
	if len(p.Messages) > 0 {
		page := newLivePage(p.Messages, now)
		known := f.known(page)
		f.pages.pages = append(f.pages.pages, page)
		for i := range p.Messages {
			m := &p.Messages[i]
			m.page, m.row = page, int32(i)
			if known != nil && known[i] {
				continue
			}
			l := f.laneOf(m, false)
			if l == nil || l.from == 0 || missed[l] || m.ID < l.from || f.inCache(l, m.ID) {
				continue
			}
			if l.from <= start || !l.room(fed, now) {
				missed[l] = true
				continue
			}
			l.from = m.ID + 1
			f.admit(l, m)
		}
		if page.left == 0 {
			page.ended = f.pages.reads
		}
	}
	f.catch.after, f.catch.listed = p.After, p.Listed
	f.catch.fresh = !p.More
	met := !p.More && p.After >= f.mainAfter
	for _, d := range f.dests {
		if d.from != 0 && d.from == from[d] && d.from > start && d.opened {
			if d.from = max(d.from, p.After+1); met {
				d.from = 0
			}
		}
		for _, l := range d.order {
			if l.from <= start || missed[l] { // 0 = live
				continue
			}
			if l.from = max(l.from, p.After+1); met {
				l.from = 0
				if ev := f.opt.Events.Behind; ev != nil {
					ev(d.Name, l.id, 0, false)
				}
			}
		}
	}
	f.pokeReady()
}

// purge forgets what no list of ids can contain any more. listed is that of the newest main page that was placed, or that was empty.
func (f *flow) purge(listed int64) {
	if len(f.unplaced) > 0 {
		listed = min(listed, f.unplaced[0].listed)
	}
	if f.catch.busy || !f.catch.fresh && f.catch.listed > 0 {
		listed = min(listed, f.catch.listed)
	}
	f.pages.purge(listed)
}

// skip says for the catch-up reader that an id needs no reading: the engine has it.
func (f *flow) skip(id ID) bool { return f.pages.find(id) != nil }

// behind says whether any lane waits for the catch-up reader.
func (f *flow) behind() bool {
	for _, d := range f.dests {
		if d.from != 0 {
			return true
		}
		for _, l := range d.order {
			if l.from != 0 {
				return true
			}
		}
	}
	return false
}
