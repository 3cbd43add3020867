package modelcheck

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
)

// system is a set of states with the steps between them. next calls found for each step that is possible in s. broken names the invariant that s breaks, "" = none.
// All three are pure.
type system[S comparable] struct {
	starts []S
	next   func(s S, found func(step, S))
	broken func(s S) string
}

// step is what happened between two states: who, the act, and to whom. An empty part is left out.
type step [3]string

func (s step) String() string {
	return strings.Join(slices.DeleteFunc(s[:], func(part string) bool { return part == "" }), " ")
}

// explored is what a walk has seen.
type explored struct {
	states, steps, depth int
	whole                bool   // every state within the bounds was visited
	broken               string // invariant, "" = none
	trace                []step // a shortest way from a start to the state that breaks it
}

func (e explored) String() string {
	all := "all"
	if !e.whole {
		all = "the first"
	}
	return fmt.Sprintf("%s %d states, %d steps, at most %d deep", all, e.states, e.steps, e.depth)
}

// lines is the trace as text.
func (e explored) lines() string {
	var b strings.Builder
	for i, s := range e.trace {
		fmt.Fprintf(&b, "%3d  %s\n", i+1, s)
	}
	return b.String()
}

// explore walks all states, breadth first, until one breaks an invariant or limit states were seen. A state is remembered by 64 bits of its hash: among n
// states two share them with a probability of n²/2⁶⁵, one in ten million for two million.
func explore[S comparable](sys system[S], limit int) explored {
	w := walk[S]{system: sys, seed: maphash.MakeSeed(), came: map[uint64]uint64{}}
	var level []S
	for _, s := range sys.starts {
		h := w.hash(s)
		if _, seen := w.came[h]; !seen {
			w.came[h] = h
			level = append(level, s)
		}
	}
	e := explored{whole: true}
	for len(level) > 0 {
		var further []S
		for _, s := range level {
			if e.broken = sys.broken(s); e.broken != "" {
				e.whole, e.states, e.trace = false, len(w.came), w.trace(w.hash(s))
				return e
			}
			from := w.hash(s)
			sys.next(s, func(_ step, to S) {
				e.steps++
				h := w.hash(to)
				if _, seen := w.came[h]; !seen {
					w.came[h] = from
					further = append(further, to)
				}
			})
		}
		if e.states = len(w.came); e.states > limit {
			e.whole = false
			return e
		}
		if level = further; len(level) > 0 {
			e.depth++
		}
	}
	return e
}

type walk[S comparable] struct {
	system[S]
	seed maphash.Seed
	came map[uint64]uint64 // by the hash of a state: that of the state before it; a start comes from itself
}

func (w *walk[S]) hash(s S) uint64 { return maphash.Comparable(w.seed, s) }

// trace walks again from the start along the hashes.
func (w *walk[S]) trace(to uint64) (steps []step) {
	way := []uint64{to}
	for w.came[to] != to {
		to = w.came[to]
		way = append(way, to)
	}
	slices.Reverse(way)
	at := w.starts[slices.IndexFunc(w.starts, func(s S) bool { return w.hash(s) == way[0] })]
	for _, h := range way[1:] {
		var by step
		var on S
		w.next(at, func(st step, s S) {
			if w.hash(s) == h {
				by, on = st, s
			}
		})
		steps, at = append(steps, by), on
	}
	return steps
}
