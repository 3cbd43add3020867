package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// engine is a relay with everything it is made of.
type engine struct {
	config   *config.Config
	instance string
	store    *postgres.Store
	relay    *relay.Relay
	cache    *degraded // nil = none
	log      *slog.Logger
	onOpen   func() // a destination was opened; set before the relay runs, nil = nobody asks

	mu    sync.Mutex
	open  map[string]relay.Publisher // by destination, those that were opened
	check map[string]relay.Findings  // the newest of each
}

// instanceName is the configured name, else the host's with four random hex digits: names of hosts and process ids repeat in containers.
func instanceName(c *config.Config) string {
	if c.Relay.Instance != "" {
		return c.Relay.Instance
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "relay"
	}
	return host + "-" + randomHex(2)
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// newEngine builds a relay on an open store. events observe it.
func newEngine(c *config.Config, instance string, store *postgres.Store, events relay.Events, log *slog.Logger, bundled waybillbroker.Broker) (*engine, error) {
	e := &engine{config: c, instance: instance, store: store, log: log, open: map[string]relay.Publisher{}, check: map[string]relay.Findings{}}
	opt := relay.Defaults()
	opt.Instance, opt.Address = instance+"/"+randomHex(4), c.Metrics.Listen
	opt.Store, opt.Pauser, opt.Events = store, store, events
	if c.Relay.Poll.Notify != "none" {
		opt.Waker = store
	}
	opt.Lease, opt.WriteTimeout, opt.TCPTimeout, opt.Quarantine = c.Relay.Lease, c.Relay.WriteTimeout, c.Relay.TCPUserTimeout, c.Relay.Quarantine
	opt.ReadRows, opt.Ahead, opt.AheadBytes = c.Relay.Read.Batch, c.Relay.Read.Ahead, int(c.Relay.Read.AheadBytes)
	opt.PollBusy, opt.PollIdle = c.Relay.Poll.Busy, c.Relay.Poll.Idle
	opt.SettleMessages, opt.SettleDelay, opt.SettleBatches = c.Relay.Settle.MaxMessages, c.Relay.Settle.MaxDelay, c.Relay.Settle.MaxBatchesPerLane
	opt.OpenAfter, opt.ProbeInitial, opt.ProbeCap = c.Breaker.OpenAfter, c.Breaker.ProbeInitial, c.Breaker.ProbeCap
	opt.ShutdownTimeout = c.Relay.ShutdownTimeout
	opt.Routes = relayRoutes(c)
	if c.Cache.Enabled {
		e.cache = newDegraded(c, log)
		opt.Cache = e.cache.begin
	}
	for i := range c.Destinations {
		opt.Destinations = append(opt.Destinations, e.destination(&c.Destinations[i], bundled))
	}
	var err error
	e.relay, err = relay.New(opt)
	return e, err
}

// run works the outbox until ctx ends.
func (e *engine) run(ctx context.Context) error {
	if e.cache != nil {
		e.store.Remember(e.cache.recall())
		defer func() { e.cache.end(e.store.Known()) }()
	}
	return e.relay.Run(ctx)
}

// opened pins which cluster the destination's name stands for, and asks whether that broker keeps its promise.
func (e *engine) opened(d *config.Destination, p relay.Publisher) error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if id := p.(interface{ ClusterID() string }).ClusterID(); id != "" {
		if err := e.store.PinDestination(ctx, d.Name, d.Kind, id, sameCluster(d.Kind)); err != nil {
			return err
		}
	}
	e.mu.Lock()
	e.open[d.Name] = p
	e.mu.Unlock()
	if e.onOpen != nil {
		e.onOpen()
	}
	if d.Durability() != "require" {
		return nil
	}
	found, err := p.Check(ctx)
	if err != nil {
		return fmt.Errorf("check %s: %w", d.Name, errors.Join(relay.ErrUnavailable, err))
	}
	for _, f := range found.Items {
		if f.Level == relay.LevelFail {
			return &relay.ConfigError{Class: relay.ClassUnsafeBroker, Text: fmt.Sprintf("%s can lose messages: %s: %s. %s. It is not sent to because of durability: require",
				d.Name, f.Subject, f.Text, f.Fix)}
		}
	}
	return nil
}

// checkBrokers asks every opened destination for its settings, keeps the answers and returns them. The error names those that did not answer.
func (e *engine) checkBrokers(ctx context.Context) (map[string]relay.Findings, error) {
	e.mu.Lock()
	open := maps.Clone(e.open)
	e.mu.Unlock()
	answers := map[string]relay.Findings{}
	var errs []error
	for name, p := range open {
		found, err := p.Check(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("check %s: %w", name, err))
			continue
		}
		answers[name] = found
		e.mu.Lock()
		e.check[name] = found
		e.mu.Unlock()
	}
	return answers, errors.Join(errs...)
}

func (e *engine) findings() map[string]relay.Findings {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make(map[string]relay.Findings, len(e.check))
	for name, f := range e.check {
		all[name] = f
	}
	return all
}
