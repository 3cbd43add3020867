package bench

import (
	"maps"
	"testing"
)

func TestStore(t *testing.T) {
	figures, err := Store(t.Context(), testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	wantFigures(t, figures, map[string]int{"S1": 1, "S2": 1, "S3": 1, "S4": 2, "S5": 1, "S9": 1, "C1": 1, "C2": 1, "S16": 1, "S17": 1, "S18": 1, "E4": 1})
}

// wantFigures checks that each figure is there as often as it should be, with one round and a value.
func wantFigures(t *testing.T, figures []Figure, want map[string]int) {
	t.Helper()
	have := map[string]int{}
	for i := range figures {
		f := &figures[i]
		have[f.ID]++
		if v := f.Median(); !(v > 0) || len(f.Values()) != 1 {
			t.Errorf("%s: %v", f.ID, f.Values())
		}
	}
	if !maps.Equal(have, want) {
		t.Errorf("figures %v, want %v", have, want)
	}
}
