package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybillmq/waybill/relay"
)

// planChunk is how many ids one statement looks at while a plan is made; planTimeout bounds it, on the server.
const (
	planChunk   = 10_000
	planTimeout = "10s"
)

// The states of SQL in which the functions of plans refuse; their messages are for people.
const (
	stateWrongState = "55000"
	stateNoData     = "P0002"
	stateLimit      = "54000"
)

// Plan implements relay.Planner.
func (o *Operator) Plan(ctx context.Context, p relay.PlanRequest, act relay.Act) (relay.Operation, error) {
	op, err := o.plan(ctx, p, act)
	return op, refusal(err)
}

func (o *Operator) plan(ctx context.Context, p relay.PlanRequest, act relay.Act) (relay.Operation, error) {
	f, err := relay.PlanFilter(p.Action, p.Filter)
	if err != nil {
		return relay.Operation{}, err
	}
	look := o.look(ctx)
	ids, err := look.resolve(ctx, f)
	if err != nil {
		return relay.Operation{}, err
	}
	var id int64
	err = o.db(ctx).QueryRow(ctx, o.sql(`SELECT outbox.plan($1, $2, $3, $4)`), p.Action, p.Text, act.Actor, act.Via).Scan(&id)
	if err == nil {
		err = o.fillPlan(ctx, id, f, ids)
	}
	if err == nil {
		err = o.slowly(ctx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, o.sql(`SELECT outbox.plan_ready($1, $2)`), id, null(act.Address))
			return err
		})
	}
	if err != nil {
		return relay.Operation{}, personError("plan", o.schema, "operator", err)
	}
	return look.Operation(ctx, relay.OperationID(id))
}

// fillPlan goes through what can match, from the newest id down.
func (o *Operator) fillPlan(ctx context.Context, id int64, f relay.Filter, ids []int64) (err error) {
	for before := relay.ID(1<<63 - 1); before > 0; {
		if before, err = o.planItems(ctx, newListQuery(f, before, ids, usualBounds), id); err != nil {
			return err
		}
	}
	return nil
}

// planItems adds what matches among the next ids, and returns where the ones after those begin; 0 = there are none.
func (o *Operator) planItems(ctx context.Context, q *listQuery, operation int64) (next relay.ID, err error) {
	var lowest relay.ID
	var seen, added int
	text := q.planned(planChunk, operation)
	err = o.slowly(ctx, func(tx pgx.Tx) error { return tx.QueryRow(ctx, o.sql(text), q.args...).Scan(&lowest, &seen, &added) })
	if err != nil || seen < planChunk {
		return 0, err
	}
	return lowest, nil
}

// planned is the statement that hands what matches among the next ids to a plan. Only ids are compared and written: no message is locked.
func (q *listQuery) planned(chunk int, operation int64) string {
	return `WITH c AS MATERIALIZED (` + q.bounded(chunk) + `) SELECT coalesce(min(c.id), 0), count(*), outbox.plan_items(` + q.arg(operation) + `, ARRAY(` + q.matches() + `)) FROM c`
}

// slowly runs something that is no act on a message, and that may take longer.
func (o *Operator) slowly(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, o.db(ctx), func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = '`+planTimeout+`'`); err != nil {
			return err
		}
		return do(tx)
	})
}

// Start implements relay.Planner.
func (o *Operator) Start(ctx context.Context, id relay.OperationID, p relay.Pace, act relay.Act) error {
	var rate *int
	if p.Rate > 0 {
		rate = &p.Rate
	}
	return refusal(o.again(ctx, "start", func(ctx context.Context) error {
		_, err := o.db(ctx).Exec(ctx, o.sql(`SELECT outbox.start($1, $2, $3, $4, $5, $6, $7, $8)`), int64(id), act.Actor, null(act.Reason), p.Careful, rate, p.StopAt,
			act.Via, null(act.Address))
		return err
	}))
}

// Steer implements relay.Planner.
func (o *Operator) Steer(ctx context.Context, id relay.OperationID, verb relay.Verb, act relay.Act) error {
	return refusal(o.again(ctx, string(verb), func(ctx context.Context) error {
		_, err := o.db(ctx).Exec(ctx, o.sql(`SELECT outbox.steer($1, $2, $3, $4, $5, $6)`), int64(id), string(verb), act.Actor, null(act.Reason), act.Via, null(act.Address))
		return err
	}))
}

// Planned implements relay.Planner.
func (o *Operator) Planned(ctx context.Context, id relay.OperationID) (relay.Operation, error) {
	return o.look(ctx).Operation(ctx, id)
}

// refusal sorts what the functions of plans refuse; anything else stays as it is.
func refusal(err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return err
	}
	text := strings.TrimPrefix(pe.Message, "outbox: ")
	switch pe.Code {
	case stateWrongState:
		return &relay.StateError{Text: text}
	case stateNoData:
		return fmt.Errorf("%w: %s", relay.ErrNotFound, text)
	case stateLimit:
		return fmt.Errorf("%w: %s", relay.ErrTooMany, text)
	}
	return err
}

var _ relay.Planner = (*Operator)(nil)
