package app

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/dashboard"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

// S15: names that are configured and cannot be read open nothing: there are logins, nobody passes them, and the log and the login page say why.
func TestNamesThatCannotBeRead_S15(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("ana:$2y$12$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*config.Dashboard)
		named  bool
		cause  string
		logged string
	}{
		"nobody":      {func(d *config.Dashboard) {}, false, "", ""},
		"read":        {func(d *config.Dashboard) { d.Auth.Basic.File, d.Roles.Viewer.Names = users, []string{"ana"} }, true, "", ""},
		"no login":    {func(d *config.Dashboard) { d.Auth.Basic.File, d.Roles.Viewer.Names = users, []string{"ben"} }, true, "", "ben"},
		"no file":     {func(d *config.Dashboard) { d.Auth.Basic.File = users + "x" }, true, "the log of this relay says why", "cannot be read"},
		"no variable": {func(d *config.Dashboard) { d.Auth.Tokens["bot"] = config.SecretEnv("WAYBILL_TEST_NOT_SET") }, true, "the log of this relay says why", "WAYBILL_TEST_NOT_SET"},
		"short":       {func(d *config.Dashboard) { d.Auth.Tokens["bot"] = config.SecretText("swordfish") }, true, "the log of this relay says why", "needs 32"},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			cfg := config.Default()
			c.change(&cfg.Dashboard)
			logins, cause := dashboardLogins(cfg, slog.New(slog.NewTextHandler(&log, nil)))
			if (logins != nil) != c.named || !strings.Contains(cause, c.cause) || (cause == "") != (c.cause == "") || strings.Contains(cause, users) {
				t.Errorf("logins %t, cause %q", logins != nil, cause)
			}
			if !strings.Contains(log.String(), c.logged) || (log.Len() == 0) != (c.logged == "") || strings.Contains(log.String(), "swordfish") {
				t.Errorf("the log says %q", log.String())
			}
		})
	}
}

// The proxy of the configuration is the one that is believed, and its people need no password.
func TestConfiguredProxy_S18(t *testing.T) {
	c := config.Default()
	if p := dashboardProxy(c.Dashboard.Auth.Proxy); p != nil {
		t.Errorf("nobody named a proxy: %+v", p)
	}
	c.Dashboard.Auth.Proxy = config.ProxyAuth{UserHeader: "X-User", RoleHeader: "X-Role", Trusted: []string{"10.0.0.7", "10.0.7.0/28", "nonsense"}}
	c.Dashboard.Roles.Viewer.Names = []string{"ana"}
	p := dashboardProxy(c.Dashboard.Auth.Proxy)
	if p.UserHeader != "X-User" || p.RoleHeader != "X-Role" || len(p.Trusted) != 2 || p.Trusted[0].String() != "10.0.0.7/32" || p.Trusted[1].String() != "10.0.7.0/28" {
		t.Errorf("%+v", p)
	}
	var log strings.Builder
	if logins, cause := dashboardLogins(c, slog.New(slog.NewTextHandler(&log, nil))); logins == nil || cause != "" || log.Len() > 0 {
		t.Errorf("names of a proxy: %v, %q, %s", logins, cause, log.String())
	}
}

