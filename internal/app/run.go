package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/httpserver"
	"github.com/waybillmq/waybill/internal/telemetry"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

// RunOptions say what Run runs.
type RunOptions struct {
	Config  *config.Config
	LogTo   io.Writer // standard error
	Version string
	Broker  waybillbroker.Broker // a bundled broker that runs already; nil = the configuration says whether there is one
}

// schemaEvery is how often a relay that lacks its schema looks again: a sidecar that exits would hold up its application.
const schemaEvery = 10 * time.Second

// Run works one outbox until ctx ends, then drains and releases it. Start order: log, metrics and health, dashboard, bundled broker, database, engine, chores; stop in
// reverse. It returns an error only for what a person must change before it can start, or for a broken invariant; outages are waited for.
func Run(ctx context.Context, o RunOptions) error {
	c, instance := o.Config, instanceName(o.Config)
	log := telemetry.NewLogger(o.LogTo, logOptions(c, instance))
	defer log.Close()
	tel := telemetry.New(telemetry.Options{Outbox: c.Name, Version: o.Version, Destinations: destinationNames(c), TopicsMax: c.Metrics.TopicsMax,
		Retention: retentionSeconds(c), Log: log.Logger})
	var health atomic.Pointer[telemetry.Health]
	health.Store(&telemetry.Health{})
	server, err := telemetry.Listen(c.Metrics.Listen, tel.Handler(c.Metrics.Path, func() telemetry.Health { return *health.Load() }))
	if err != nil {
		return &relay.ConfigError{Class: relay.ClassInvalid, Text: err.Error() + "; choose another address or end what listens there"}
	}
	defer closeServer(server)
	log.Info("started", "version", o.Version, "metrics", server.Addr().String())

	audits, err := openAudits(c, log.Logger)
	if err != nil {
		return err
	}
	defer audits.close()
	closeDashboard, err := startDashboard(c, log.Logger, o.Version, audits)
	if err != nil {
		return err
	}
	defer closeDashboard()

	bundled := o.Broker
	if bundled == nil {
		var stop func()
		if bundled, stop, err = runBundled(ctx, c, log.Logger); err != nil {
			return err
		}
		defer stop()
	}
	audits.readFrom(bundled)
	store, err := openStore(ctx, c, log.Logger)
	if err != nil || store == nil {
		return err
	}
	defer store.Close()
	var chores *chores
	events := tel.Events()
	acquired := events.Acquired
	events.Acquired = func(l relay.Lease) {
		acquired(l)
		chores.owned()
	}
	e, err := newEngine(c, instance, store, events, log.Logger, bundled)
	if err != nil {
		return err
	}
	tel.Watch(e.relay.Status)
	health.Store(&telemetry.Health{Status: e.relay.Status, Database: func(ctx context.Context) error { _, err := store.Registered(ctx); return err }})
	if chores, err = startChores(e, tel, log.Logger, o.Version); err != nil {
		return err
	}
	defer chores.stop()
	return e.run(ctx)
}

func logOptions(c *config.Config, instance string) telemetry.LogOptions {
	o := telemetry.LogOptions{Level: telemetry.ParseLevel(c.Logs.Level), Format: c.Logs.Format, Outbox: c.Name, Instance: instance}
	if n, ok := c.Logs.PerClassMax.Get(); ok {
		o.PerClassMax = int(n)
	}
	return o
}

func retentionSeconds(c *config.Config) float64 {
	if keep, ends := c.Retention.Sent.Get(); ends {
		return keep.Seconds()
	}
	return math.Inf(1)
}

func destinationNames(c *config.Config) (names []string) {
	for i := range c.Destinations {
		names = append(names, c.Destinations[i].Name)
	}
	return names
}

func closeServer(s *httpserver.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = s.Close(ctx) // nothing is lost with an answer that was cut
}

// openStore waits for the database and its schema. Nil without an error: ctx ended first.
func openStore(ctx context.Context, c *config.Config, log *slog.Logger) (*postgres.Store, error) {
	cfg, err := storeConfig(c)
	if err != nil {
		return nil, err
	}
	for said := ""; ; {
		store, err := postgres.Open(ctx, cfg)
		if err == nil {
			return store, nil
		}
		if ctx.Err() != nil {
			return nil, nil
		}
		wait := time.Second
		var config *relay.ConfigError
		if errors.As(err, &config) {
			wait = schemaEvery
		}
		if text := err.Error(); text != said {
			log.Error("the outbox cannot be opened; it is tried again", "every", wait, "err", err)
			said = text
		}
		if !pause(ctx, wait) {
			return nil, nil
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func storeConfig(c *config.Config) (postgres.Config, error) {
	cfg, err := peopleDatabase(c)
	if err != nil {
		return cfg, err
	}
	cfg.StatementTimeout, cfg.SchemaVersion = c.Database.Timeouts.Statement, migrations.Version
	if c.Database.DirectURL.IsSet() {
		if cfg.DirectURL, err = c.Database.DirectURL.Reveal(); err != nil {
			return cfg, &relay.ConfigError{Class: relay.ClassInvalid, Text: "database.direct_url: " + err.Error()}
		}
	}
	if n, ok := c.Relay.MaxUnsent.Get(); ok {
		cfg.MaxUnsent = int64(n)
	}
	return cfg, nil
}
