package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/dashboard"
	"github.com/waybillmq/waybill/internal/httpserver"
	"github.com/waybillmq/waybill/internal/mask"
	"github.com/waybillmq/waybill/relay"
)

// startDashboard serves the pages of the configuration, with or without a database; stop ends them. Without audits, nil, there are none.
func startDashboard(c *config.Config, log *slog.Logger, version string, audits dashboard.Auditor) (stop func(), err error) {
	listen, ok := c.Dashboard.Listen.Get()
	if !ok {
		return func() {}, nil
	}
	people, err := OpenPeople(c)
	if err != nil {
		return nil, err
	}
	o := dashboard.Options{Outbox: c.Name, Version: version, Inspector: people, Operator: people.operator, Planner: people.operator, Once: people.operator, Guide: guide{people}, Doctor: people.doctor, Auditor: audits,
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
	o.Token, o.NoToken = dashboardToken(c)
	o.Logins, o.NoLogins = dashboardLogins(c, log)
	o.Proxy = dashboardProxy(c.Dashboard.Auth.Proxy)
	if o.Token == "" && o.Logins == nil {
		log.Warn("nobody can act on the dashboard, which can only be looked at", "cause", o.NoToken)
	}
	reveals, closeReveals, err := dashboardReveals(c)
	if err != nil {
		people.Close()
		return nil, err
	}
	o.Reveals = reveals
	certificate, err := dashboardCertificate(c, &o, listen)
	var server *httpserver.Server
	if err == nil {
		server, err = dashboard.Listen(listen, certificate, dashboard.New(o), log)
	}
	if err != nil {
		closeReveals()
		people.Close()
		return nil, &relay.ConfigError{Class: relay.ClassInvalid, Text: err.Error() + "; see dashboard.listen and dashboard.tls: choose another address, or none, or end what listens there"}
	}
	log.Info("dashboard", "address", server.Addr().String())
	return func() {
		closeServer(server)
		closeReveals()
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

// hiddenCause is all that strangers are told.
const hiddenCause = "the names of dashboard.auth cannot be read, and the log of this relay says why"

// dashboardLogins returns those who have names; nil = nobody is meant to have one. What cannot be read lets nobody in, and keeps no relay from its work.
func dashboardLogins(c *config.Config, log *slog.Logger) (*dashboard.Logins, string) {
	if !c.Dashboard.Auth.Named() {
		return nil, ""
	}
	logins, err := readLogins(c.Dashboard)
	if err != nil {
		log.Error("nobody can sign in to the dashboard with a name", "cause", err)
		nobody, _ := dashboard.NewLogins(nil, nil, nil) // fails for a bad token only
		return nobody, hiddenCause
	}
	if names := logins.Unproved(); names != nil && c.Dashboard.Auth.Proxy.UserHeader == "" {
		log.Warn("names of dashboard.roles are not in dashboard.auth", "names", names)
	}
	return logins, ""
}

// dashboardProxy is the proxy whose word counts; nil = there is none. The configuration has checked its addresses, and one that cannot be read is not believed.
func dashboardProxy(c config.ProxyAuth) *dashboard.Proxy {
	if c.UserHeader == "" {
		return nil
	}
	p := &dashboard.Proxy{UserHeader: c.UserHeader, RoleHeader: c.RoleHeader}
	for _, s := range c.Trusted {
		if of, wrong := config.ParseTrusted(s); wrong == "" {
			p.Trusted = append(p.Trusted, of)
		}
	}
	return p
}

func readLogins(c config.Dashboard) (*dashboard.Logins, error) {
	var users map[string][]byte
	var err error
	if c.Auth.Basic.File != "" {
		if users, err = dashboard.Users(c.Auth.Basic.File); err != nil {
			return nil, err
		}
	}
	tokens := map[string]string{}
	for name, secret := range c.Auth.Tokens {
		if tokens[name], err = secret.Reveal(); err != nil {
			return nil, fmt.Errorf("dashboard.auth.tokens.%s: %w", name, err)
		}
	}
	return dashboard.NewLogins(users, tokens, map[dashboard.Role][]string{dashboard.RoleViewer: c.Roles.Viewer.Names, dashboard.RoleOperator: c.Roles.Operator.Names,
		dashboard.RoleAdmin: c.Roles.Admin.Names, dashboard.RolePayload: c.Roles.Payload.Names})
}

// dashboardCertificate reads what dashboard.tls names, nil = nothing, and lets people ask for the very address that is listened on.
func dashboardCertificate(c *config.Config, o *dashboard.Options, listen string) (*dashboard.Certificate, error) {
	if c.Dashboard.TLS.Cert == "" {
		return nil, nil
	}
	o.Secure = true
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" {
		if ip, err := netip.ParseAddr(host); err != nil || !ip.IsUnspecified() {
			o.AllowedHosts = append(slices.Clone(o.AllowedHosts), host)
		}
	}
	return dashboard.NewCertificate(c.Dashboard.TLS.Cert, c.Dashboard.TLS.Key)
}

// dashboardReveals shows payloads where somebody may see them; nil = nobody may.
func dashboardReveals(c *config.Config) (r *dashboard.Reveals, end func(), err error) {
	if len(c.Dashboard.Roles.Payload.Names) == 0 {
		return nil, func() {}, nil
	}
	db, err := peopleDatabase(c)
	if err != nil {
		return nil, nil, err
	}
	if c.Dashboard.PayloadURL.IsSet() {
		if db.URL, err = c.Dashboard.PayloadURL.Reveal(); err != nil {
			return nil, nil, &relay.ConfigError{Class: relay.ClassInvalid, Text: "dashboard.payload_url: " + err.Error()}
		}
	}
	rules := make([]mask.Rule, len(c.Privacy.Masks))
	for i, m := range c.Privacy.Masks {
		rules[i] = mask.Rule{Topics: m.Topics, Paths: m.JSONPaths, Headers: m.Headers}
	}
	masks, err := mask.New(rules)
	if err != nil {
		return nil, nil, &relay.ConfigError{Class: relay.ClassInvalid, Text: "privacy.masks: " + err.Error()}
	}
	from, err := postgres.OpenRevealer(db)
	if err != nil {
		return nil, nil, err
	}
	return &dashboard.Reveals{From: from, Masks: masks, Topics: c.Dashboard.Roles.Payload.Topics}, from.Close, nil
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
