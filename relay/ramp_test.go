package relay

import (
	"fmt"
	"testing"
	"time"
)

func rampLanes(n int) (lanes []*lane) {
	for i := range n {
		lanes = append(lanes, &lane{id: Lane{Topic: "t", Index: int32(i)}, wake: make(chan struct{}, 1), queue: []*Message{{}}})
	}
	return lanes
}

func sending(lanes []*lane) (names string) {
	for i, l := range lanes {
		if !l.barred {
			names += fmt.Sprint(i, " ")
		}
	}
	return names
}

// K1: each answer lets in one lane that has something to send, in turn; the last one ends the ramp.
func TestRampLetsInOneLaneAnAnswer_K1(t *testing.T) {
	lanes, now := rampLanes(5), time.Unix(100, 0)
	lanes[4].queue = nil
	var r ramp
	r.begin(lanes, lanes[2], now)
	for i, want := range []string{"2 ", "2 3 ", "0 2 3 ", "0 1 2 3 ", "0 1 2 3 4 "} {
		if got := sending(lanes); got != want || r.on != (i < 4) {
			t.Fatalf("after %d answers lanes %ssend, on %v; want %s", i, got, r.on, want)
		}
		r.answered(lanes, lanes[[]int{2, 3, 2, 0, 0}[i]], now)
	}
	for i, l := range lanes[:4] {
		if i != 2 && len(l.wake) == 0 {
			t.Errorf("lane %d was let in and not told", i)
		}
	}
}

// Without answers one lane is let in now and then: silent ones keep nobody out for ever.
func TestRampGoesOnWithoutAnswers(t *testing.T) {
	lanes, now := rampLanes(4), time.Unix(100, 0)
	var r ramp
	r.begin(lanes, lanes[0], now)
	if d := r.wait(lanes[0], now); d != 0 {
		t.Errorf("the lane that found the broker back waits %v", d)
	}
	for i := 1; i < 4; i++ {
		if d := r.wait(lanes[i], now.Add(rampStep-time.Millisecond)); d != time.Millisecond {
			t.Errorf("lane %d waits another %v", i, d)
		}
		if now = now.Add(rampStep); r.wait(lanes[i], now) != 0 {
			t.Errorf("lane %d is not let in", i)
		}
	}
}

// A destination that could not be opened during an outage has no lanes yet: they come while the ramp is on, and the first goes at once.
func TestRampAfterAnOpeningThatFailed(t *testing.T) {
	f, old := shutFlow(0, "a")
	d, now := old.dest, time.Now()
	f.dissolve(d)
	d.opened, d.breaker.open = true, true
	f.closeBreaker(d, nil, Outcome{Kind: Acked}, now)
	var lanes []*lane
	for i := range 3 {
		l := f.laneFor(d, Lane{Topic: "new", Index: int32(i)})
		l.push(&Message{ID: ID(i + 1)})
		lanes = append(lanes, l)
	}
	if first, second := d.ramp.wait(lanes[0], now), d.ramp.wait(lanes[1], now); first != 0 || second != rampStep {
		t.Errorf("the first lane waits %v, the second %v", first, second)
	}
	d.ramp.answered(d.order, lanes[0], now)
	if got := sending(lanes); got != "0 1 " {
		t.Errorf("after one answer lanes %ssend", got)
	}
	f.stopping = true
	if batch, _, wait := f.take(lanes[2], true, now); len(batch) != 0 || wait != -1 {
		t.Errorf("while the relay stops a barred lane sends %d messages or waits %v", len(batch), wait)
	}
}
