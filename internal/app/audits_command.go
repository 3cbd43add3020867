package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// Audit compares what was written, sent and stored from one id to another, 0 = not said, and waits for the result. A bundled broker runs in another process and cannot be
// read back from here. A *relay.StateError says that these ids cannot be compared, or that an audit runs already.
func Audit(ctx context.Context, c *config.Config, from, to relay.ID, reason string) (audit.Run, error) {
	a, err := openAudits(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return audit.Run{}, err
	}
	defer a.close()
	lo, hi, err := a.Bounds(ctx)
	if err != nil {
		return audit.Run{}, err
	}
	first, last, err := audit.Window(int64(lo), int64(hi), int64(from), int64(to))
	if err != nil {
		return audit.Run{}, &relay.StateError{Text: err.Error()}
	}
	if _, err := a.Begin(ctx, relay.ID(first), relay.ID(last), relay.Act{Actor: Actor(), Via: "cli", Reason: reason}); err != nil {
		return audit.Run{}, err
	}
	ended := make(chan struct{})
	go func() { a.done.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		a.stop()
		<-ended
	}
	return a.ended[0], ctx.Err() // it is the only one of this process, and has ended
}

// Audits are those that have ended, newest first, as far as the activity log tells.
func Audits(ctx context.Context, c *config.Config) ([]audit.Run, error) {
	a, err := openAudits(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer a.close()
	return a.Ended(ctx)
}

// AuditOf is one of those.
func AuditOf(ctx context.Context, c *config.Config, id int64) (audit.Run, error) {
	all, err := Audits(ctx, c)
	if err != nil {
		return audit.Run{}, err
	}
	i := slices.IndexFunc(all, func(r audit.Run) bool { return r.ID == id })
	if i < 0 {
		return audit.Run{}, fmt.Errorf("%w: audit %d is not among the last ones", relay.ErrNotFound, id)
	}
	return all[i], nil
}
