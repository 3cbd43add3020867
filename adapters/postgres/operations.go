package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

// The owner's part of operations: each method is one transaction of a second at most, on a connection that is there only while something runs. It is safe to call
// any of them again, also from two processes: the row of the operation is locked first.

// StepOperation carries out a move that was decided on an operation as it stood, and returns how many messages it acted on; 0 also when it does not run any more, or
// stands elsewhere. A person's or the relay's lock that is in the way is relay.ErrBusy: nothing was changed.
func (s *Store) StepOperation(ctx context.Context, o *relay.Operation, m relay.Move) (acted int, err error) {
	return s.operation(ctx, "operation step", `SELECT coalesce(outbox.operation_step($1, $2, $3, $4), 0)`, int64(o.ID), m.Step, m.Act, o.Handled)
}

// JudgeOperation looks at what became of retried messages, and returns how many have an outcome now.
func (s *Store) JudgeOperation(ctx context.Context, id relay.OperationID) (judged int, err error) {
	return s.operation(ctx, "operation outcomes", `SELECT outbox.operation_judge($1)`, int64(id))
}

// EndOperation ends a running operation as done or stopped.
func (s *Store) EndOperation(ctx context.Context, id relay.OperationID, state relay.OperationState, cause string) error {
	_, err := s.operation(ctx, "operation end", `SELECT 1 FROM outbox.operation_end($1, $2, $3)`, int64(id), string(state), null(cause))
	return err
}

func (s *Store) operation(ctx context.Context, op, sql string, args ...any) (n int, err error) {
	err = s.stepper.use(ctx, once, func(ctx context.Context, c *pgx.Conn) error { return c.QueryRow(ctx, s.sql(sql), args...).Scan(&n) })
	if inTheWay(err) {
		return 0, relay.ErrBusy
	}
	return n, explain(op, err)
}

// RestOperations ends the connection of operations until it is needed again.
func (s *Store) RestOperations() {
	s.stepper.turn <- struct{}{}
	s.stepper.drop()
	<-s.stepper.turn
}

// SweepOperations expires plans that nobody started, and deletes what belongs to operations that ended longer ago than keep.
func (s *Store) SweepOperations(ctx context.Context, keep time.Duration) error {
	return explain("operations", s.keep(ctx, func(ctx context.Context, c *pgx.Conn) error {
		for {
			var n int
			if err := c.QueryRow(ctx, s.sql(`SELECT outbox.operation_sweep($1, $2)`), keep, purgeChunk).Scan(&n); err != nil || n < purgeChunk {
				return err
			}
		}
	}))
}
