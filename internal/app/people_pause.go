package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// PauseDestination stops a destination, or with an empty name all of them, until a moment; zero = until it is resumed. It returns the row of the activity log.
func (p *People) PauseDestination(ctx context.Context, name string, until time.Time, reason string) (activity int64, err error) {
	if err := p.knows(ctx, name); err != nil {
		return 0, err
	}
	return p.operator.Pause(ctx, name, until, relay.Act{Actor: Actor(), Via: "cli", Reason: reason})
}

// ResumeDestination takes such a pause back, also of a destination that is in no configuration any more.
func (p *People) ResumeDestination(ctx context.Context, name, reason string) (activity int64, err error) {
	return p.operator.Resume(ctx, name, relay.Act{Actor: Actor(), Via: "cli", Reason: reason})
}

// endPauses writes down what is over: the owner goes on without it.
func (c *chores) endPauses(ctx context.Context) error {
	_, err := c.e.store.EndPauses(ctx)
	return err
}

// knows refuses a name that nobody uses: a pause under a wrong name would stop nothing.
func (p *People) knows(ctx context.Context, name string) error {
	if name == "" || slices.ContainsFunc(p.config.Destinations, func(d config.Destination) bool { return d.Name == name }) {
		return nil
	}
	o, err := p.Overview(ctx)
	if err != nil || slices.Contains(o.Reported(), name) {
		return err
	}
	return fmt.Errorf("%w: no destination %q is configured here, and no relay reports one", relay.ErrNotFound, name)
}
