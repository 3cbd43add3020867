package modelcheck

import (
	"flag"
	"strconv"
	"testing"
)

var wide = flag.Bool("modelcheck.wide", false, "visit larger models too, for some minutes")

// mostStates ends a walk that a change has made too long.
const mostStates = 20_000_000

// jugs is the riddle of two jugs of 3 and 5 litres: 4 litres must not be measured, and can be in 6 steps.
func jugs(forbidden int) system[[2]int] {
	return system[[2]int]{
		starts: [][2]int{{0, 0}},
		next: func(s [2]int, found func(step, [2]int)) {
			found(step{"fill", "3"}, [2]int{3, s[1]})
			found(step{"fill", "5"}, [2]int{s[0], 5})
			found(step{"empty", "3"}, [2]int{0, s[1]})
			found(step{"empty", "5"}, [2]int{s[0], 0})
			over := min(s[0], 5-s[1])
			found(step{"3", "into", "5"}, [2]int{s[0] - over, s[1] + over})
			over = min(s[1], 3-s[0])
			found(step{"5", "into", "3"}, [2]int{s[0] + over, s[1] - over})
		},
		broken: func(s [2]int) string {
			if s[1] == forbidden {
				return strconv.Itoa(forbidden) + " litres"
			}
			return ""
		},
	}
}

func TestExploreFindsTheShortestWay(t *testing.T) {
	e := explore(jugs(4), mostStates)
	want := "  1  fill 5\n  2  5 into 3\n  3  empty 3\n  4  5 into 3\n  5  fill 5\n  6  5 into 3\n"
	if e.broken != "4 litres" || e.whole || e.lines() != want {
		t.Errorf("%q, %v:\n%s", e.broken, e, e.lines())
	}
}

func TestExploreVisitsEverything(t *testing.T) {
	e := explore(jugs(6), mostStates)
	if e.broken != "" || !e.whole || e.states != 16 || e.steps != 16*6 || e.depth != 7 {
		t.Errorf("%q, %v", e.broken, e)
	}
}

func TestExploreSaysThatItStopped(t *testing.T) {
	if e := explore(jugs(6), 5); e.broken != "" || e.whole || e.states <= 5 || e.states == 16 {
		t.Errorf("%q, %v", e.broken, e)
	}
}
