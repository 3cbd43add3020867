package calls

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/relay"
)

// TestCloseWaitsForCallsThenGivesThemUp: in the order that its contract names.
func TestCloseWaitsForCallsThenGivesThemUp(t *testing.T) {
	defer goleak.VerifyNone(t)
	c := New("broker")
	ctx, done, err := c.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	hung := make(chan struct{})
	step := func(name string) func() {
		return func() {
			if c.Context().Err() == nil {
				t.Errorf("%s before the context ended", name)
			}
			steps = append(steps, name)
			if name == "cut" {
				<-hung
			}
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if c.Close(over, time.Millisecond, step("cut"), step("release")) {
		t.Error("closed while a call runs and a socket hangs")
	}
	<-ctx.Done() // the call is given up
	if _, _, err := c.Enter(t.Context()); !errors.Is(err, relay.ErrClosed) || err.Error() != "broker: "+relay.ErrClosed.Error() {
		t.Errorf("entered after close: %v", err)
	}
	close(hung)
	done()
	if !c.Close(t.Context(), time.Minute, nil, nil) || !slices.Equal(steps, []string{"cut", "release"}) {
		t.Errorf("steps %v", steps)
	}
}

// TestCloseLeavesACallItsTime: nothing is cut before a call that runs has ended, and its context lives until then.
func TestCloseLeavesACallItsTime(t *testing.T) {
	defer goleak.VerifyNone(t)
	c := New("broker")
	ctx, done, err := c.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	closed := make(chan bool)
	go func() {
		closed <- c.Close(t.Context(), time.Minute, func() {
			if !ended {
				t.Error("cut under a call")
			}
		}, func() {})
	}()
	for { // until it is closing
		_, also, err := c.Enter(t.Context())
		if err != nil {
			break
		}
		also()
	}
	if ctx.Err() != nil {
		t.Error("the call was given up")
	}
	ended = true
	done()
	if !<-closed {
		t.Error("not closed")
	}
}
