package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/config"
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
		"no file":     {func(d *config.Dashboard) { d.Auth.Basic.File = users + "x" }, true, "cannot be read", "cannot be read"},
		"no variable": {func(d *config.Dashboard) { d.Auth.Tokens["bot"] = config.SecretEnv("WAYBILL_TEST_NOT_SET") }, true, "dashboard.auth.tokens.bot", "WAYBILL_TEST_NOT_SET"},
		"short":       {func(d *config.Dashboard) { d.Auth.Tokens["bot"] = config.SecretText("swordfish") }, true, "needs 32", "needs 32"},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			cfg := config.Default()
			c.change(&cfg.Dashboard)
			logins, cause := dashboardLogins(cfg, slog.New(slog.NewTextHandler(&log, nil)))
			if (logins != nil) != c.named || !strings.Contains(cause, c.cause) || (cause == "") != (c.cause == "") {
				t.Errorf("logins %t, cause %q", logins != nil, cause)
			}
			if !strings.Contains(log.String(), c.logged) || (log.Len() == 0) != (c.logged == "") || strings.Contains(log.String(), "swordfish") {
				t.Errorf("the log says %q", log.String())
			}
		})
	}
}
