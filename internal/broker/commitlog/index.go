package commitlog

import "slices"

// index finds entries by stream and index. It is pure; the log guards it.
type index struct{ streams map[uint16]*stream }

// stream is the part of a stream that the log holds: indexes from first on, without a gap.
type stream struct {
	first  uint64
	places []place
	terms  []termStart // ascending; the first one begins at or below first
	begun  bool        // nothing before first counts, wherever it may stand
}

type termStart struct{ index, term uint64 }

// place is a Position in 8 bytes: the segment, and the byte divided by 8.
type place uint64

func placeOf(p Position) place { return place(p.Segment<<32 | uint64(p.At/recordAlign)) }

func (p place) position() Position {
	return Position{Segment: uint64(p >> 32), At: int64(uint32(p)) * recordAlign}
}

// put takes note of a record. An entry voids those of its index and above, which a former leader wrote; one behind a gap, as after a snapshot, begins the stream
// anew. A repaired entry takes the place of the one it repairs and voids nothing. A first index voids everything before it.
func (x *index) put(r Record, p Position) {
	if r.Kind == KindFirstIndex {
		x.streams[r.Stream] = &stream{first: r.Index + 1, begun: true}
		return
	}
	if r.Kind != KindEntry && r.Kind != KindRepairedEntry {
		return
	}
	s := x.streams[r.Stream]
	if s == nil {
		s = &stream{first: r.Index}
		x.streams[r.Stream] = s
	}
	next := s.first + uint64(len(s.places))
	switch {
	case r.Kind == KindRepairedEntry:
		if r.Index >= s.first && r.Index < next {
			s.places[r.Index-s.first] = placeOf(p)
		}
		return
	case r.Index < s.first || r.Index > next:
		*s = stream{first: r.Index, begun: r.Index > next}
	default:
		s.places = s.places[:r.Index-s.first]
		s.terms = slices.DeleteFunc(s.terms, func(t termStart) bool { return t.index >= r.Index })
	}
	s.places = append(s.places, placeOf(p))
	if n := len(s.terms); n == 0 || s.terms[n-1].term != r.Term {
		s.terms = append(s.terms, termStart{r.Index, r.Term})
	}
}

// release forgets the oldest entries, those that stand in segments below one.
func (x *index) release(below uint64) {
	for _, s := range x.streams {
		n := 0
		for n < len(s.places) && s.places[n].position().Segment < below {
			n++
		}
		s.first += uint64(n)
		s.places = slices.Delete(s.places, 0, n)
		for len(s.terms) > 1 && s.terms[1].index <= s.first {
			s.terms = s.terms[1:]
		}
	}
}

// precede puts the entries of an older piece of the log before those of x. Where both hold an index, or an entry between them is missing, the older ones do not
// count.
func (x *index) precede(older *index) {
	for id, o := range older.streams {
		s := x.streams[id]
		switch {
		case s == nil:
			x.streams[id] = o
		case s.begun || o.first >= s.first || o.first+uint64(len(o.places)) < s.first:
		default:
			o.places = append(o.places[:s.first-o.first:s.first-o.first], s.places...)
			o.terms = slices.DeleteFunc(o.terms, func(t termStart) bool { return t.index >= s.first })
			if n := len(o.terms); n > 0 && len(s.terms) > 0 && o.terms[n-1].term == s.terms[0].term {
				s.terms = s.terms[1:]
			}
			o.terms = append(o.terms, s.terms...)
			x.streams[id] = o
		}
	}
}

// bounds are the first index that is held and the one after the last; equal when there is none.
func (x *index) bounds(id uint16) (first, next uint64) {
	if s := x.streams[id]; s != nil {
		return s.first, s.first + uint64(len(s.places))
	}
	return 0, 0
}

func (x *index) find(id uint16, i uint64) (p Position, term uint64, ok bool) {
	first, next := x.bounds(id)
	if i < first || i >= next {
		return Position{}, 0, false
	}
	s := x.streams[id]
	at, exact := slices.BinarySearchFunc(s.terms, i, func(t termStart, i uint64) int {
		switch {
		case t.index < i:
			return -1
		case t.index > i:
			return 1
		}
		return 0
	})
	if !exact {
		at--
	}
	return s.places[i-first].position(), s.terms[at].term, true
}
