package spool

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/relay"
)

// index is what the cache holds, and where. Pure; its user guards it.
type index struct {
	lanes       map[relay.CacheLane]*lane
	held        map[uint64]int // by segment: messages and acks that are still needed
	generations []uuid         // that entries name by their place here
	valid       history        // what frames must be of; nil = anything, for people who look at a folder
	messages    int            // of all lanes
	bytes       int64          // of all that is needed; an ack counts as ackBytes

	dropped int // records of another generation
	damaged int // messages that cannot be read
	unread  int // records of a good frame that are of no known kind, or not what they should be
}

func newIndex(valid history) *index {
	return &index{lanes: map[relay.CacheLane]*lane{}, held: map[uint64]int{}, valid: valid}
}

// history is the generations of an outbox, ascending by the first id of each.
type history []generation

type generation struct {
	from relay.ID
	uuid uuid
}

func newHistory(list []relay.Generation) (h history, err error) {
	for _, g := range list {
		u, err := parseUUID(g.UUID)
		if err != nil {
			return nil, err
		}
		h = append(h, generation{g.From, u})
	}
	if len(h) == 0 {
		return nil, fmt.Errorf("an outbox has one generation at least")
	}
	return h, nil
}

// of is the generation of an id.
func (h history) of(id relay.ID) (u uuid, ok bool) {
	for _, g := range h {
		if g.from <= id {
			u, ok = g.uuid, true
		}
	}
	return u, ok
}

func (h history) knows(u uuid) bool {
	return slices.ContainsFunc(h, func(g generation) bool { return g.uuid == u })
}

// counts says whether what was written for an id under a generation is of this history.
func (x *index) counts(id relay.ID, u uuid) bool {
	if x.valid == nil {
		return true
	}
	now, ok := x.valid.of(id)
	return ok && now == u
}

func (x *index) lane(name relay.CacheLane) *lane {
	l := x.lanes[name]
	if l == nil {
		l = &lane{}
		x.lanes[name] = l
	}
	return l
}

func (x *index) generation(u uuid) uint16 {
	i := slices.Index(x.generations, u)
	if i < 0 {
		i = len(x.generations)
		x.generations = append(x.generations, u)
	}
	return uint16(i)
}

// record takes note of a record that stands in the log.
func (x *index) record(p commitlog.Position, r *commitlog.Record) {
	switch r.Kind {
	case kindMessage:
		if m, err := readMessage(r); err != nil {
			x.unread++
		} else {
			x.put(&m, p, recordBytes(r))
		}
	case kindAck:
		if a, err := readAck(r); err != nil {
			x.unread++
		} else {
			x.acked(&a, p)
		}
	case kindForget:
		if lane, ids, err := readForget(r); err != nil {
			x.unread++
		} else {
			x.forget(lane, ids)
		}
	default:
		x.unread++
	}
}

// recordBytes is the room that a record takes in its frame.
func recordBytes(r *commitlog.Record) int { return 24 + (len(r.Body)+7)/8*8 }

func (x *index) put(m *message, p commitlog.Position, bytes int) {
	if !x.counts(m.ID, m.generation) {
		x.dropped++
		return
	}
	x.lane(m.lane).put(x, m.ID, x.generation(m.generation), placeOf(p), bytes)
}

func (x *index) acked(a *ack, p commitlog.Position) {
	if !x.counts(a.ID, a.generation) {
		x.dropped++
		return
	}
	x.lane(a.lane).acked(x, a.ID, x.generation(a.generation), placeOf(p))
	x.shrink(a.lane)
}

// forget returns the ids that were there.
func (x *index) forget(name relay.CacheLane, ids []relay.ID) (there []relay.ID) {
	l := x.lanes[name]
	if l == nil {
		return nil
	}
	for _, id := range ids {
		if l.forget(x, id) {
			there = append(there, id)
		}
	}
	x.shrink(name)
	return there
}

// has says whether the message or the ack of an id is there.
func (x *index) has(name relay.CacheLane, id relay.ID) bool {
	l := x.lanes[name]
	if l == nil || len(l.entries) == 0 || l.entries[len(l.entries)-1].id < id {
		return false
	}
	i, found := l.find(id)
	return found && !l.entries[i].empty()
}

// recheck drops what is not of a history, and rewinds all lanes.
func (x *index) recheck(h history) (dropped int) {
	x.valid = h
	for name, l := range x.lanes {
		for i := range l.entries {
			if e := &l.entries[i]; !e.empty() && !x.counts(e.id, x.generations[e.generation]) {
				l.clear(x, e)
				dropped++
			}
		}
		l.rewind()
		x.shrink(name)
	}
	x.dropped += dropped
	return dropped
}

// drop makes a lane leave the cache from an id on.
func (x *index) drop(name relay.CacheLane, from relay.ID) {
	if l := x.lanes[name]; l != nil {
		x.damaged += l.drop(x, from)
		x.shrink(name)
	}
}

// clear makes a lane leave the cache as a whole, acks stay, and returns the ids of its messages.
func (x *index) clear(name relay.CacheLane) (ids []relay.ID) {
	l := x.lanes[name]
	if l == nil {
		return nil
	}
	for _, e := range l.list(0, len(l.entries), func(e *entry) bool { return e.message != 0 }) {
		ids = append(ids, e.id)
	}
	l.drop(x, 0)
	x.shrink(name)
	return ids
}

func (x *index) shrink(name relay.CacheLane) {
	l := x.lanes[name]
	l.shrink()
	if len(l.entries) == 0 {
		delete(x.lanes, name)
	}
}

// release says that one thing less of a segment is needed.
func (x *index) release(segment uint64) {
	if x.held[segment]--; x.held[segment] == 0 {
		delete(x.held, segment)
	}
}

// oldest is the first segment of which something is needed.
func (x *index) oldest() uint64 {
	first := uint64(math.MaxUint64)
	for n := range x.held {
		first = min(first, n)
	}
	return first
}

// empty says whether nothing of a destination is left.
func (x *index) empty(destination string) bool {
	for name := range x.lanes {
		if name.Destination == destination {
			return false
		}
	}
	return true
}

// names are the lanes, by destination and lane.
func (x *index) names() []relay.CacheLane {
	list := make([]relay.CacheLane, 0, len(x.lanes))
	for name := range x.lanes {
		list = append(list, name)
	}
	slices.SortFunc(list, func(a, b relay.CacheLane) int {
		return cmp.Or(cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Lane.Topic, b.Lane.Topic), cmp.Compare(a.Lane.Index, b.Lane.Index))
	})
	return list
}

// destinations is the index for people.
func (x *index) destinations() (list []relay.CachedDestination) {
	for _, name := range x.names() {
		if n := len(list); n == 0 || list[n-1].Name != name.Destination {
			list = append(list, relay.CachedDestination{Name: name.Destination})
		}
		d, l := &list[len(list)-1], x.lanes[name]
		d.Messages += l.messages
		d.Bytes += l.bytes
		d.Acks += l.acks
		if low := l.list(0, 1, func(e *entry) bool { return e.message != 0 }); len(low) > 0 && (d.Oldest == 0 || low[0].id < d.Oldest) {
			d.Oldest = low[0].id
		}
	}
	return list
}
