package relay

import "fmt"

// The steps of a careful operation, and what bounds each of its transactions.
const (
	firstStep  = 10
	secondStep = 100
	maxOpen    = 2000 // acted on and without an outcome: what an automatic stop comes too late for
	judgeFrom  = 100  // in a step of more messages the first few failures are not yet a share
)

// Move is what the owner does next with an operation. The zero Move means: wait for outcomes.
type Move struct {
	Act   int // messages to act on in one transaction, as part of Step
	Step  int
	End   OperationState // OperationDone or OperationStopped; empty = it goes on
	Cause string         // for people, of a stop
}

// Next decides about a running operation of which `allowed` messages may be handled now. It is a function of the operation alone, so that any owner goes on
// where another one ended.
func (o *Operation) Next(allowed int) Move {
	if cause := o.tooManyFailed(); cause != "" {
		return Move{End: OperationStopped, Cause: cause}
	}
	end := o.stepEnd(max(o.Step, 1))
	if o.Handled < end {
		return o.move(max(o.Step, 1), min(end-o.Handled, allowed, maxOpen-o.open()))
	}
	switch {
	case o.open() > 0:
		return Move{}
	case o.Handled >= o.Total:
		return Move{End: OperationDone}
	}
	return o.move(o.Step+1, min(o.stepEnd(o.Step+1)-o.Handled, allowed))
}

func (o *Operation) move(step, act int) Move {
	if act <= 0 {
		return Move{}
	}
	return Move{Act: min(act, MaxActed), Step: step}
}

func (o *Operation) open() int { return o.StepHandled - o.StepJudged }

// stepEnd is how many messages are handled when that step is.
func (o *Operation) stepEnd(step int) int {
	switch {
	case o.Careful && step == 1:
		return min(firstStep, o.Total)
	case o.Careful && step == 2:
		return min(firstStep+secondStep, o.Total)
	}
	return o.Total
}

// tooManyFailed compares what failed again with what was tried; until a step has shown enough, with what it will have shown.
func (o *Operation) tooManyFailed() string {
	size := o.stepEnd(max(o.Step, 1)) - (o.Handled - o.StepHandled)
	tried := max(o.StepSent+o.StepFailed, min(size, judgeFrom))
	if o.StepFailed == 0 || float64(o.StepFailed) <= o.StopAt*float64(tried) {
		return ""
	}
	return fmt.Sprintf("%d of %d messages of step %d failed again, more than %.3g %%", o.StepFailed, max(o.StepSent+o.StepFailed, 1), o.Step, o.StopAt*100)
}

// Waiting says that a running operation can only wait for the outcomes of what it has acted on.
func (o *Operation) Waiting() bool {
	return o.State == OperationRunning && o.Next(1) == Move{}
}
