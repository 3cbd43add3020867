package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/waybillmq/waybill/adapters/kafka"
	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

// stalled is how long a run may make no progress.
const stalled = 30 * time.Second

// prepareRelay makes the engine ready with every default of the product.
func prepareRelay(ctx context.Context, j *job) (*task, error) {
	store, err := postgres.Open(ctx, postgres.Config{URL: j.URL})
	if err != nil {
		return nil, err
	}
	var b *bundled
	if j.Dir != "" {
		if b, err = startBundled(ctx, j, store); err != nil {
			store.Close()
			return nil, err
		}
	}
	w := newWitness(j.First, j.Rows, true)
	p := &progress{want: j.Rows, done: make(chan struct{})}
	var engine *relay.Relay
	opt := relay.Defaults()
	opt.Instance, opt.Store, opt.Waker = "bench", store, store
	opt.Events.Settled = func(messages, _ int, _ time.Duration) { p.add(int64(messages)) }
	opt.Events.Held = func(string, string, relay.HeldState, *relay.Failure) { p.held.Add(1); p.add(1) }
	opt.Events.Failed = p.fail
	opt.Events.Paused = func(_ string, _ relay.Lane, _ relay.Scope, cause relay.Outcome) {
		p.fail("publish", fmt.Errorf("%s %s", cause.Class, cause.Detail))
	}
	opt.Routes = []relay.Route{{Name: "bench", Topic: "*", Destination: "bench", Target: j.Topic, Retry: relay.DefaultRetry()}}
	opt.Destinations = []relay.Destination{j.destination(w, func() *relay.Relay { return engine })}
	if j.Queue != nil {
		j.Queue.route(&opt.Routes[0], j.Topic)
		opt.Destinations = []relay.Destination{j.Queue.destination(j.Topic, func() *relay.Relay { return engine })}
	}
	if b != nil {
		opt.Routes[0].Target, opt.Destinations = nodeTopic, []relay.Destination{b.destination()}
	}
	var down *outage
	if j.Cache != "" {
		down = newOutage(j)
		down.configure(&opt)
	}
	if engine, err = relay.New(opt); err != nil {
		store.Close()
		return nil, errors.Join(err, b.stop())
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	started := false
	t := &task{check: func() error { return nil }}
	t.run = func(ctx context.Context) (time.Duration, error) {
		began := time.Now()
		started = true
		go func() { ended <- engine.Run(running) }()
		if down != nil {
			if err := down.fill(ctx, ended); err != nil {
				return time.Since(began), p.explain(err)
			}
			t.Fill = time.Since(began).Seconds()
			began = time.Now()
			down.up.Store(true)
		}
		if j.Release != 0 {
			if err := retry(ctx, j.URL, j.Release); err != nil {
				return time.Since(began), err
			}
		}
		err := p.wait(ctx, ended)
		return time.Since(began), err
	}
	t.close = func() (err error) {
		stop()
		if started {
			err = <-ended
		}
		store.Close()
		if down != nil {
			err = errors.Join(err, down.stop())
		}
		return errors.Join(err, b.stop())
	}
	switch {
	case b != nil:
		t.check = func() error { return b.check(context.WithoutCancel(ctx), w, &t.report) }
	case j.Queue != nil: // it is read back by the bench
	case len(j.Brokers) == 0:
		t.check = func() error {
			t.Held = p.held.Load()
			w.aside = int(t.Held)
			return w.verdict()
		}
	}
	return t, nil
}

// destination is the stub, or a Kafka as `waybill run` configures it.
func (j *job) destination(w *witness, engine func() *relay.Relay) relay.Destination {
	if len(j.Brokers) == 0 {
		return relay.Destination{Name: "bench", Capabilities: stubLimits, New: func() (relay.Publisher, error) { return &stub{ack: j.Ack, poison: j.Poison, witness: w}, nil }}
	}
	cfg := kafka.DefaultConfig()
	cfg.Brokers, cfg.ClientID, cfg.Topics = j.Brokers, "waybill/bench", []string{j.Topic}
	cfg.Trust = func() bool { return engine().Trusted() }
	cfg.OnLanesChanged = func(string) { engine().LanesChanged("bench") }
	return relay.Destination{Name: "bench", Capabilities: cfg.Capabilities(), PublishTimeout: cfg.Timeouts.Publish + 2*time.Second,
		New: func() (relay.Publisher, error) { return kafka.New(cfg) }}
}

// progress counts settled messages up to those that are wanted.
type progress struct {
	want    int64
	settled atomic.Int64 // or set aside
	held    atomic.Int64
	done    chan struct{} // closed by the settlement that reaches want
	last    atomic.Pointer[error]
}

func (p *progress) add(n int64) {
	if now := p.settled.Add(n); p.want > 0 && now >= p.want && now-n < p.want {
		close(p.done)
	}
}

func (p *progress) fail(op string, err error) {
	err = fmt.Errorf("%s: %w", op, err)
	p.last.Store(&err)
}

// wait until all is settled. It gives up when nothing moves.
func (p *progress) wait(ctx context.Context, ended chan error) error {
	tick := time.NewTicker(stalled)
	defer tick.Stop()
	for before := int64(-1); ; {
		select {
		case <-p.done:
			return nil
		case <-ctx.Done():
			if p.want == 0 {
				return nil
			}
			return p.explain(ctx.Err())
		case err := <-ended:
			ended <- nil // for close
			return p.explain(errors.Join(errors.New("the relay ended"), err))
		case <-tick.C:
			now := p.settled.Load()
			if now == before && p.want > 0 {
				return p.explain(fmt.Errorf("nothing was settled for %s", stalled))
			}
			before = now
		}
	}
}

func (p *progress) explain(err error) error {
	err = fmt.Errorf("%d of %d messages are settled: %w", p.settled.Load(), p.want, err)
	if last := p.last.Load(); last != nil {
		err = fmt.Errorf("%w; the last failure was: %w", err, *last)
	}
	return err
}
