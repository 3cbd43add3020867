package modelcheck

import (
	"errors"

	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// What a relay does. It is the owner as long as the database says so, and does not know when that ends.

// acquire makes relay k the owner. That is a synchronous commit: what was marked before is settled by it.
func (w *world) acquire(k int) {
	w.epoch++
	w.relays[k] = relay{epoch: w.epoch, floor: noFloor}
	w.flush()
}

// flush makes what is marked durable, and tells the owner.
func (w *world) flush() {
	for i := range w.rows {
		if w.rows[i] == marked {
			w.rows[i] = settled
		}
	}
	for k := range w.relays {
		for i := range w.rows {
			if o := &w.relays[k]; w.owns(k) && w.rows[i] == settled && o.at[i] > 0 {
				o.over[i] = true
			}
		}
	}
}

// opens fences the owners before, then asks what is stored.
func (w *world) opens(k int, r sourceRules) {
	o := &w.relays[k]
	var answer fsm.Result
	if !o.fenced {
		w.data, answer = fence(w.data, o.epoch)
		o.fenced = true
		if r.asksNothing {
			o.open = true
		}
		if answer.Err != nil {
			w.refuse(k)
		}
		return
	}
	o.open = true
	w.ask(k, r)
}

// ask learns what the broker remembers, and gets a number for it: no request with that number or a lower one is applied any more. So it asks until the number is
// above all of its own. What the database has not marked needs not be sent any more, and holds the floor.
func (w *world) ask(k int, r sourceRules) {
	o := &w.relays[k]
	var answer fsm.Result
	for answer.Cursor == nil || uint8(answer.Cursor.Seq) <= o.seq && !r.asksOnce {
		if w.data, answer = state(w.data, o.epoch); answer.Err != nil {
			w.refuse(k)
			return
		}
	}
	o.seq, o.asked, o.waits = uint8(answer.Cursor.Seq), batch{}, false
	for _, s := range answer.Cursor.Stored {
		if w.rows[s.ID-1] == pending {
			w.acknowledge(k, uint8(s.ID), s.Offset)
		}
	}
}

func (w *world) acknowledge(k int, id uint8, offset int64) {
	o := &w.relays[k]
	o.acked[id-1] = true
	if o.at[id-1] == 0 && offset >= int64(o.floor) {
		o.at[id-1] = int8(offset) + 1
	}
}

// refuse ends a relay that is told of a newer owner. There must be one.
func (w *world) refuse(k int) {
	if w.owns(k) {
		w.broken = refused
	}
	w.relays[k] = relay{}
}

// lift raises the floor over the known offsets that count as settled.
func (o *relay) lift(w *world, r sourceRules) {
	for {
		first := -1
		for i, at := range o.at {
			if at > 0 && (first < 0 || at < o.at[first]) {
				first = i
			}
		}
		if first < 0 || !o.over[first] && (!r.floorAcked || !o.acked[first]) && (!r.floorMarked || w.rows[first] != marked) {
			return
		}
		o.floor = max(o.floor, o.at[first])
		o.at[first], o.over[first] = 0, false
	}
}

// send puts a request of relay k on the wire, in the place of another one. A batch without an outcome goes again as it was, with a new number.
func (w *world) send(k int, b batch, place int, r sourceRules) {
	o := &w.relays[k]
	o.seq++
	o.lift(w, r)
	o.asked, o.waits = b, true
	w.wire[place] = order{o.epoch, o.seq, o.floor, b}
}

// batches are those that relay k may send now: one message, or all. Message 3 goes behind message 1.
func (w *world) batches(k int, r sourceRules) (list []batch) {
	o := &w.relays[k]
	if o.asked[0] != 0 {
		return []batch{o.asked}
	}
	var ready batch
	n := 0
	for i := range o.read {
		id := uint8(i) + 1
		behind := id == 3 && o.read[0] && !o.acked[0] && !r.overtakes
		if !o.read[i] || o.acked[i] || behind && !ready.has(1) {
			continue
		}
		ready[n] = id
		n++
		if !behind {
			list = append(list, batch{id})
		}
	}
	if n > 1 {
		list = append(list, ready)
	}
	return list
}

// arrive lets the broker apply a request. The answer may reach the relay that waits for it.
func (m *sourceModel) arrive(w *world, place int, answered bool) {
	o := w.wire[place]
	var result fsm.Result
	w.data, result = m.store(w.data, o)
	if result.Err == nil && !result.Repeat {
		w.note(o.batch)
	}
	for k := range w.relays {
		if p := &w.relays[k]; answered && p.awaits(o) {
			p.waits = false
			w.hear(k, result, m.sourceRules)
		}
	}
}

// awaits says whether the answer to a request is one that the relay waits for.
func (o *relay) awaits(sent order) bool {
	return o.waits && o.epoch == sent.epoch && o.seq == sent.seq && o.asked == sent.batch
}

func (w *world) awaited(sent order) bool { return w.relays[0].awaits(sent) || w.relays[1].awaits(sent) }

func (w *world) note(b batch) {
	at := 0
	for at < offsetRoom && w.log[at] != 0 {
		at++
	}
	for _, id := range b {
		if id != 0 && at < offsetRoom {
			w.log[at] = id
			at++
		}
	}
}

// hear is what an answer to its batch makes of a relay.
func (w *world) hear(k int, result fsm.Result, r sourceRules) {
	o := &w.relays[k]
	offsets, err := told(result)
	switch {
	case errors.Is(err, fsm.ErrFenced):
		w.refuse(k)
		return
	case errors.Is(err, fsm.ErrStale): // of a copy that came after another one: no outcome yet
		return
	case err != nil:
		w.broken = refused
		return
	}
	rest, n := batch{}, 0
	for i, offset := range offsets {
		id := o.asked[i]
		switch {
		case offset < 0:
			rest[n] = id
			n++
			continue
		case w.log[offset] != id && !r.idRange:
			w.broken = elsewhere
		}
		w.acknowledge(k, id, offset)
	}
	o.asked = rest
}
