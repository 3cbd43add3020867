package app

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/alerts"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/telemetry"
	"github.com/waybillmq/waybill/relay"
)

// alertEvery is how often a relay looks at the outbox for alerts.
const alertEvery = 15 * time.Second

// alerter watches the outbox for the webhook. look runs in one goroutine at a time.
type alerter struct {
	e       *engine
	from    *postgres.Inspector
	rules   []alerts.Rule
	machine *alerts.Machine
	sender  *alerts.Sender
	posts   bool // whether this relay was the one that posts, when the database said so last
}

// newAlerter returns nil when there is no webhook.
func newAlerter(e *engine, from *postgres.Inspector, tel *telemetry.Telemetry, log *slog.Logger) (*alerter, error) {
	if !e.config.Alerts.Webhook.URL.IsSet() {
		return nil, nil
	}
	a := &alerter{e: e, from: from, machine: alerts.NewMachine(e.config.Alerts.Repeat)}
	for _, r := range e.config.Alerts.Rules {
		a.rules = append(a.rules, alerts.Rule(r))
	}
	o, err := alertOptions(e.config)
	if err != nil {
		return nil, err
	}
	o.Failed = func(err error) { log.Warn("an alert could not be posted and is tried again", "err", err) }
	o.GaveUp = func(event alerts.Event, err error) {
		tel.AlertLost()
		log.Error("an alert was not posted: the webhook did not take it", "rule", string(event.Rule), "destination", event.Destination, "err", err)
	}
	a.sender, err = newSender(o)
	return a, err
}

func alertOptions(c *config.Config) (alerts.Options, error) {
	url, err := c.Alerts.Webhook.URL.Reveal()
	if err != nil {
		return alerts.Options{}, &relay.ConfigError{Class: relay.ClassInvalid, Text: "alerts.webhook.url: " + err.Error()}
	}
	return alerts.Options{Outbox: c.Name, URL: url, Secret: c.Alerts.Webhook.Secret.Reveal, Base: dashboardBase(c), Timeout: c.Alerts.Timeout}, nil
}

func newSender(o alerts.Options) (*alerts.Sender, error) {
	s, err := alerts.NewSender(o)
	if err != nil {
		return nil, &relay.ConfigError{Class: relay.ClassInvalid, Text: err.Error()}
	}
	return s, nil
}

// checkWebhook says what keeps a relay with this webhook from starting.
func checkWebhook(c *config.Config) error {
	if !c.Alerts.Webhook.URL.IsSet() {
		return nil
	}
	o, err := alertOptions(c)
	if err == nil {
		_, err = newSender(o)
	}
	return err
}

// dashboardBase is where people reach the pages; empty = there are none.
func dashboardBase(c *config.Config) string {
	listen, on := c.Dashboard.Listen.Get()
	switch {
	case c.Dashboard.PublicURL != "":
		return strings.TrimRight(c.Dashboard.PublicURL, "/")
	case !on:
		return ""
	}
	if c.Dashboard.TLS.Cert != "" {
		return "https://" + listen
	}
	return "http://" + listen
}

// look takes in the present state and queues what is to be posted.
func (a *alerter) look(ctx context.Context) error {
	f := alerts.Facts{StuckAfter: a.e.config.Relay.StuckAfter}
	var groupsErr error
	if f.Overview, f.Err = a.from.Overview(ctx); f.Err == nil {
		f.Failures, groupsErr = a.from.Failures(ctx)
	}
	l := alerts.Look{At: time.Now(), Conditions: alerts.Conditions(f, a.rules)}
	switch {
	case f.Err != nil: // nothing was seen but that
		l.Partial = func(r alerts.Rule) bool { return r != alerts.NoOwner }
	case groupsErr != nil || len(f.Failures) >= relay.MaxPage: // there may be more failure groups
		l.Partial = func(r alerts.Rule) bool { return r == alerts.Dead }
	}
	if f.Err == nil {
		a.posts = alerts.Posts(f.Overview, a.e.instance, a.e.relay.Status().Owner)
	}
	l.Posts = a.posts
	a.sender.Send(a.machine.Step(l)...)
	return errors.Join(f.Err, groupsErr)
}

// TryAlert posts a test to the webhook of the configuration, once. The error says in a sentence why it did not arrive.
func TryAlert(ctx context.Context, c *config.Config) error {
	if !c.Alerts.Webhook.URL.IsSet() {
		return &relay.ConfigError{Class: relay.ClassInvalid, Text: "alerts.webhook.url is not set: there is nowhere to post to"}
	}
	o, err := alertOptions(c)
	if err != nil {
		return err
	}
	s, err := newSender(o)
	if err != nil {
		return err
	}
	return s.Post(ctx, alerts.Trial(time.Now()))
}
