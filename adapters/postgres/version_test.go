package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

// F14: a schema that is older than the program is refused before anything is owned, in words that say what to run; one that is newer is worked.
func TestOlderSchemaIsRefused_F14(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		open := func(needs int) error {
			s, err := postgres.Open(ctxOf(t), postgres.Config{URL: d.asLogin(d.url), SchemaVersion: needs})
			if err == nil {
				s.Close()
			}
			return err
		}
		refused := func(when, want string) {
			t.Helper()
			err := open(migrations.Version)
			var config *relay.ConfigError
			if !errors.As(err, &config) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "run: waybill migrate up") {
				t.Errorf("%s: %v", when, err)
			}
		}
		if _, err := migrations.Down(ctxOf(t), d.url, migrations.Options{}, migrations.Version-1); err != nil {
			t.Fatal(err)
		}
		refused("one version older", "this program needs")
		if err := open(migrations.Version - 1); err != nil {
			t.Errorf("a program of that version: %v", err)
		}
		if _, err := migrations.Up(ctxOf(t), d.url, migrations.Options{}); err != nil {
			t.Fatal(err)
		}
		for needs := migrations.Version - 1; needs <= migrations.Version; needs++ {
			if err := open(needs); err != nil {
				t.Errorf("a program that needs %d on version %d: %v", needs, migrations.Version, err)
			}
		}
		d.exec(`ALTER FUNCTION outbox.version() RENAME TO version_gone`)
		refused("without a version", "is version 0, this program needs")
	})
}
