package config

import (
	"net/url"
	"strings"
	"time"
)

// Alerts configures the one webhook that is told what a person should look at.
type Alerts struct {
	Webhook Webhook       `key:"webhook" help:"where alerts are posted; without an address nobody watches"`
	Rules   []string      `key:"rules" enum:"stuck|dead|blocked|destination|no_owner|cache_full" help:"what is an alert: messages pending for too long, dead messages, closed keys, a destination that takes nothing, no relay or no database, a degraded cache that is full"`
	Repeat  time.Duration `key:"repeat" min:"1m" max:"30d" help:"an alert that lasts is posted again after this time"`
	Timeout time.Duration `key:"timeout" min:"100ms" max:"1m" help:"of one post; a failed one is tried up to eight times within half an hour"`
}

// Webhook is where alerts go.
type Webhook struct {
	URL    Secret `key:"url" null:"true" help:"https://…; a secret, since such addresses often hold a token. null: no alerts"`
	Secret Secret `key:"secret" null:"true" help:"signs each post (HMAC-SHA256); required with url, 32 bytes or more"`
}

// DefaultAlerts returns the defaults: all rules, and nowhere to post.
func DefaultAlerts() Alerts {
	return Alerts{Rules: []string{"stuck", "dead", "blocked", "destination", "no_owner", "cache_full"}, Repeat: 4 * time.Hour, Timeout: 10 * time.Second}
}

func (d *decoder) validateAlerts() {
	w := d.root.Alerts.Webhook
	if w.URL.IsSet() && !w.Secret.IsSet() {
		d.at("alerts.webhook.secret", "is missing: without a signature a receiver cannot tell our posts from others. Give { env: NAME } or { file: PATH } with 32 bytes or more")
	}
	if w.Secret.IsSet() && !w.URL.IsSet() {
		d.warn("alerts.webhook.url", "is null: nothing is posted")
	}
}

// checkOrigin says what is wrong with the address under which browsers reach the pages.
func checkOrigin(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "is no address of the dashboard: write https://host or https://host:port, without a path"
	}
	return ""
}
