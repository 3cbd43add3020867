package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// RunOptions say what Run runs.
type RunOptions struct {
	Config  *config.Config
	LogTo   io.Writer // standard error
	Version string
}

// schemaEvery is how often a relay that lacks its schema or its database looks again: a sidecar that exits would hold up its application.
const schemaEvery = 30 * time.Second

// Run works one outbox until ctx ends, then drains and releases it. Start order: metrics and health, database, engine, chores; stop in reverse. It returns
// an error only for what a person must change, or for a broken invariant; outages are waited for.
func Run(ctx context.Context, o RunOptions) error {
	log := slog.New(slog.NewTextHandler(o.LogTo, nil))
	store, err := openStore(ctx, o.Config, log)
	if err != nil || store == nil {
		return err
	}
	defer store.Close()
	var c *chores
	events := relay.Events{}
	events.Acquired = func(relay.Lease) { c.owned() }
	e, err := newEngine(o.Config, instanceName(o.Config), store, events)
	if err != nil {
		return err
	}
	if c, err = startChores(e, log, o.Version); err != nil {
		return err
	}
	defer c.stop()
	return e.relay.Run(ctx)
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
	cfg.StatementTimeout = c.Database.Timeouts.Statement
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
