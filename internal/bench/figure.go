package bench

import (
	"math"
	"slices"
)

// Figure is one ratio, or one plain quantity when it has no denominator, with a value for each round.
type Figure struct {
	ID    string  // as in the table of figures: S1
	What  string  // what over what
	Unit  string  // of Over and Under
	Floor float64 // what it must reach
	Aim   float64
	Less  bool // less is better: Floor is a ceiling

	Over    []float64 // measured, one entry a round
	Under   []float64 // measured beside it; nil = Over is the figure itself
	Foreign []float64 // share of the machine's CPU that other programs took meanwhile, 0 to 1; NaN = cannot be told here
	Note    string
}

// Values are the figure of each round.
func (f *Figure) Values() []float64 {
	if f.Under == nil {
		return slices.Clone(f.Over)
	}
	v := make([]float64, len(f.Over))
	for i := range v {
		v[i] = f.Over[i] / f.Under[i]
	}
	return v
}

// Median of the rounds.
func (f *Figure) Median() float64 { return median(f.Values()) }

// Spread is the lowest and the highest round.
func (f *Figure) Spread() (low, high float64) {
	v := f.Values()
	if len(v) == 0 {
		return math.NaN(), math.NaN()
	}
	return slices.Min(v), slices.Max(v)
}

// Met says whether the median reaches the floor. A figure without a floor is always met.
func (f *Figure) Met() bool {
	if f.Floor == 0 {
		return true
	}
	if f.Less {
		return f.Median() <= f.Floor
	}
	return f.Median() >= f.Floor
}

// foreignLimit is the share of foreign CPU above which a figure says more about the neighbours than about the relay.
const foreignLimit = 0.10

// Disturbed says whether other programs took more than a tenth of the machine during the median round.
func (f *Figure) Disturbed() bool { return median(f.Foreign) > foreignLimit }

func (f *Figure) add(over, under, foreign float64) {
	f.Over, f.Foreign = append(f.Over, over), append(f.Foreign, foreign)
	if !math.IsNaN(under) {
		f.Under = append(f.Under, under)
	}
}

// add1 adds a round of a figure without a denominator.
func (f *Figure) add1(over, foreign float64) { f.add(over, math.NaN(), foreign) }

// median of v; NaN when it is empty. v is left as it is.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	switch n := len(s); {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return s[n/2]
	default:
		return (s[n/2-1] + s[n/2]) / 2
	}
}

// quantile of v, nearest rank; v is sorted in place.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	slices.Sort(v)
	return v[min(len(v)-1, int(math.Ceil(q*float64(len(v))))-1)]
}
