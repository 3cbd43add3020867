package app

import (
	"context"
	"log/slog"
	"net/url"
	"slices"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/dashboard"
	"github.com/waybillmq/waybill/relay"
)

// startDashboard serves the pages of the configuration, with or without a database; stop ends them.
func startDashboard(c *config.Config, log *slog.Logger, version string) (stop func(), err error) {
	listen, ok := c.Dashboard.Listen.Get()
	if !ok {
		return func() {}, nil
	}
	people, err := OpenPeople(c)
	if err != nil {
		return nil, err
	}
	o := dashboard.Options{Outbox: c.Name, Version: version, Inspector: people, Operator: people.operator, Planner: people.operator, Once: people.operator, Guide: guide{people}, Doctor: people.doctor,
		AllowedHosts: c.Dashboard.AllowedHosts, ReadOnly: c.Dashboard.ReadOnly, Log: log}
	if u, err := url.Parse(c.Dashboard.PublicURL); err == nil && u.Hostname() != "" {
		o.AllowedHosts = append(slices.Clone(o.AllowedHosts), u.Hostname())
	}
	if c.Alerts.Webhook.URL.IsSet() {
		o.TryAlert = func(ctx context.Context) error { return TryAlert(ctx, c) }
	}
	for i := range c.Destinations {
		o.Destinations = append(o.Destinations, dashboard.Destination{Name: c.Destinations[i].Name, Kind: c.Destinations[i].Kind})
	}
	if o.Token, o.NoToken = dashboardToken(c); o.Token == "" {
		log.Warn("nobody can act on the dashboard, which can only be looked at", "cause", o.NoToken)
	}
	server, err := dashboard.Listen(listen, dashboard.New(o), log)
	if err != nil {
		people.Close()
		return nil, &relay.ConfigError{Class: relay.ClassInvalid, Text: err.Error() + "; choose another dashboard.listen, or none, or end what listens there"}
	}
	log.Info("dashboard", "address", server.Addr().String())
	return func() {
		closeServer(server)
		people.Close()
	}, nil
}

// dashboardToken returns the token, or why there is none: a relay does its work also where nobody can act on its pages.
func dashboardToken(c *config.Config) (token, cause string) {
	file, ok := c.Dashboard.TokenFile.Get()
	if !ok {
		return "", "dashboard.token_file is none"
	}
	token, err := dashboard.Token(file)
	if err != nil {
		return "", err.Error()
	}
	return token, ""
}

// guide gives the dashboard the answers of `waybill why`.
type guide struct{ people *People }

// Outbox implements dashboard.Guide.
func (g guide) Outbox(o relay.Overview) dashboard.Answer {
	s := g.people.about(Question{})
	s.Overview = &o
	return shown(Why(s))
}

// Message implements dashboard.Guide.
func (g guide) Message(ctx context.Context, id relay.ID) (dashboard.Answer, error) {
	a, err := g.people.Why(ctx, Question{Ref: id.String()})
	return shown(a), err
}

func shown(a Answer) dashboard.Answer {
	return dashboard.Answer{Verdict: string(a.Verdict), Subject: a.Subject, Healthy: a.Verdict.Healthy(), Since: a.Since, Evidence: a.Evidence, Next: a.Next}
}
