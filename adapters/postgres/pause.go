package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/waybillmq/waybill/relay"
)

// A pause whose end has come stops nothing, whether or not it was taken back meanwhile.
const sqlPaused = `SELECT p.destination, p.at, p.actor, p.reason, p.until FROM outbox.pause p WHERE p.until IS NULL OR p.until > clock_timestamp() ORDER BY p.destination LIMIT 1000`

func scanPaused(r pgx.CollectableRow) (p relay.PausedDestination, err error) {
	err = r.Scan(&p.Destination, &p.At, &p.Actor, &p.Reason, opt(&p.Until))
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

// EndPauses writes into the activity log which pauses are over, and forgets them. For every few seconds; it is no condition for going on.
func (s *Store) EndPauses(ctx context.Context) (n int, err error) {
	err = s.keep(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, s.sql(`SELECT CASE WHEN EXISTS (SELECT FROM outbox.pause p WHERE p.until <= clock_timestamp()) THEN outbox.end_pauses() ELSE 0 END`)).Scan(&n)
	})
	return n, explain("pauses that are over", err)
}

// Pause implements relay.Operator.
func (o *Operator) Pause(ctx context.Context, destination string, until time.Time, act relay.Act) (activity int64, err error) {
	end := pgtype.Timestamptz{Time: until, Valid: !until.IsZero()}
	return o.stop(ctx, "pause", `SELECT outbox.pause_until($1, $2, $3, $6, $4, $5)`, destination, act.Actor, null(act.Reason), act.Via, null(act.Address), end)
}

// Resume implements relay.Operator.
func (o *Operator) Resume(ctx context.Context, destination string, act relay.Act) (activity int64, err error) {
	return o.stop(ctx, "resume", `SELECT outbox.resume($1, $2, $3, $4, $5)`, destination, act.Actor, null(act.Reason), act.Via, null(act.Address))
}

func (o *Operator) stop(ctx context.Context, name, sql string, args ...any) (activity int64, err error) {
	err = o.again(ctx, name, func(ctx context.Context) error {
		return o.db(ctx).QueryRow(ctx, o.sql(sql), args...).Scan(&activity)
	})
	return activity, refusal(err)
}

var _ relay.Pauser = (*Store)(nil)
