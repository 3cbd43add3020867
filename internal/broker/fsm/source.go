package fsm

import (
	"errors"
	"slices"
)

// Why an append of a source is refused. Nothing of it is stored then.
var (
	// ErrFenced means that a newer owner of the source has spoken.
	ErrFenced = errors.New("a newer owner of this source has taken over")
	// ErrStale means that a request with this number, or a later one, was already applied: this is a late copy.
	ErrStale = errors.New("a late copy of a request that was already answered")
	// ErrRewound means that an id comes again with another content: the source's database went back in time.
	ErrRewound = errors.New("the database of this source went back in time: an id comes again with another content")
	// ErrWindowFull means that too much of this source waits to be settled in its database.
	ErrWindowFull = errors.New("too many messages of this source wait to be settled in its database")
	// ErrIDs means that the ids of a request do not fit its records.
	ErrIDs = errors.New("a request of a source needs an id and a checksum for each record, and no id twice")
)

// PartialError says which messages of a request are stored already, so that the source can send the rest. Nothing of the request was stored.
type PartialError struct {
	Offsets []int64 // by message of the request; -1 = not stored yet
}

func (e *PartialError) Error() string { return "some messages of the request are stored already" }

// SourceID is the uuid of one generation of an outbox.
type SourceID [16]byte

// Source is who appends, and what it knows of the past.
type Source struct {
	ID    SourceID
	Epoch uint64 // of the owner; a higher one fences all lower ones
	Seq   uint64 // of the request, counting up inside an epoch and partition
	// Floor is an offset: everything of this source that is stored below it is settled in its database and will not be sent again. -1 = no news.
	Floor int64
}

// maxWindow is how many messages of a source one partition remembers: about 2 MiB of state.
const maxWindow = 2 << 20 / 6

// Cursor is what one partition remembers of one source, so that nothing is stored twice.
//
// It never compares ids: held messages come later with lower ids, and transactions commit late, so "the id is below the last one" says nothing. What it rests on:
// an id that a source sends is unsettled; if it was stored before, it lies at or above the floor, hence in the window; what is not in the window is new.
type Cursor struct {
	epoch, seq uint64
	floor      int64
	highest    int64 // id, for people
	window     []windowBatch
	stored     map[int64]storedID
}

// windowBatch is a batch at or above the floor.
type windowBatch struct {
	base int64
	ids  []int64 // of base, base+1, …
}

type storedID struct {
	offset int64
	sum    uint32 // of message id, key and payload
}

func newCursor() *Cursor { return &Cursor{floor: -1, highest: -1, stored: map[int64]storedID{}} }

// begin admits a request: its epoch is not lower than that of any before, and its number is new in its epoch. From then on older ones are refused.
func (c *Cursor) begin(epoch, seq uint64) error {
	switch {
	case epoch < c.epoch:
		return ErrFenced
	case epoch > c.epoch:
		c.epoch, c.seq = epoch, 0
	}
	if seq <= c.seq {
		return ErrStale
	}
	c.seq = seq
	return nil
}

// check decides about the messages of an admitted request. offsets nil = none is stored, all are to be; else all are stored, at these offsets. The error is
// [ErrRewound], [ErrIDs], [ErrWindowFull] or a [*PartialError].
func (c *Cursor) check(ids []int64, sums []uint32) (offsets []int64, err error) {
	if len(ids) != len(sums) || repeated(ids) {
		return nil, ErrIDs
	}
	offsets, known := make([]int64, len(ids)), 0
	for i, id := range ids {
		offsets[i] = -1
		s, ok := c.stored[id]
		switch {
		case ok && s.sum != sums[i]:
			return nil, ErrRewound
		case ok:
			offsets[i] = s.offset
			known++
		}
	}
	switch {
	case known == len(ids):
		return offsets, nil
	case known > 0:
		return nil, &PartialError{Offsets: offsets}
	case len(c.stored)+len(ids) > maxWindow:
		return nil, ErrWindowFull
	}
	return nil, nil
}

func repeated(ids []int64) bool {
	if slices.IsSorted(ids) { // almost always
		for i := 1; i < len(ids); i++ {
			if ids[i] == ids[i-1] {
				return true
			}
		}
		return false
	}
	sorted := slices.Sorted(slices.Values(ids))
	return len(slices.Compact(sorted)) != len(ids)
}

// add takes note of messages that were stored at base and behind it.
func (c *Cursor) add(base int64, ids []int64, sums []uint32) {
	c.window = append(c.window, windowBatch{base, slices.Clone(ids)})
	for i, id := range ids {
		c.stored[id] = storedID{base + int64(i), sums[i]}
		c.highest = max(c.highest, id)
	}
}

// raise lifts the floor, at most to next, the partition's next offset, and forgets the batches that lie below it as a whole.
func (c *Cursor) raise(floor, next int64) {
	floor = min(floor, next)
	if floor <= c.floor {
		return
	}
	c.floor = floor
	n := 0
	for ; n < len(c.window); n++ {
		b := &c.window[n]
		if b.base+int64(len(b.ids)) > floor {
			break
		}
		for _, id := range b.ids {
			delete(c.stored, id)
		}
	}
	c.window = slices.Delete(c.window, 0, n)
}

// state is a copy for the source to look at, in the order of offsets.
func (c *Cursor) state() *CursorState {
	s := &CursorState{Epoch: c.epoch, Seq: c.seq, Floor: c.floor, Highest: c.highest}
	for _, b := range c.window {
		for i, id := range b.ids {
			s.Stored = append(s.Stored, StoredID{ID: id, Offset: b.base + int64(i), Sum: c.stored[id].sum})
		}
	}
	return s
}
