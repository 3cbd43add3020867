package modelcheck

import (
	"cmp"
	"fmt"
	"slices"
)

var relayNames = [...]string{"relay 0", "relay 1"}

// next finds each step from w. A state in which something is broken has none.
func (m *sourceModel) next(w world, found func(step, world)) {
	if w.broken != none {
		return
	}
	try := func(who, what, detail string, act func(w *world)) {
		to := w
		act(&to)
		to.check()
		slices.SortFunc(to.wire[:], order.compare)
		found(step{who, what, detail}, to)
	}
	if w.rows[1] == uncommitted {
		try("message 2", "is committed", "", func(w *world) { w.rows[1] = pending })
	}
	if w.faults.databases < m.faults.databases {
		try("the database", "crashes and takes back what it had not flushed", "", func(w *world) { w.faults.databases++; w.crash() })
	}
	if w.faults.leaders < m.faults.leaders {
		try("the broker", "has a new leader", "", func(w *world) { w.faults.leaders++; w.lead(m.sourceRules) })
	}
	if slices.Contains(w.rows[:], marked) {
		try("the database", "flushes", "", func(w *world) { w.flush() })
	}
	for place, o := range w.wire {
		if o.epoch != 0 {
			try("the broker", "applies, and the answer is lost:", m.text(o), func(w *world) { m.arrive(w, place, false) })
			if w.awaited(o) {
				try("the broker", "applies and answers", m.text(o), func(w *world) { m.arrive(w, place, true) })
			}
		}
	}
	for k := range w.relays {
		m.relay(&w, k, try)
	}
}

// relay are the steps of relay k.
func (m *sourceModel) relay(w *world, k int, try func(who, what, detail string, act func(*world))) {
	o, who := &w.relays[k], relayNames[k]
	if !w.owns(k) && w.epoch < m.epochs {
		try(who, "becomes the owner", "", func(w *world) { w.acquire(k) })
	}
	if o.epoch == 0 {
		return
	}
	if !o.open {
		what := "asks what is stored"
		if !o.fenced {
			what = "fences the owners before it"
		}
		try(who, what, "", func(w *world) { w.opens(k, m.sourceRules) })
		return
	}
	if unread := w.unread(k); w.owns(k) && unread != o.read {
		try(who, "reads and claims what is pending", "", func(w *world) { w.relays[k].read = unread })
	}
	for i := range w.rows {
		if w.owns(k) && w.rows[i] == pending && o.acked[i] {
			try(who, "marks as sent message", messageNames[i], func(w *world) { w.rows[i] = marked })
		}
	}
	if o.asked[0] != 0 && o.seq < m.seqs {
		what := "asks what became of its batch, and may send another one first"
		if m.floorDoubt {
			what = "sets its batch aside"
		}
		try(who, what, "", func(w *world) {
			if m.floorDoubt {
				w.relays[k].asked, w.relays[k].waits = batch{}, false
			} else {
				w.ask(k, m.sourceRules)
			}
		})
	}
	if o.seq < m.seqs {
		for _, b := range w.batches(k, m.sourceRules) {
			for place := range w.wire {
				if place > 0 && w.wire[place] == w.wire[place-1] {
					continue
				}
				try(who, "sends", m.text(order{o.epoch, o.seq + 1, o.floor, b}), func(w *world) { w.send(k, b, place, m.sourceRules) })
			}
		}
	}
}

var messageNames = [messageCount]string{"1", "2", "3"}

func (w *world) unread(k int) (read [messageCount]bool) {
	read = w.relays[k].read
	for i, row := range w.rows {
		read[i] = read[i] || row == pending
	}
	return read
}

// crash takes back what the database had not flushed. Its owner reads everything again; what it knows of offsets stays.
func (w *world) crash() {
	for i := range w.rows {
		if w.rows[i] == marked {
			w.rows[i] = pending
		}
	}
	for k := range w.relays {
		o := &w.relays[k]
		for i := range w.rows {
			if w.owns(k) && w.rows[i] != settled {
				o.read[i], o.acked[i] = false, false
			}
		}
	}
}

// lead lets a new leader of the broker go on from a snapshot; no answer of the old one comes any more.
func (w *world) lead(r sourceRules) {
	if r.forgets {
		count := 0
		for _, id := range w.log {
			if id != 0 {
				count++
			}
		}
		w.data = withoutWindows(count, w.epoch)
	}
	for k := range w.relays {
		w.relays[k].waits = false
	}
}

// text is how a request is called in a trace; its floor is that of before it is lifted.
func (m *sourceModel) text(o order) string {
	text, ok := m.texts[o]
	if !ok {
		text = fmt.Sprintf("%v of epoch %d, seq %d", o.batch, o.epoch, o.seq)
		m.texts[o] = text
	}
	return text
}

// compare brings requests into some order, so that two that were sent in turn look like two that were sent the other way round.
func (o order) compare(p order) int {
	return cmp.Or(cmp.Compare(o.epoch, p.epoch), cmp.Compare(o.seq, p.seq), cmp.Compare(o.floor, p.floor), slices.Compare(o.batch[:], p.batch[:]))
}

// ends says whether a new owner can bring everything to its end, without another fault and with every request on the way lost.
func (m *sourceModel) ends(w world) bool {
	w.wire, w.relays, w.faults = [wireRoom]order{}, [2]relay{}, faults{}
	if known, ok := m.settles[w]; ok {
		return known
	}
	from := w
	if w.rows[1] == uncommitted {
		w.rows[1] = pending
	}
	w.acquire(0)
	for !w.relays[0].open && w.broken == none {
		w.opens(0, m.sourceRules)
	}
	for range 2 * messageCount {
		if w.broken != none { // the walk finds its own way there
			break
		}
		w.relays[0].read = w.unread(0)
		for _, b := range w.batches(0, m.sourceRules) {
			w.send(0, b, 0, m.sourceRules)
			m.arrive(&w, 0, true)
			break
		}
		for i := range w.rows {
			if w.rows[i] == pending && w.relays[0].acked[i] {
				w.rows[i] = marked
			}
		}
		w.check()
		w.flush()
	}
	m.settles[from] = w.broken != none || w.rows == [messageCount]row{settled, settled, settled}
	return m.settles[from]
}
