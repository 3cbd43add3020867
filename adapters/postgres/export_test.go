package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/relay"
)

// SlowProbe lets time pass inside every probe of the owner's reader: between the look at the sequence and the list of ids of the same round trip. Call it
// after a first Read.
func (s *Store) SlowProbe(ctx context.Context) error {
	r := s.owned.read
	return r.session.use(ctx, once, func(ctx context.Context, c *pgx.Conn) error {
		if err := c.Deallocate(ctx, r.statements["xid"].Name); err != nil {
			return err
		}
		d, err := c.Prepare(ctx, r.statements["xid"].Name, `SELECT x FROM pg_sleep(0.02) CROSS JOIN LATERAL (`+sqlXid+` AS x) p`)
		r.statements["xid"] = d
		return err
	})
}

// Fronts are where the owner's next searches in held begin: the due time, and ids of keys.
func (s *Store) Fronts() (due int64, topics, keys []string, at []int64) {
	t := &s.owned.taken
	topics, keys, at = t.fronts.args()
	return t.due.at, topics, keys, at
}

// Connect makes a connection as a session of this role has it.
func Connect(ctx context.Context, cfg Config, role string) (*pgx.Conn, error) {
	pc, err := cfg.ConnConfig(role)
	if err != nil {
		return nil, err
	}
	return connect(ctx, pc)
}

// HotStatements are the statements whose plans are tested.
var HotStatements = hotStatements

// SearchStatement is the statement of a page of the dashboard, and its arguments; before 0 = from the newest message on.
func SearchStatement(f relay.Filter, before relay.ID) (string, []any) {
	if before == 0 {
		before = 1<<63 - 1
	}
	q := newListQuery(f, before, nil, usualBounds)
	return q.statement(relay.DefaultPage), q.args
}

// Acquire is a connection as the pages have it.
func (i *Inspector) Acquire(ctx context.Context) (*pgxpool.Conn, error) { return i.pool.Acquire(ctx) }
