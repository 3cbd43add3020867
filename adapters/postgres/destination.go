package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

// PinDestination remembers at its first call which cluster the destination's name stands for, and from then on gives a *relay.ConfigError when the broker
// says that it is another one, or of another kind: a take-over by a relay with a broker of its own must not publish into a second cluster. Two names for
// one cluster are allowed. same says whether two ids are of one cluster, whose id changes with its brokers; nil = only when they are equal.
func (s *Store) PinDestination(ctx context.Context, name, kind, clusterID string, same func(pinned, answers string) bool) error {
	var knownKind, knownID string
	err := s.keeper.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, s.sql(`INSERT INTO outbox.destination (name, kind, cluster_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`), name, kind, clusterID)
		if err != nil {
			return err
		}
		return c.QueryRow(ctx, s.sql(`SELECT kind, cluster_id FROM outbox.destination WHERE name = $1`), name).Scan(&knownKind, &knownID)
	})
	if err != nil {
		return explain("pin destination "+name, err)
	}
	if knownKind != kind || knownID != clusterID && (same == nil || !same(knownID, clusterID)) {
		return &relay.ConfigError{Class: relay.ClassUnsafeBroker, Text: fmt.Sprintf("destination %q is another cluster than before: it was %s %q, now %s %q answers. "+
			"Nothing is sent there. Correct its address, or, if the change is meant, run: waybill destination adopt %s", name, knownKind, knownID, kind, clusterID, name)}
	}
	return nil
}

// Unsettled returns those of ids that are not marked sent: pending or held. For a broker that remembers ids, after Acquire.
func (s *Store) Unsettled(ctx context.Context, ids []relay.ID) (open []relay.ID, err error) {
	err = s.keeper.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, s.sql(`SELECT id FROM outbox.message_pending WHERE id = ANY($1) UNION ALL SELECT id FROM outbox.message_held WHERE id = ANY($1)`), ids)
		if err == nil {
			open, err = pgx.CollectRows(rows, pgx.RowTo[relay.ID])
		}
		return err
	})
	if err != nil {
		return nil, explain("ask for unsettled messages", err)
	}
	return open, nil
}
