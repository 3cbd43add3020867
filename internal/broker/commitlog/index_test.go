package commitlog

import (
	"maps"
	"slices"
	"testing"
)

// naive is the index as a list of everything that was ever put.
type naive struct {
	entries map[uint16]map[uint64]naiveEntry
}

type naiveEntry struct {
	p    Position
	term uint64
}

func (n *naive) put(r Record, p Position) {
	s := n.entries[r.Stream]
	if s == nil {
		s = map[uint64]naiveEntry{}
		n.entries[r.Stream] = s
	}
	old, held := s[r.Index]
	switch {
	case r.Kind == KindFirstIndex:
		clear(s)
	case r.Kind == KindRepairedEntry:
		if held {
			s[r.Index] = naiveEntry{p, old.term}
		}
	case r.Kind == KindEntry:
		_, before := s[r.Index-1]
		maps.DeleteFunc(s, func(i uint64, _ naiveEntry) bool { return i >= r.Index || !before && !held })
		s[r.Index] = naiveEntry{p, r.Term}
	}
}

func (n *naive) release(below uint64) {
	for _, s := range n.entries {
		for _, i := range slices.Sorted(maps.Keys(s)) {
			if s[i].p.Segment >= below {
				break
			}
			delete(s, i)
		}
	}
}

func TestIndex(t *testing.T) {
	for seed := range uint64(300) {
		rng := newRand(seed)
		x, n := index{streams: map[uint16]*stream{}}, naive{entries: map[uint16]map[uint64]naiveEntry{}}
		segment, at := uint64(1), int64(align)
		next, term := map[uint16]uint64{}, uint64(1)
		for range 200 {
			r := Record{Kind: KindEntry, Stream: uint16(rng.IntN(3)), Term: term}
			r.Index = next[r.Stream]
			switch rng.IntN(20) {
			case 0: // a new leader, which may write over the end
				term++
				r.Term, r.Index = term, r.Index-min(r.Index, uint64(rng.IntN(5)))
			case 1:
				r.Kind, r.Index = KindRepairedEntry, uint64(rng.IntN(int(next[r.Stream]+1)))
			case 2:
				r.Index += uint64(rng.IntN(3))
			case 3:
				r.Kind = KindHardState
			case 6:
				r.Kind, r.Index = KindFirstIndex, r.Index+uint64(rng.IntN(3))
			case 4:
				segment, at = segment+1, align
			case 5:
				below := segment - min(segment, uint64(rng.IntN(3)))
				x.release(below)
				n.release(below)
			}
			p := Position{Segment: segment, At: at}
			at += recordAlign * int64(1+rng.IntN(100))
			x.put(r, p)
			n.put(r, p)
			if r.Kind == KindEntry || r.Kind == KindFirstIndex {
				next[r.Stream] = r.Index + 1
			}
			for id := range uint16(3) {
				first, end := x.bounds(id)
				if int(end-first) != len(n.entries[id]) {
					t.Fatalf("seed %d: stream %d holds %d to %d, want %d entries", seed, id, first, end, len(n.entries[id]))
				}
				for i, want := range n.entries[id] {
					if p, term, ok := x.find(id, i); !ok || p != want.p || term != want.term {
						t.Fatalf("seed %d: stream %d index %d: %v term %d %v, want %+v", seed, id, i, p, term, ok, want)
					}
				}
				if _, _, ok := x.find(id, end); ok {
					t.Fatalf("seed %d: an entry behind the end", seed)
				}
			}
		}
	}
}
