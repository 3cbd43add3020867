package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/relay"
)

// Operator carries out people's acts by the functions of the schema, each in a transaction of its own and under the limits that let no act hold a message for
// longer than a second. It implements relay.Operator, relay.Planner and relay.Once. Safe for concurrent use.
type Operator struct {
	pool   *pgxpool.Pool
	sql    func(string) string
	schema string
}

const (
	actTries = 3
	actPause = 500 * time.Millisecond // the tries of one act end within 5 s: each waits 500 ms for a lock and runs 1 s at most
	actLimit = 5 * time.Second

	operatorConnections = 2 // an act never waits for a plan that is being made
)

// OpenOperator makes the connections when they are first needed. Of cfg it uses URL, Schema and ConnectTimeout. The login needs what role outbox_operator may; a login
// that is a member without inheriting takes the role.
func OpenOperator(cfg Config) (*Operator, error) {
	p, err := peoplePool(cfg, "operator", "operator", operatorConnections, map[string]string{
		"statement_timeout": "1000", "lock_timeout": "500", "idle_in_transaction_session_timeout": "1000", "synchronous_commit": "on"})
	if err != nil {
		return nil, err
	}
	return &Operator{pool: p.pool, sql: p.sql, schema: p.schema}, nil
}

// Close ends the connections after running acts have ended.
func (o *Operator) Close() { o.pool.Close() }

// Retry implements relay.Operator.
func (o *Operator) Retry(ctx context.Context, ids []relay.ID, act relay.Act) (relay.Acted, error) {
	return o.act(ctx, "retry", ids, act)
}

// Skip implements relay.Operator.
func (o *Operator) Skip(ctx context.Context, ids []relay.ID, act relay.Act) (relay.Acted, error) {
	return o.act(ctx, "skip", ids, act)
}

// Discard implements relay.Operator.
func (o *Operator) Discard(ctx context.Context, ids []relay.ID, act relay.Act) (relay.Acted, error) {
	return o.act(ctx, "discard", ids, act)
}

// act calls one function.
func (o *Operator) act(ctx context.Context, name string, ids []relay.ID, act relay.Act) (acted relay.Acted, err error) {
	if n := len(ids); n < 1 || n > relay.MaxActed {
		return relay.Acted{}, fmt.Errorf("%s: %d messages: one act takes 1 to %d", name, n, relay.MaxActed)
	}
	err = o.again(ctx, name, func(ctx context.Context) error {
		acted, err = o.once(ctx, name, ids, act)
		return err
	})
	return acted, err
}

// again does something once more when it met somebody's lock: then the database undid everything.
func (o *Operator) again(ctx context.Context, name string, do func(context.Context) error) error {
	if !within(ctx) {
		return o.repeat(ctx, actLimit, name, do)
	}
	err := do(ctx)
	if inTheWay(err) {
		return err
	}
	return personError(name, o.schema, "operator", err)
}

func (o *Operator) repeat(ctx context.Context, limit time.Duration, name string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for try := 1; ; try++ {
		err := do(ctx)
		if !inTheWay(err) {
			return personError(name, o.schema, "operator", err)
		}
		if try == actTries {
			return fmt.Errorf("%s: %w", name, relay.ErrBusy)
		}
		select {
		case <-time.After(actPause):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", name, relay.ErrBusy)
		}
	}
}

// inTheWay says that somebody else was there in the same moment: a lock, or the relay that gave the key another head. The database undid the act.
func inTheWay(err error) bool {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return false
	}
	return pe.Code == stateLockWait || pe.Code == stateCanceled || pe.Code == stateUnique && pe.ConstraintName == oneHead
}

func (o *Operator) once(ctx context.Context, name string, ids []relay.ID, act relay.Act) (a relay.Acted, err error) {
	err = o.db(ctx).QueryRow(ctx, o.sql(`SELECT activity_id, requested, changed, sending, other, missing, unchanged FROM outbox.`+name+`($1::bigint[], $2, $3, $4, $5)`),
		ids, act.Actor, null(act.Reason), act.Via, null(act.Address)).Scan(&a.Activity, &a.Requested, &a.Changed, &a.Sending, &a.Other, &a.Missing, &a.Unchanged)
	return a, err
}

// null is what the database takes for "not given".
func null(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

var _ relay.Operator = (*Operator)(nil)
