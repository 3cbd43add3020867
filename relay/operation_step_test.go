package relay

import (
	"math/rand/v2"
	"testing"
)

func TestOperationNext(t *testing.T) {
	careful := Pace{Careful: true, StopAt: 0.05}
	atOnce := Pace{StopAt: 0.05}
	for name, c := range map[string]struct {
		o       Operation
		allowed int
		want    Move
		stops   bool
	}{
		"the canary first":                   {o: Operation{Pace: careful, Total: 1000}, allowed: 500, want: Move{Act: 10, Step: 1}},
		"a plan smaller than the canary":     {o: Operation{Pace: careful, Total: 3}, allowed: 500, want: Move{Act: 3, Step: 1}},
		"waits for the canary":               {o: Operation{Pace: careful, Total: 1000, Handled: 10, Step: 1, StepHandled: 10, StepJudged: 9, StepSent: 9}, allowed: 500},
		"one of ten fails":                   {o: Operation{Pace: careful, Total: 1000, Handled: 10, Step: 1, StepHandled: 10, StepJudged: 1, StepFailed: 1}, allowed: 500, stops: true},
		"the canary passed":                  {o: Operation{Pace: careful, Total: 1000, Handled: 10, Step: 1, StepHandled: 10, StepJudged: 10, StepSent: 10}, allowed: 500, want: Move{Act: 100, Step: 2}},
		"the canary only waits in its keys":  {o: Operation{Pace: careful, Total: 1000, Handled: 10, Step: 1, StepHandled: 10, StepJudged: 10}, allowed: 500, want: Move{Act: 100, Step: 2}},
		"the rest of the second step":        {o: Operation{Pace: careful, Total: 1000, Handled: 40, Step: 2, StepHandled: 30}, allowed: 500, want: Move{Act: 70, Step: 2}},
		"five of a hundred may fail":         {o: Operation{Pace: careful, Total: 1000, Handled: 110, Step: 2, StepHandled: 100, StepJudged: 100, StepSent: 95, StepFailed: 5}, allowed: 500, want: Move{Act: 500, Step: 3}},
		"six of a hundred may not":           {o: Operation{Pace: careful, Total: 1000, Handled: 110, Step: 2, StepHandled: 100, StepJudged: 6, StepFailed: 6}, allowed: 500, stops: true},
		"five of the first six of many":      {o: Operation{Pace: careful, Total: 9000, Handled: 610, Step: 3, StepHandled: 500, StepJudged: 6, StepFailed: 5}, allowed: 500, want: Move{Act: 500, Step: 3}},
		"too many of the rest":               {o: Operation{Pace: careful, Total: 9000, Handled: 610, Step: 3, StepHandled: 500, StepJudged: 210, StepSent: 199, StepFailed: 11}, allowed: 500, stops: true},
		"a bound on what has no outcome":     {o: Operation{Pace: atOnce, Total: 9000, Handled: 2000, Step: 1, StepHandled: 2000}, allowed: 500},
		"what is left of that bound":         {o: Operation{Pace: atOnce, Total: 9000, Handled: 2000, Step: 1, StepHandled: 2000, StepJudged: 7, StepSent: 7}, allowed: 500, want: Move{Act: 7, Step: 1}},
		"not more than one act takes":        {o: Operation{Pace: atOnce, Total: 9000}, allowed: 9000, want: Move{Act: MaxActed, Step: 1}},
		"not more than the rate allows":      {o: Operation{Pace: atOnce, Total: 9000}, allowed: 20, want: Move{Act: 20, Step: 1}},
		"nothing allowed now":                {o: Operation{Pace: careful, Total: 9000}, allowed: 0},
		"nothing allowed at the next step":   {o: Operation{Pace: careful, Total: 1000, Handled: 10, Step: 1, StepHandled: 10, StepJudged: 10, StepSent: 10}, allowed: 0},
		"all handled, one without an answer": {o: Operation{Pace: atOnce, Total: 5, Handled: 5, Step: 1, StepHandled: 5, StepJudged: 4}, allowed: 500},
		"all done":                           {o: Operation{Pace: atOnce, Total: 5, Handled: 5, Step: 1, StepHandled: 5, StepJudged: 5}, allowed: 500, want: Move{End: OperationDone}},
		"nothing to do":                      {o: Operation{Pace: careful}, allowed: 500, want: Move{End: OperationDone}},
		"never stops":                        {o: Operation{Pace: Pace{StopAt: 1}, Total: 5, Handled: 5, Step: 1, StepHandled: 5, StepJudged: 5, StepFailed: 5}, allowed: 500, want: Move{End: OperationDone}},
		"stops at the first":                 {o: Operation{Pace: Pace{StopAt: 0}, Total: 5000, Handled: 500, Step: 1, StepHandled: 500, StepJudged: 1, StepFailed: 1}, allowed: 500, stops: true},
	} {
		got := c.o.Next(c.allowed)
		if c.stops {
			if got.End != OperationStopped || got.Cause == "" {
				t.Errorf("%s: %+v, want a stop with its cause", name, got)
			}
		} else if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// Whatever the outcomes and the rate: an operation ends, acts on nothing twice, never on more than it may, and a step begins after the one before is judged.
func TestOperationsEnd(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		failing := []float64{0, 0, 0.02, 0.5, 1}[rnd.IntN(5)]
		o := Operation{State: OperationRunning, Total: rnd.IntN(4000), Pace: Pace{Careful: rnd.IntN(2) == 0, StopAt: []float64{0, 0.05, 1}[rnd.IntN(3)]}}
		for turn := 0; ; turn++ {
			if turn > 200_000 {
				t.Fatalf("seed %d: never ends: %+v", seed, o)
			}
			m := o.Next(rnd.IntN(700))
			if m.End == OperationStopped {
				if o.StepFailed == 0 || o.StopAt == 1 {
					t.Fatalf("seed %d: stopped without reason: %+v", seed, o)
				}
				break
			}
			if m.End == OperationDone {
				if o.Handled != o.Total || o.open() != 0 {
					t.Fatalf("seed %d: done too early: %+v", seed, o)
				}
				break
			}
			if m.Act > 0 {
				if m.Step != o.Step {
					if m.Step != o.Step+1 || o.open() != 0 {
						t.Fatalf("seed %d: step %d begins before the one before is judged: %+v", seed, m.Step, o)
					}
					o.Step, o.StepHandled, o.StepJudged, o.StepSent, o.StepFailed = m.Step, 0, 0, 0, 0
				}
				o.Handled += m.Act
				o.StepHandled += m.Act
				if canary := map[int]int{1: 10, 2: 100}[m.Step]; m.Act > MaxActed || o.Handled > o.Total || o.open() > maxOpen || o.Careful && canary > 0 && o.StepHandled > canary {
					t.Fatalf("seed %d: %+v goes too far: %+v", seed, m, o)
				}
			}
			for range min(o.open(), rnd.IntN(300)) {
				o.StepJudged++
				if rnd.Float64() < failing {
					o.StepFailed++
				} else if rnd.IntN(10) > 0 { // the others wait in their keys
					o.StepSent++
				}
			}
		}
	}
}
