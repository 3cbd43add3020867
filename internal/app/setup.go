package app

import (
	"context"
	"log/slog"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/doctor"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

// setUp says in the log what about the database makes messages lost, late or out of order: once each until it changes. Its methods may be called from one
// goroutine at a time.
type setUp struct{ said map[[2]string]string }

// warn takes the newest findings.
func (u *setUp) warn(log *slog.Logger, found []doctor.Finding) {
	said := map[[2]string]string{}
	for _, f := range found {
		if f.Level != relay.LevelFail {
			continue
		}
		of := [2]string{f.ID, f.Subject}
		if said[of] = f.Text; u.said[of] != f.Text {
			log.Warn("the database is set up so that the outbox does not keep its promises", "check", f.ID, "subject", f.Subject, "found", f.Text, "effect", f.Effect, "fix", f.Fix)
		}
	}
	u.said = said
}

// examine looks at the database as the doctor does.
func (c *chores) examine(ctx context.Context) error {
	cfg, err := storeConfig(c.e.config)
	if err != nil {
		return err
	}
	x, err := postgres.Examine(ctx, cfg)
	if err == nil {
		c.setUp.warn(c.log, doctor.JudgeDatabase(x, migrations.Version))
	}
	return err
}