// What the configuration says is what counts: each name has its roles, topics of the role payload and masks are those of the file.
func TestConfiguredRolesAndMasks_S13_S18(t *testing.T) {
	database := testservices.Postgres(t, 18).URL
	if _, err := migrations.Up(t.Context(), database, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `INSERT INTO outbox.message_log (topic, headers, payload) VALUES ('order.paid', '{"Cookie": "canary-header"}', '{"email": "canary", "n": 1}'), ('mail.out', NULL, '{"n": 1}')`); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	listen := freeListen("127.0.0.1:0")
	c.Name, c.Database.URL, c.Dashboard.Listen, c.Dashboard.TokenFile = "orders", config.SecretText(database), config.Some(listen), config.None[string]()
	roles := &c.Dashboard.Roles
	roles.Viewer.Names, roles.Operator.Names, roles.Admin.Names, roles.Payload.Names = []string{"v"}, []string{"o"}, []string{"a"}, []string{"p"}
	roles.Payload.Topics = []string{"order.*"}
	for _, name := range []string{"v", "o", "a", "p"} {
		c.Dashboard.Auth.Tokens[name] = config.SecretText(name + strings.Repeat("0", 32))
	}
	stop, err := startDashboard(c, slog.New(slog.DiscardHandler), "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ask := func(name, method, path string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+listen+"/api/v1"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+name+strings.Repeat("0", 32))
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	for _, c := range []struct {
		method, path string
		codes        map[string]int
	}{
		{"GET", "/destinations", map[string]int{"v": 200, "o": 200, "a": 200, "p": 403, "x": 401}},
		{"POST", "/messages/99/retry", map[string]int{"v": 403, "o": 404, "a": 404, "p": 403, "x": 401}},
		{"GET", "/activity", map[string]int{"v": 403, "o": 403, "a": 200, "p": 403, "x": 401}},
		{"POST", "/messages/1/reveal", map[string]int{"v": 403, "o": 403, "a": 403, "p": 200, "x": 401}},
		{"POST", "/messages/2/reveal", map[string]int{"p": 403}},
	} {
		for name, want := range c.codes {
			code, body := ask(name, c.method, c.path)
			if code != want || strings.Contains(body, "canary") {
				t.Errorf("%s %s by %s: %d %s, want %d", c.method, c.path, name, code, body, want)
			}
			if code == 200 && c.method == "POST" && (!strings.Contains(body, `"masked": 2`) || !strings.Contains(body, `\"n\": 1`)) {
				t.Errorf("%s", body)
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// Without names in the role payload there is nothing to show payloads with; an address that cannot be read is said at the start.
func TestNobodyRevealsByDefault_S13(t *testing.T) {
	c := config.Default()
	c.Database.URL = config.SecretText("postgres://127.0.0.1:1/none")
	if r, end, err := dashboardReveals(c); r != nil || err != nil {
		t.Errorf("%v, %v", r, err)
	} else {
		end()
	}
	c.Dashboard.Roles.Payload.Names, c.Dashboard.PayloadURL = []string{"ana"}, config.SecretEnv("WAYBILL_TEST_NOT_SET")
	var wrong *relay.ConfigError
	if r, _, err := dashboardReveals(c); r != nil || !errors.As(err, &wrong) || !strings.Contains(err.Error(), "dashboard.payload_url") {
		t.Errorf("%v, %v", r, err)
	}
	c.Dashboard.PayloadURL = config.SecretText("postgres://127.0.0.1:1/other")
	c.Privacy.Masks = append(c.Privacy.Masks, config.Mask{Topics: []string{"*"}, JSONPaths: []string{"email"}})
	if r, _, err := dashboardReveals(c); r != nil || !errors.As(err, &wrong) || !strings.Contains(err.Error(), "privacy.masks") {
		t.Errorf("%v, %v", r, err)
	}
}

// S10, S15: a certificate that cannot be read is said at the start, and never leaves the pages in plain text; with one, people may ask for the address that is listened on.
func TestConfiguredCertificate_S10_S15(t *testing.T) {
	c := config.Default()
	c.Name, c.Database.URL, c.Dashboard.Listen, c.Dashboard.TokenFile = "orders", config.SecretText("postgres://127.0.0.1:1/none"), config.Some("127.0.0.1:0"), config.None[string]()
	c.Dashboard.TLS = config.ServerTLS{Cert: filepath.Join(t.TempDir(), "cert.pem"), Key: filepath.Join(t.TempDir(), "key.pem")}
	var wrong *relay.ConfigError
	if stop, err := startDashboard(c, slog.New(slog.DiscardHandler), "test", nil); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "dashboard.tls") {
		t.Errorf("%v", err)
		if stop != nil {
			stop()
		}
	}
	for listen, want := range map[string]string{"ops.example:8443": "ops.example", "192.0.2.7:8443": "192.0.2.7", "0.0.0.0:8443": "", "[::]:8443": "", ":8443": ""} {
		o := dashboard.Options{}
		if _, err := dashboardCertificate(c, &o, listen); err == nil || !o.Secure || strings.Join(o.AllowedHosts, " ") != want {
			t.Errorf("%s: %v, hosts %q", listen, err, o.AllowedHosts)
		}
		c.Dashboard.Listen = config.Some(listen)
		if got := dashboardBase(c); got != "https://"+listen {
			t.Errorf("alerts lead to %s", got)
		}
	}
}
