package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

// two are a figure that is met and one that is not, both with three rounds.
func two() []Figure {
	return []Figure{
		{ID: "S1", What: "a / b", Unit: "rows/s", Floor: 0.2, Aim: 0.3, Over: []float64{30, 20, 50}, Under: []float64{100, 100, 100}, Foreign: []float64{0.01, 0.02, 0.5}},
		{ID: "L2", What: "latency", Unit: "ms", Floor: 6, Aim: 2.5, Less: true, Over: []float64{7, 8, 5}, Foreign: []float64{0.2, 0.3, 0.4}, Note: "a note"},
	}
}

func TestFigure(t *testing.T) {
	f := two()
	low, high := f[0].Spread()
	if f[0].Median() != 0.3 || low != 0.2 || high != 0.5 || !f[0].Met() || f[0].Disturbed() {
		t.Errorf("S1: median %v, spread %v to %v, met %v, disturbed %v", f[0].Median(), low, high, f[0].Met(), f[0].Disturbed())
	}
	if f[1].Median() != 7 || f[1].Met() || !f[1].Disturbed() {
		t.Errorf("L2: median %v, met %v, disturbed %v", f[1].Median(), f[1].Met(), f[1].Disturbed())
	}
}

func TestMedianAndQuantile(t *testing.T) {
	v := []float64{4, 1, 3, 2}
	if m := median(v); m != 2.5 || v[0] != 4 {
		t.Errorf("median %v of %v", m, v)
	}
	if !math.IsNaN(median(nil)) || !math.IsNaN(quantile(nil, 0.5)) {
		t.Error("nothing has a median")
	}
	if p50, p99, most := quantile(v, 0.5), quantile(v, 0.99), quantile(v, 1); p50 != 2 || p99 != 4 || most != 4 {
		t.Errorf("p50 %v, p99 %v, p100 %v", p50, p99, most)
	}
}

func TestReports(t *testing.T) {
	var table, lines, bench bytes.Buffer
	for _, err := range []error{WriteTable(&table, two()), WriteJSON(&lines, two()), WriteGo(&bench, two())} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, part := range []string{"0.300", "0.200 – 0.500", "≥ 0.200", "ok", "2 %", "7.00", "≤ 6.00", "MISSED", "30 % VOID", "a note"} {
		if !strings.Contains(table.String(), part) {
			t.Errorf("the table does not say %q:\n%s", part, table.String())
		}
	}
	var first jsonFigure
	if err := json.Unmarshal([]byte(strings.SplitN(lines.String(), "\n", 2)[0]), &first); err != nil {
		t.Fatal(err)
	}
	if first.Figure != "S1" || first.Value != 0.3 || !first.Met || first.Void || !slices.Equal(first.Values, []float64{0.3, 0.2, 0.5}) || *first.ForeignCPU != 0.02 {
		t.Errorf("JSON: %+v", first)
	}
	want := "BenchmarkS1/part=1 1 0.3 ratio 30 rows/s\nBenchmarkS1/part=1 1 0.2 ratio 20 rows/s\nBenchmarkS1/part=1 1 0.5 ratio 50 rows/s\n" +
		"BenchmarkL2/part=1 1 7 ms\nBenchmarkL2/part=1 1 8 ms\nBenchmarkL2/part=1 1 5 ms\n"
	if bench.String() != want {
		t.Errorf("Go format:\n%s", bench.String())
	}
}
