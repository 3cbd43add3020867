package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// WriteTable prints figures for a person.
func WriteTable(w io.Writer, figures []Figure) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FIGURE\tWHAT\tMEDIAN\tSPREAD\tFLOOR\tAIM\t\tMEASURED\tFOREIGN CPU\tNOTE")
	for i := range figures {
		f := &figures[i]
		low, high := f.Spread()
		fmt.Fprintf(t, "%s\t%s\t%s\t%s – %s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.ID, f.What, number(f.Median()), number(low), number(high), f.bound(f.Floor), f.bound(f.Aim),
			f.word(), f.sides(), f.share(), f.Note)
	}
	return t.Flush()
}

func (f *Figure) bound(v float64) string {
	if v == 0 {
		return "-"
	}
	return map[bool]string{false: "≥ ", true: "≤ "}[f.Less] + number(v)
}

func (f *Figure) word() string {
	if f.Met() {
		return "ok"
	}
	return "MISSED"
}

func (f *Figure) sides() string {
	if f.Under == nil {
		return f.Unit
	}
	return number(median(f.Over)) + " / " + number(median(f.Under)) + " " + f.Unit
}

func (f *Figure) share() string {
	share := median(f.Foreign)
	switch {
	case math.IsNaN(share):
		return "?"
	case f.Disturbed():
		return fmt.Sprintf("%.0f %% VOID", 100*share)
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

// number with three digits that count.
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a >= 10_000:
		return fmt.Sprintf("%.0f k", v/1000)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

// jsonFigure is one line of WriteJSON.
type jsonFigure struct {
	Figure     string    `json:"figure"`
	What       string    `json:"what"`
	Value      float64   `json:"value"` // the median of Values
	Lowest     float64   `json:"lowest"`
	Highest    float64   `json:"highest"`
	Floor      float64   `json:"floor,omitempty"`
	Aim        float64   `json:"aim,omitempty"`
	LessBetter bool      `json:"less_is_better,omitempty"`
	Met        bool      `json:"met"`
	Unit       string    `json:"unit"` // of Over and Under
	Values     []float64 `json:"values"`
	Over       []float64 `json:"over"`
	Under      []float64 `json:"under,omitempty"`
	ForeignCPU *float64  `json:"foreign_cpu,omitempty"` // share of the machine, 0 to 1; absent = it cannot be told here
	Void       bool      `json:"void,omitempty"`        // other programs took too much of it
	Note       string    `json:"note,omitempty"`
}

// WriteJSON prints one object a line.
func WriteJSON(w io.Writer, figures []Figure) error {
	enc := json.NewEncoder(w)
	for i := range figures {
		f := &figures[i]
		low, high := f.Spread()
		line := jsonFigure{Figure: f.ID, What: f.What, Value: f.Median(), Lowest: low, Highest: high, Floor: f.Floor, Aim: f.Aim, LessBetter: f.Less, Met: f.Met(),
			Unit: f.Unit, Values: f.Values(), Over: f.Over, Under: f.Under, Void: f.Disturbed(), Note: f.Note}
		if share := median(f.Foreign); !math.IsNaN(share) {
			line.ForeignCPU = &share
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// WriteGo prints the format of Go benchmarks, one line a round, for benchstat: the ratio and the measured side, each as a metric of its own.
func WriteGo(w io.Writer, figures []Figure) error {
	count := map[string]int{}
	for i := range figures {
		f := &figures[i]
		count[f.ID]++
		for n, v := range f.Values() {
			line := fmt.Sprintf("Benchmark%s/part=%d 1 %g ratio", f.ID, count[f.ID], v)
			if f.Under == nil {
				line = fmt.Sprintf("Benchmark%s/part=%d 1 %g %s", f.ID, count[f.ID], v, f.Unit)
			} else {
				line += fmt.Sprintf(" %g %s", f.Over[n], f.Unit)
			}
			if _, err := fmt.Fprintln(w, line); err != nil {
				return err
			}
		}
	}
	return nil
}
