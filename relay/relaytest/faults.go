package relaytest

import (
	"context"
	"sync"
	"time"
)

// Op names a method of a port, for faults.
type Op string

// The operations of a store.
const (
	OpAcquire Op = "Acquire"
	OpRenew   Op = "Renew"
	OpRelease Op = "Release"
	OpRead    Op = "Read"
	OpFetch   Op = "Fetch"
	OpClaim   Op = "Claim"
	OpSettle  Op = "Settle"
	OpHeld    Op = "Held"
	OpClosed  Op = "Closed"
	OpPaused  Op = "Paused"
)

// Faults makes calls fail, wait or lose their answer, by operation. The zero value does nothing. Safe for concurrent use.
type Faults struct {
	mu    sync.Mutex
	ops   map[Op]*opFaults
	calls map[Op]int
}

type opFaults struct {
	fail  []fault
	gate  chan struct{} // not nil: calls wait until it is closed
	delay time.Duration
}

type fault struct {
	err   error
	after bool // the call takes effect, and only its answer is lost
}

func (f *Faults) op(op Op) *opFaults {
	if f.ops == nil {
		f.ops, f.calls = map[Op]*opFaults{}, map[Op]int{}
	}
	if f.ops[op] == nil {
		f.ops[op] = &opFaults{}
	}
	return f.ops[op]
}

// Fail makes the next n calls of op return err without effect; they come after the faults that are already waiting.
func (f *Faults) Fail(op Op, n int, err error) { f.add(op, n, fault{err: err}) }

// Lose makes the next n calls of op take effect and return err all the same: the answer was lost.
func (f *Faults) Lose(op Op, n int, err error) { f.add(op, n, fault{err: err, after: true}) }

func (f *Faults) add(op Op, n int, what fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.op(op)
	for range n {
		o.fail = append(o.fail, what)
	}
}

// Block makes calls of op wait, before any effect, until the returned function is called or their context ends.
func (f *Faults) Block(op Op) (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gate := make(chan struct{})
	o := f.op(op)
	o.gate = gate
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if o.gate == gate {
			o.gate = nil
		}
		close(gate)
	})
}

// Delay makes each call of op take d longer, before its effect; 0 ends it.
func (f *Faults) Delay(op Op, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.op(op).delay = d
}

// Calls returns how often op was called.
func (f *Faults) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// enter waits and decides: err ends the call now, lost is returned after its effect.
func (f *Faults) enter(ctx context.Context, op Op) (lost, err error) {
	f.mu.Lock()
	o := f.op(op)
	f.calls[op]++
	gate, delay := o.gate, o.delay
	var hit fault
	if len(o.fail) > 0 {
		hit, o.fail = o.fail[0], o.fail[1:]
	}
	f.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := sleep(ctx, delay); err != nil {
		return nil, err
	}
	if hit.err != nil && !hit.after {
		return nil, hit.err
	}
	return hit.err, nil
}

// sleep waits for d or the end of ctx, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
