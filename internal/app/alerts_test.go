package app

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/alerts"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
)

const hookSecret = "hook-canary-0123456789abcdef01234"

// hook receives posts whose signature is right.
func hook(t *testing.T) (url string, posts chan map[string]any) {
	posts = make(chan map[string]any, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		given := r.Header.Get(alerts.SignatureHeader)
		seconds, _, _ := strings.Cut(strings.TrimPrefix(given, "t="), ",")
		at, err := strconv.ParseInt(seconds, 10, 64)
		if err != nil || given != alerts.Sign(hookSecret, time.Unix(at, 0), body) {
			t.Errorf("signature %q", given)
		}
		p := map[string]any{}
		if err := json.Unmarshal(body, &p); err != nil {
			t.Error(err)
		}
		posts <- p
	}))
	t.Cleanup(server.Close)
	return server.URL + "/token-canary", posts
}

// A relay that becomes owner posts what is dead, with a link to the page that shows it; nothing of address, secret, key or payload is in post or log.
func TestARunningRelayPostsAlerts(t *testing.T) {
	database := testservices.Postgres(t, 18).URL
	if _, err := migrations.Up(t.Context(), database, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `INSERT INTO outbox.message_log (topic, key, payload) VALUES ('order.paid', 'key-canary', 'payload-canary');
		DELETE FROM outbox.message_pending;
		INSERT INTO outbox.message_held (id, state, topic, key, destination, attempts, outcome, class, error, first_failed_at, fingerprint)
		VALUES (1, 'dead', 'order.paid', 'key-canary', 'local', 1, 'rejected', 'too_large', 'text-canary', now(), 15)`); err != nil {
		t.Fatal(err)
	}
	url, posts := hook(t)
	c := config.Default()
	c.Name, c.Metrics.Listen, c.Database.URL, c.Dashboard.Listen = "orders", "127.0.0.1:0", config.SecretText(database), config.None[string]()
	c.Dashboard.PublicURL = "https://ops.example/"
	c.Broker.Enabled, c.Broker.Dir, c.Broker.SegmentSize, c.Broker.Topics.Create = true, filepath.Join(t.TempDir(), "broker"), 8*config.MiB, []string{"order.paid"}
	c.Destinations = []config.Destination{{Name: "local", Kind: config.KindWaybillBroker}}
	c.Routes = []config.Route{{Name: "all", Match: config.Match{Topic: "*"}, To: config.To{Destination: "local", Topic: "{topic}"}, Retry: c.Retry, OnDead: "block"}}
	c.Alerts.Webhook = config.Webhook{URL: config.SecretText(url), Secret: config.SecretText(hookSecret)}

	ctx, stop := context.WithCancel(context.Background())
	log, done := &logBuffer{}, make(chan error, 1)
	go func() { done <- Run(ctx, RunOptions{Config: c, LogTo: log, Version: "test"}) }()
	defer func() {
		stop()
		if err := <-done; err != nil || t.Failed() {
			t.Errorf("the relay ended: %v\n%s", err, log.tail())
		}
		if strings.Contains(log.tail(), "canary") {
			t.Errorf("a secret is in the log: %s", log.tail())
		}
	}()
	select {
	case p := <-posts:
		for name, want := range map[string]string{"id": "orders/dead/local/000000000000000f", "status": "firing", "rule": "dead", "count": "1", "headline": "1 message is dead at local: too_large",
			"link": "https://ops.example/messages?q=state%3Adead+failure%3A000000000000000f", "next": "waybill message list 'state:dead failure:000000000000000f'"} {
			if p[name] != want {
				t.Errorf("%s is %v, want %s", name, p[name], want)
			}
		}
		if text, err := json.Marshal(p); err != nil || strings.Contains(string(text), "canary") {
			t.Errorf("%s, %v", text, err)
		}
	case <-time.After(patience):
		t.Fatal("nothing was posted")
	}
	eventually(t, "the log says how the database is set up", func() bool { return strings.Contains(log.tail(), `"check":"database.fsync"`) }) // those of the tests are fast, not safe
	if err := TryAlert(t.Context(), c); err != nil {
		t.Error(err)
	}
	for p := range posts {
		if p["status"] == "test" {
			break
		}
	}
}

// What is wrong with the webhook is said before the relay works, and without its address.
func TestWebhookThatCannotBe(t *testing.T) {
	c := config.Default()
	for want, w := range map[string]config.Webhook{
		"alerts.webhook.url is not set":                {},
		"alerts.webhook.url is no address":             {URL: config.SecretText("canary"), Secret: config.SecretText(hookSecret)},
		"alerts.webhook.secret has 5 bytes":            {URL: config.SecretText("http://127.0.0.1:1/canary"), Secret: config.SecretText("short")},
		"the webhook cannot be reached":                {URL: config.SecretText("http://127.0.0.1:1/canary"), Secret: config.SecretText(hookSecret)},
		"environment variable NO_SUCH_HOOK is not set": {URL: config.SecretEnv("NO_SUCH_HOOK"), Secret: config.SecretText(hookSecret)},
	} {
		c.Alerts.Webhook = w
		err := TryAlert(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A link leads to where people reach the pages.
func TestDashboardBase(t *testing.T) {
	c := config.Default()
	if got := dashboardBase(c); got != "http://127.0.0.1:8088" {
		t.Error(got)
	}
	c.Dashboard.Listen = config.None[string]()
	if got := dashboardBase(c); got != "" {
		t.Error(got)
	}
	c.Dashboard.PublicURL = "https://ops.example/"
	if got := dashboardBase(c); got != "https://ops.example" {
		t.Error(got)
	}
}
