package spool

import (
	"cmp"
	"slices"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/relay"
)

// place is a commitlog.Position in 8 bytes; 0 = none, as segments count from 1.
type place uint64

func placeOf(p commitlog.Position) place { return place(p.Segment<<32 | uint64(p.At/8)) }

func (p place) segment() uint64 { return uint64(p >> 32) }

func (p place) position() commitlog.Position {
	return commitlog.Position{Segment: p.segment(), At: int64(uint32(p)) * 8}
}

// entry is what the cache holds of one id: its message, its ack, or its message until the ack has come.
type entry struct {
	id         relay.ID
	message    place // 0 = forgotten, or acked
	ack        place // 0 = none
	bytes      uint32
	generation uint16 // index into the list of the cache
	taken      bool   // handed out
}

// ackBytes is about what an ack takes in the log.
const ackBytes = 128

func (e *entry) empty() bool { return e.message == 0 && e.ack == 0 }

// lane is the entries of one lane, ascending by id. Empty ones are removed when they stand in front or have become many.
//
// Invariants: entries[:next] have no message that may be handed out; empties counts the empty entries; messages, bytes and acks those that are not.
type lane struct {
	entries  []entry
	next     int
	empties  int
	messages int
	bytes    int64
	acks     int
}

func (l *lane) find(id relay.ID) (at int, found bool) {
	return slices.BinarySearchFunc(l.entries, id, func(e entry, id relay.ID) int { return cmp.Compare(e.id, id) })
}

// at returns the entry of an id, which is made when there is none. The pointer is valid until the next call.
func (l *lane) at(id relay.ID) (e *entry, i int) {
	i, found := len(l.entries), false
	if i > 0 && l.entries[i-1].id >= id {
		i, found = l.find(id)
	}
	if !found {
		l.entries = slices.Insert(l.entries, i, entry{id: id})
		l.empties++
		if i < l.next {
			l.next++
		}
	}
	return &l.entries[i], i
}

// put and the other changes below are told to the index, which counts what each segment holds.

func (l *lane) put(x *index, id relay.ID, generation uint16, p place, bytes int) {
	e, i := l.at(id)
	if !e.empty() {
		if e.generation == generation {
			return // it is there already, or acked
		}
		l.clear(x, e) // of a history that is gone
	}
	l.empties--
	l.messages++
	x.messages++
	l.bytes += int64(bytes)
	x.bytes += int64(bytes)
	*e = entry{id: id, message: p, bytes: uint32(bytes), generation: generation}
	x.held[p.segment()]++
	l.next = min(l.next, i)
}

func (l *lane) acked(x *index, id relay.ID, generation uint16, p place) {
	e, _ := l.at(id)
	if e.ack != 0 && e.generation == generation {
		return
	}
	l.clear(x, e)
	l.empties--
	l.acks++
	x.bytes += ackBytes
	*e = entry{id: id, ack: p, generation: generation}
	x.held[p.segment()]++
}

func (l *lane) forget(x *index, id relay.ID) (there bool) {
	i, found := l.find(id)
	if there = found && !l.entries[i].empty(); there {
		l.clear(x, &l.entries[i])
	}
	return there
}

// clear makes an entry empty.
func (l *lane) clear(x *index, e *entry) {
	if e.message != 0 {
		x.release(e.message.segment())
		l.messages--
		x.messages--
		l.bytes -= int64(e.bytes)
		x.bytes -= int64(e.bytes)
	}
	if e.ack != 0 {
		x.release(e.ack.segment())
		l.acks--
		x.bytes -= ackBytes
	}
	if !e.empty() {
		l.empties++
	}
	e.message, e.ack, e.bytes, e.taken = 0, 0, 0, false
}

// take hands out the lowest messages that were not: at most n of at most bytes together, one at least.
func (l *lane) take(n int, bytes int) (list []entry) {
	for ; l.next < len(l.entries); l.next++ {
		e := &l.entries[l.next]
		if e.message == 0 || e.taken {
			continue
		}
		if len(list) > 0 && (len(list) >= n || int(e.bytes) > bytes) {
			break
		}
		e.taken = true
		bytes -= int(e.bytes)
		list = append(list, *e)
	}
	return list
}

func (l *lane) rewind() {
	for i := range l.entries {
		l.entries[i].taken = false
	}
	l.next = 0
}

// drop clears every message from an id on, acks stay, and says how many there were.
func (l *lane) drop(x *index, from relay.ID) (n int) {
	i, _ := l.find(from)
	for ; i < len(l.entries); i++ {
		if e := &l.entries[i]; e.message != 0 {
			l.clear(x, e)
			n++
		}
	}
	return n
}

// shrink removes empty entries from the front, and all of them when they are more than the others.
func (l *lane) shrink() {
	n := 0
	for n < len(l.entries) && l.entries[n].empty() {
		n++
	}
	l.entries = l.entries[n:]
	l.empties -= n
	l.next = max(0, l.next-n)
	if l.empties <= 64 || l.empties <= len(l.entries)/2 {
		return
	}
	kept := make([]entry, 0, len(l.entries)-l.empties)
	next := 0
	for i, e := range l.entries {
		if e.empty() {
			continue
		}
		if i < l.next {
			next++
		}
		kept = append(kept, e)
	}
	l.entries, l.next, l.empties = kept, next, 0
}

// list returns entries above an id for which match holds, at most limit.
func (l *lane) list(after relay.ID, limit int, match func(*entry) bool) (list []entry) {
	i, found := l.find(after)
	if found {
		i++
	}
	for ; i < len(l.entries) && len(list) < limit; i++ {
		if match(&l.entries[i]) {
			list = append(list, l.entries[i])
		}
	}
	return list
}
