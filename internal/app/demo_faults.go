package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// faults are what can be broken on purpose in a demonstration with a bundled broker, and put right again. Where there is none it is nil, which can be
// closed and mended.
type faults struct {
	turn   chan struct{} // one slot: one order at a time
	demo   *demo
	broker *demoBundled
	shop   *shop
	people *People // the functions that people use
}

// sayer tells a person a line.
type sayer func(format string, args ...any)

// fault is one of them.
type fault struct {
	name    string
	broken  func() bool
	breakIt func(context.Context, sayer) error
	restore func(context.Context) error        // only what was broken
	fixIt   func(context.Context, sayer) error // restore, and wait until what waited is sent
}

// mendLimit is how long what waited may take to be sent once its cause is gone.
const mendLimit = time.Minute

// breakable returns nil where the broker is not the demonstration's own.
func (d *demo) breakable(shop *shop) (*faults, error) {
	b, is := d.brokers[0].(*demoBundled)
	if !is {
		return nil, nil
	}
	people, err := OpenPeople(d.config)
	if err != nil {
		return nil, err
	}
	return &faults{turn: make(chan struct{}, 1), demo: d, broker: b, shop: shop, people: people}, nil
}

func (f *faults) close() {
	if f != nil {
		f.people.Close()
	}
}

// all lists them in the order in which they are to be fixed.
func (f *faults) all() []fault {
	return []fault{{"database", f.databaseDown, f.breakDatabase, f.demo.restartDatabase, f.fixDatabase},
		{"message", func() bool { return f.broker.limited(demoTightTopic) }, f.breakMessage, f.restoreLimit, f.fixMessage},
		{"broker", f.broker.down, f.breakBroker, f.broker.resume, f.fixBroker}}
}

// obey carries out what a person typed behind `waybill demo`. It waits for its turn; say hears what happened.
func (f *faults) obey(ctx context.Context, order string, say sayer) error {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	order = strings.Join(strings.Fields(order), " ")
	switch order {
	case "break":
		return f.breakBroker(ctx, say)
	case "fix":
		return f.fixAll(ctx, say)
	case "fix message retry":
		return f.retryMessages(ctx, say)
	}
	var names []string
	for _, x := range f.all() {
		switch order {
		case "break " + x.name:
			return x.breakIt(ctx, say)
		case "fix " + x.name:
			return x.fixIt(ctx, say)
		}
		names = append(names, x.name)
	}
	return notNow("it knows only break and fix, of %s", strings.Join(names, ", "))
}

// fixAll fixes whatever is broken.
func (f *faults) fixAll(ctx context.Context, say sayer) error {
	broken := false
	for _, x := range f.all() {
		if !x.broken() {
			continue
		}
		broken = true
		if err := x.fixIt(ctx, say); err != nil {
			return err
		}
	}
	if !broken {
		return notNow("nothing is broken: waybill demo break stops the broker")
	}
	return nil
}

// mend fixes what a person left broken: the proof needs it.
func (f *faults) mend(ctx context.Context) error {
	if f == nil {
		return nil
	}
	for _, x := range f.all() {
		if !x.broken() {
			continue
		}
		if err := x.restore(ctx); err != nil {
			return fmt.Errorf("the %s was broken on purpose and cannot be fixed for the proof: %w", x.name, err)
		}
		fmt.Fprintf(f.demo.Progress, "  ✓ %-11s fixed: what waits is sent before the proof\n", x.name)
	}
	return nil
}

func (f *faults) breakBroker(_ context.Context, say sayer) error {
	if f.broker.down() {
		return notNow("the broker is stopped already: waybill demo fix starts it again")
	}
	if err := f.broker.halt(); err != nil {
		return err
	}
	say("  ✓ the bundled broker is stopped. The shop goes on. The relay probes it; no message loses an attempt, and what comes waits in its degraded cache.")
	say("    see it on the dashboard.   put it right: waybill demo fix")
	return nil
}

// fixBroker starts the broker again and waits until what waited is sent.
func (f *faults) fixBroker(ctx context.Context, say sayer) error {
	if !f.broker.down() {
		return notNow("the broker runs: waybill demo break stops it")
	}
	if f.databaseDown() {
		return errDatabaseFirst
	}
	last, err := f.shop.newestID(ctx)
	if err != nil {
		return err
	}
	waited, err := f.shop.unsent(ctx, last)
	if err != nil {
		return err
	}
	if err := f.broker.resume(ctx); err != nil {
		return err
	}
	say("  ✓ the bundled broker runs again; %d messages waited", waited)
	began := time.Now()
	if err := f.awaitSent(ctx, last); err != nil {
		return err
	}
	say("  ✓ all of them are sent, %.1f s after it came back. The proof comes when the demonstration stops", time.Since(began).Seconds())
	return nil
}

// awaitSent waits until no message up to an id is pending. Those that are held are not waited for.
func (f *faults) awaitSent(ctx context.Context, last int64) (err error) {
	left := 0
	err = await(ctx, mendLimit, func() (_ bool, err error) {
		left, err = f.shop.unsent(ctx, last)
		return left == 0, err
	})
	if err != nil {
		return fmt.Errorf("%d messages that waited are not sent yet; the relay goes on with them: %w", left, err)
	}
	return nil
}

// await asks again and again until it is so, for at most limit. An error of a question is met by the next one.
func await(ctx context.Context, limit time.Duration, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := so()
		if err == nil && yes {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}
