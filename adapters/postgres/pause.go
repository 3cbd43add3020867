package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

const sqlPaused = `SELECT p.destination, p.at, p.actor, p.reason FROM outbox.pause p ORDER BY p.destination LIMIT 1000`

func scanPaused(r pgx.CollectableRow) (p relay.PausedDestination, err error) {
	err = r.Scan(&p.Destination, &p.At, &p.Actor, &p.Reason)
	p.At = p.At.UTC()
	return p, err
}

// Paused implements relay.Pauser. It shares the connection of the claims: while those cannot be made, nothing new is sent either.
func (s *Store) Paused(ctx context.Context, lease relay.Lease) (all []relay.PausedDestination, err error) {
	own, err := s.owner(lease)
	if err != nil {
		return nil, err
	}
	err = own.claimer.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, s.sql(sqlPaused))
		if err == nil {
			all, err = pgx.CollectRows(rows, scanPaused)
		}
		return err
	})
	return all, explain("paused destinations", err)
}

// Pause implements relay.Operator.
func (o *Operator) Pause(ctx context.Context, destination string, act relay.Act) (activity int64, err error) {
	return o.stop(ctx, "pause", destination, act)
}

// Resume implements relay.Operator.
func (o *Operator) Resume(ctx context.Context, destination string, act relay.Act) (activity int64, err error) {
	return o.stop(ctx, "resume", destination, act)
}

func (o *Operator) stop(ctx context.Context, name, destination string, act relay.Act) (activity int64, err error) {
	err = o.again(ctx, name, func(ctx context.Context) error {
		return o.db(ctx).QueryRow(ctx, o.sql(`SELECT outbox.`+name+`($1, $2, $3, $4, $5)`), destination, act.Actor, null(act.Reason), act.Via, null(act.Address)).Scan(&activity)
	})
	return activity, refusal(err)
}

var _ relay.Pauser = (*Store)(nil)
