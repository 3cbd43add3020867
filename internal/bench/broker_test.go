package bench

import (
	"strings"
	"testing"
)

func TestBroker(t *testing.T) {
	o := testOptions(t)
	figures, err := Broker(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	wantFigures(t, figures, map[string]int{"B4": 2, "B6": 1, "B13": 2, "B17": 1, "B20": 1, "L1": 2})
}

func TestTallyNamesWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name   string
		lane   []int64
		acked  int64
		killed bool
		gone   int64
		says   string // empty = it is right
	}{
		{"all there", []int64{0, 1, 2}, 3, false, 0, ""},
		{"stored and not acked before a kill", []int64{0, 1, 2}, 2, true, 0, ""},
		{"stored and not acked", []int64{0, 1, 2}, 2, false, 0, "1 never acked"},
		{"the last is lost", []int64{0, 1}, 3, true, 0, "1 are lost"},
		{"one in the middle is lost", []int64{0, 2}, 3, true, 0, "1 are lost"},
		{"the first was given up", []int64{1, 2}, 3, false, 1, ""},
		{"more is missing than was given up", []int64{2}, 3, false, 1, "1 are lost"},
		{"what was given up is there", []int64{0, 1, 2}, 3, false, 1, "-1 are lost"},
		{"one is there twice", []int64{0, 1, 1}, 2, true, 0, "1 came twice"},
		{"two are swapped", []int64{0, 2, 1}, 3, true, 0, "1 are out of order"},
		{"a number that nobody sent", []int64{0, -5}, 1, true, 0, "1 were never sent"},
	} {
		y := newTally(1, true)
		y.gone[0] = c.gone
		for _, number := range c.lane {
			y.saw(0, number)
		}
		err := y.verdict([]int64{c.acked}, c.killed)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}
