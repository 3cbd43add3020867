package postgres

import (
	"bytes"
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybillmq/waybill/relay"
)

// onceLimit bounds a request with everything that belongs to it: the longest is a plan. Between two statements it is allowed more than an act alone, since it looks
// around on other connections.
const (
	onceLimit = 20 * time.Second
	onceIdle  = "5s"
)

// querier is a pool of connections, or a transaction.
type querier interface {
	Begin(ctx context.Context) (pgx.Tx, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

type onceKey struct{}

// db is what the acts of a context run on: the transaction of Once, else a connection of the pool.
func (o *Operator) db(ctx context.Context) querier {
	if tx, ok := ctx.Value(onceKey{}).(pgx.Tx); ok {
		return tx
	}
	return o.pool
}

// within says that the acts of ctx belong to a transaction of Once, which tries again as a whole.
func within(ctx context.Context) bool { return ctx.Value(onceKey{}) != nil }

// look reads what the acts of a context left.
func (o *Operator) look(ctx context.Context) *Inspector {
	return &Inspector{db: o.db(ctx), sql: o.sql, schema: o.schema, bounds: usualBounds}
}

// Once implements relay.Once.
func (o *Operator) Once(ctx context.Context, asked relay.Asked, do func(context.Context) (relay.Answered, error)) (a relay.Answered, err error) {
	var own error // of do, or a verdict: returned as it is
	err = o.repeat(ctx, onceLimit, "once", func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, o.pool, func(tx pgx.Tx) error {
			a, own = relay.Answered{}, nil
			known, err := o.beginOnce(ctx, tx, asked, &a)
			if err != nil || known != nil && *known {
				return err
			}
			if known != nil {
				own = relay.ErrOtherRequest
				return own
			}
			if a, own = do(context.WithValue(ctx, onceKey{}, tx)); own != nil {
				return own
			}
			_, err = tx.Exec(ctx, o.sql(`SELECT outbox.once_end($1, $2, $3, $4, $5, $6)`), asked.Actor, asked.Key, asked.Request[:], a.Code, a.Location, append([]byte{}, a.Body...))
			return err
		})
	})
	if own != nil && !inTheWay(own) {
		return relay.Answered{}, own
	}
	return a, err
}

// beginOnce fills in what was answered before. known is nil when nothing was, and says whether the request was the same.
func (o *Operator) beginOnce(ctx context.Context, tx pgx.Tx, asked relay.Asked, a *relay.Answered) (known *bool, err error) {
	if _, err := tx.Exec(ctx, `SET LOCAL idle_in_transaction_session_timeout = '`+onceIdle+`'`); err != nil {
		return nil, err
	}
	var running bool
	var request []byte
	var code *int
	var location *string
	err = tx.QueryRow(ctx, o.sql(`SELECT running, request, status, location, response FROM outbox.once_begin($1, $2)`), asked.Actor, asked.Key).
		Scan(&running, &request, &code, &location, &a.Body)
	switch {
	case err != nil:
		return nil, err
	case running:
		return nil, relay.ErrRunning
	case code == nil:
		return nil, nil
	}
	a.Code, a.Location = *code, *location
	same := bytes.Equal(request, asked.Request[:])
	return &same, nil
}

// SweepOnce deletes answers that count no more.
func (s *Store) SweepOnce(ctx context.Context) error {
	return explain("kept answers", s.keep(ctx, func(ctx context.Context, c *pgx.Conn) error {
		for {
			var n int
			if err := c.QueryRow(ctx, s.sql(`SELECT outbox.once_sweep($1)`), purgeChunk).Scan(&n); err != nil || n < purgeChunk {
				return err
			}
		}
	}))
}

var _ relay.Once = (*Operator)(nil)
