// Package calls counts the calls that run in a publisher, and ends them in order when it closes.
package calls

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Calls are those that run. Its methods may be called concurrently.
type Calls struct {
	owner  string          // who is closed, in errors
	ctx    context.Context // ends when the calls that still run are given up
	cancel context.CancelFunc

	mu       sync.Mutex // guards the two below
	closing  bool
	running  int
	idle     chan struct{} // closed when closing and nothing runs
	ended    chan struct{} // closed when everything has ended
	shutdown sync.Once
}

// New begins without a call; owner is named in errors.
func New(owner string) *Calls {
	c := &Calls{owner: owner, idle: make(chan struct{}), ended: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Context ends when Close gives up the calls that still run; tasks beside the calls end with it.
func (c *Calls) Context() context.Context { return c.ctx }

// Enter counts a call until done is called; its context also ends with Context. Once Close was called it returns relay.ErrClosed.
func (c *Calls) Enter(ctx context.Context) (_ context.Context, done func(), _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return nil, nil, fmt.Errorf("%s: %w", c.owner, relay.ErrClosed)
	}
	c.running++
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.running--; c.closing && c.running == 0 {
			close(c.idle)
		}
	}, nil
}

// Close refuses new calls and waits for those that run until ctx ends. Then, once, it ends Context, calls cut, which closes the sockets so
// that nothing hangs on them, waits for the last call and calls release. False: that took longer than wait; it goes on. It may be called again, and then waits for
// the same end.
func (c *Calls) Close(ctx context.Context, wait time.Duration, cut, release func()) bool {
	c.mu.Lock()
	if !c.closing {
		c.closing = true
		if c.running == 0 {
			close(c.idle)
		}
	}
	c.mu.Unlock()
	select {
	case <-c.idle:
	case <-ctx.Done():
	}
	c.shutdown.Do(func() {
		go func() {
			defer close(c.ended)
			c.cancel()
			cut()
			<-c.idle
			release()
		}()
	})
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-c.ended:
		return true
	case <-t.C:
		return false
	}
}
