package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

const operationColumns = `o.id, o.action, o.filter, o.state, coalesce(o.cause, ''), o.actor, coalesce(o.reason, ''), o.careful, coalesce(o.rate, 0), o.stop_at,
  o.planned_at, o.expires_at, o.started_at, o.ended_at, o.total, o.left_out, o.handled, o.step, o.step_handled, o.step_judged, o.step_sent, o.step_failed,
  o.sent, o.failed_again, o.waits, o.acted, o.changed`

func operationTargets(o *relay.Operation) []any {
	return []any{&o.ID, &o.Action, &o.Filter, &o.State, &o.Cause, &o.Actor, &o.Reason, &o.Careful, &o.Rate, &o.StopAt, opt(&o.PlannedAt), opt(&o.ExpiresAt),
		opt(&o.StartedAt), opt(&o.EndedAt), &o.Total, &o.LeftOut, &o.Handled, &o.Step, &o.StepHandled, &o.StepJudged, &o.StepSent, &o.StepFailed, &o.Sent,
		&o.FailedAgain, &o.Waits, &o.Acted, &o.Changed}
}

func scanOperation(r pgx.CollectableRow) (o relay.Operation, err error) {
	return o, r.Scan(operationTargets(&o)...)
}

// Operations implements relay.Inspector.
func (i *Inspector) Operations(ctx context.Context, before relay.OperationID, limit int) ([]relay.Operation, error) {
	if before <= 0 {
		before = 1<<63 - 1
	}
	return i.operations(ctx, `SELECT `+operationColumns+` FROM outbox.operation o WHERE o.id < $1 ORDER BY o.id DESC LIMIT $2`, int64(before), pageSize(limit))
}

// Running returns the operations that the owner works on, the oldest first, at most MaxPage of them.
func (i *Inspector) Running(ctx context.Context) ([]relay.Operation, error) {
	return i.operations(ctx, `SELECT `+operationColumns+` FROM outbox.operation o WHERE o.state = 'running' ORDER BY o.id LIMIT $1`, relay.MaxPage)
}

func (i *Inspector) operations(ctx context.Context, sql string, args ...any) (list []relay.Operation, err error) {
	rows, err := i.db.Query(ctx, i.sql(sql), args...)
	if err == nil {
		list, err = pgx.CollectRows(rows, scanOperation)
	}
	return list, i.failed("operations", err)
}

// Operation implements relay.Inspector.
func (i *Inspector) Operation(ctx context.Context, id relay.OperationID) (o relay.Operation, err error) {
	var summary []byte
	err = i.db.QueryRow(ctx, i.sql(`SELECT `+operationColumns+`, o.summary FROM outbox.operation o WHERE o.id = $1`), int64(id)).
		Scan(append(operationTargets(&o), &summary)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return o, fmt.Errorf("%w: there is no operation %d", relay.ErrNotFound, id)
	}
	if err != nil {
		return o, i.failed("operation", err)
	}
	return o, json.Unmarshal(summary, &o.Summary)
}

// OperationItems implements relay.Inspector.
func (i *Inspector) OperationItems(ctx context.Context, id relay.OperationID, outcome string, after relay.ID, limit int) (list []relay.OperationItem, err error) {
	where, args := "", []any{int64(id), int64(after), pageSize(limit)}
	if outcome != "" {
		where, args = " AND x.outcome = $4", append(args, outcome)
	}
	rows, err := i.db.Query(ctx, i.sql(`SELECT x.id, x.state, coalesce(x.step, 0), coalesce(x.outcome, '') FROM outbox.operation_item x
WHERE x.operation_id = $1 AND x.id > $2`+where+` ORDER BY x.id LIMIT $3`), args...)
	if err == nil {
		list, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (x relay.OperationItem, err error) {
			return x, r.Scan(&x.ID, &x.State, &x.Step, &x.Outcome)
		})
	}
	return list, i.failed("operation items", err)
}
