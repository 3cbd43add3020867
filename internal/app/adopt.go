package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/waybillmq/waybill/relay"
)

// Clusters are what a destination's name stood for until now, and what answers at its addresses.
type Clusters struct{ Pinned, Answers string }

// Clusters asks the database and the broker about a destination of the configuration.
func (p *People) Clusters(ctx context.Context, name string) (c Clusters, err error) {
	d := p.config.Destination(name)
	if d == nil {
		return c, fmt.Errorf("%w: there is no destination %q in the configuration", relay.ErrNotFound, name)
	}
	if _, c.Pinned, err = p.inspector.Pinned(ctx, name); err != nil {
		if errors.Is(err, relay.ErrNotFound) {
			err = fmt.Errorf("%w: destination %q was never used by this outbox: it takes the first cluster that answers", relay.ErrNotFound, name)
		}
		return c, err
	}
	found, err := checkDestination(ctx, p.config, d)
	if err != nil {
		return c, fmt.Errorf("ask %s which cluster it is: %w", name, err)
	}
	if found.Cluster == "" {
		return c, fmt.Errorf("%s did not say which cluster it is", name)
	}
	c.Answers = found.Cluster
	return c, nil
}

// AdoptDestination makes the name stand for that cluster from now on, and returns the row of the activity log.
func (p *People) AdoptDestination(ctx context.Context, name, cluster, reason string) (activity int64, err error) {
	return p.operator.Adopt(ctx, name, cluster, relay.Act{Actor: Actor(), Via: "cli", Reason: reason})
}
