package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/waybillmq/waybill/internal/broker/group"
)

// desk runs the coordinator of consumer groups. Its goroutine owns all but what the lock guards; connections bring calls and wait. What it answers is stored first:
// calls that have come meanwhile share one append.
type desk struct {
	journal journal
	cfg     group.Config
	failed  func(op string, err error)
	calls   chan call

	c       *group.Coordinator
	token   group.Token
	waiting map[group.Token]chan<- group.Answer // has room for one; closed when the coordinator is given up

	mu     sync.Mutex
	loaded bool
}

type call struct {
	do   func(now time.Time)
	done chan<- error // has room for one
}

var (
	errLoading = errors.New("the groups are being read")
	errGivenUp = errors.New("what groups did could not be stored; they are read again")
)

// callsAtOnce is how many calls share an append.
const callsAtOnce = 256

func newDesk(log Log, cfg group.Config, failed func(op string, err error)) *desk {
	return &desk{journal: journal{log: log}, cfg: cfg, failed: failed, calls: make(chan call), waiting: map[group.Token]chan<- group.Answer{}}
}

// run works until ctx ends. What cannot be read or stored is tried again: until then no group is answered for.
func (d *desk) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := d.work(ctx)
		d.set(false)
		for t, answer := range d.waiting {
			close(answer)
			delete(d.waiting, t)
		}
		if ctx.Err() != nil {
			return
		}
		d.failed("consumer groups", err)
		t := time.NewTimer(time.Second)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// work reads what is stored and answers calls until something cannot be stored.
func (d *desk) work(ctx context.Context) (err error) {
	if d.c, err = d.journal.load(ctx, func() *group.Coordinator { return group.New(d.cfg) }); err != nil {
		return err
	}
	d.c.Begin(time.Now())
	d.set(true)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var done []chan<- error
		select {
		case x := <-d.calls:
			x.do(time.Now())
			done = append(done, x.done)
		case <-tick.C:
			d.c.Tick(time.Now())
		case <-ctx.Done():
			return nil
		}
		done = d.gather(done)
		effects := d.c.Take()
		err = d.journal.store(ctx, d.c, effects.Changes)
		for _, ch := range done {
			if err != nil {
				ch <- errGivenUp
				continue
			}
			ch <- nil
		}
		if err != nil {
			return err
		}
		d.deliver(effects.Answers)
	}
}

// gather does the calls that wait already.
func (d *desk) gather(done []chan<- error) []chan<- error {
	for len(done) > 0 && len(done) < callsAtOnce {
		select {
		case x := <-d.calls:
			x.do(time.Now())
			done = append(done, x.done)
		default:
			return done
		}
	}
	return done
}

func (d *desk) deliver(answers []group.Answer) {
	for _, a := range answers {
		d.waiting[a.Token] <- a
		delete(d.waiting, a.Token)
	}
}

func (d *desk) set(loaded bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loaded = loaded
}

func (d *desk) ready() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.loaded
}

// call has f done by the goroutine of the desk, and returns when all that it has led to is stored. f may use d.c. Errors: errLoading, when f was not done; errGivenUp,
// and that of ctx, after which f may still run: what it writes must not be read then.
func (d *desk) call(ctx context.Context, f func(now time.Time)) error {
	if !d.ready() {
		return errLoading
	}
	done := make(chan error, 1)
	t := time.NewTimer(time.Second) // a desk that has just been given up takes no calls
	defer t.Stop()
	select {
	case d.calls <- call{f, done}:
	case <-t.C:
		return errLoading
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// insistEvery is how often what was not done is tried again.
const insistEvery = 50 * time.Millisecond

// insist is call for what may be done twice: again and again until it is stored, or ctx ends.
func (d *desk) insist(ctx context.Context, f func(now time.Time)) error {
	for {
		err := d.call(ctx, f)
		if !errors.Is(err, errLoading) && !errors.Is(err, errGivenUp) {
			return err
		}
		t := time.NewTimer(insistEvery)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// answer is call for what waits: f gets a token, and the answer to it is returned.
func (d *desk) answer(ctx context.Context, f func(now time.Time, t group.Token)) (a group.Answer, err error) {
	answers := make(chan group.Answer, 1)
	err = d.call(ctx, func(now time.Time) {
		d.token++
		d.waiting[d.token] = answers
		f(now, d.token)
	})
	if err != nil {
		return a, err
	}
	select {
	case a, ok := <-answers:
		if !ok {
			return a, errGivenUp
		}
		return a, nil
	case <-ctx.Done():
		return a, ctx.Err()
	}
}
