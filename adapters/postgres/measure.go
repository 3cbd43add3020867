package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

// Measures are the numbers about an outbox that only the server knows. Sizes and rows are the server's own estimates: nothing is counted by reading a table.
type Measures struct {
	FirstAt      time.Time      // when the oldest message still in the log was written; zero = the log is empty
	TooOld       relay.Count    // pending messages older than asked for; held ones are not among them
	Ahead        int            // whole partitions above the highest id
	Tables       []TableMeasure // by name; partitions count as their table
	Sessions     []SessionCount // connections of Waybill to this database
	OldestTx     time.Duration  // age of the oldest transaction in this database, as far as the login may see it; 0 = there is none
	LastActivity int64          // highest row of the activity log
	Acts         []ActCount     // what people did after the row asked for
}

// TableMeasure is the size of one table with its indexes, and its rows as the server estimates them.
type TableMeasure struct {
	Name       string
	Bytes      int64
	Live, Dead int64
}

// SessionCount is how many connections for one kind of work are in one state.
type SessionCount struct {
	Pool  string // as Config.ConnConfig names it, inspector, operator, migrate or other
	State string // active, idle, idle_in_transaction or other
	N     int
}

// ActCount is how many messages were changed by acts of one name over one way.
type ActCount struct {
	Action string // retry, skip or discard
	Via    string // cli, ui, api or auto
	N      int64
}

const (
	sqlFirstAt = `SELECT m.created_at FROM outbox.message_log m ORDER BY m.id LIMIT 1`
	sqlAhead   = `SELECT count(*) FROM outbox.partitions p, outbox.message_id_seq s WHERE p.lo > s.last_value`
	sqlTables  = `SELECT coalesce(p.relname, c.relname)::text, sum(coalesce(pg_catalog.pg_total_relation_size(c.oid), 0))::bigint, sum(coalesce(s.n_live_tup, 0))::bigint,
  sum(coalesce(s.n_dead_tup, 0))::bigint
FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
LEFT JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid
WHERE c.relnamespace = pg_catalog.to_regnamespace($1) AND c.relkind = 'r' AND coalesce(p.relname, c.relname) = ANY ($2::text[]) GROUP BY 1 ORDER BY 1`
	sqlSessions = `SELECT CASE WHEN a.pool = ANY ($1::text[]) THEN a.pool ELSE 'other' END,
  CASE a.state WHEN 'active' THEN 'active' WHEN 'idle' THEN 'idle' WHEN 'idle in transaction' THEN 'idle_in_transaction' ELSE 'other' END, count(*)
FROM (SELECT pg_catalog.split_part(application_name, '/', pg_catalog.length(application_name) - pg_catalog.length(pg_catalog.replace(application_name, '/', '')) + 1) AS pool, state
  FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database() AND application_name LIKE 'waybill/%') a GROUP BY 1, 2 ORDER BY 1, 2`
	sqlOldestTx = `SELECT coalesce((pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - min(xact_start)) * 1000000)::bigint, 0)
FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database() AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()`
	sqlActs = `SELECT a.action, a.via, sum(a.changed)::bigint, max(a.id) FROM outbox.activity a WHERE a.id > $1 AND a.action IN ('retry', 'skip', 'discard') GROUP BY 1, 2 ORDER BY 1, 2`
)

// measuredTables bound what a monitoring system keeps of a schema.
var measuredTables = []string{"activity", "attempt", "message_discarded", "message_held", "message_ids", "message_log", "message_pending", "receipts"}

// Pools are the kinds of work for which Waybill connects to a database.
var Pools = []string{"lease", "reader", "claimer", "settler", "listener", "housekeeper", "inspector", "operator", "migrate"}

// Measure asks for all of it: messages pending for longer than tooOld, and the acts after row `since` of the activity log (below 0: none, only where the log
// ends). For every few seconds: each part is an index probe, a bounded index range or a read of the server's statistics, however long the log is.
func (s *Store) Measure(ctx context.Context, tooOld time.Duration, since int64) (m Measures, err error) {
	err = s.keep(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
		m = Measures{LastActivity: max(since, 0)}
		b := &pgx.Batch{}
		b.Queue(s.sql(sqlFirstAt)).Query(func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{opt(&m.FirstAt)}, func() error { return nil })
			return err
		})
		b.Queue(s.sql(sqlAhead)).QueryRow(func(r pgx.Row) error { return r.Scan(&m.Ahead) })
		b.Queue(sqlTables, s.cfg.Schema, measuredTables).Query(func(rows pgx.Rows) (err error) {
			m.Tables, err = pgx.CollectRows(rows, pgx.RowToStructByPos[TableMeasure])
			return err
		})
		b.Queue(sqlSessions, Pools).Query(func(rows pgx.Rows) (err error) {
			m.Sessions, err = pgx.CollectRows(rows, pgx.RowToStructByPos[SessionCount])
			return err
		})
		b.Queue(sqlOldestTx).QueryRow(func(r pgx.Row) error {
			var us int64
			err := r.Scan(&us)
			m.OldestTx = max(time.Duration(us)*time.Microsecond, 0)
			return err
		})
		if since < 0 {
			b.Queue(s.sql(sqlLastAct)).QueryRow(func(r pgx.Row) error { return r.Scan(&m.LastActivity) })
		} else {
			b.Queue(s.sql(sqlActs), since).Query(func(rows pgx.Rows) error {
				var a ActCount
				var last int64
				_, err := pgx.ForEachRow(rows, []any{&a.Action, &a.Via, &a.N, &last}, func() error {
					m.Acts, m.LastActivity = append(m.Acts, a), max(m.LastActivity, last)
					return nil
				})
				return err
			})
		}
		if err = c.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		m.TooOld, err = s.tooOld(ctx, c, tooOld)
		return err
	})
	return m, explain("measure", err)
}

// tooOld counts pending ids up to the last one of that age, which it looks for only when the oldest is of that age.
func (s *Store) tooOld(ctx context.Context, c *pgx.Conn, age time.Duration) (n relay.Count, err error) {
	var is bool
	var last int64
	err = c.QueryRow(ctx, s.sql(`SELECT coalesce((SELECT m.created_at < clock_timestamp() - $1::bigint * interval '1 microsecond' FROM outbox.message_log m
		WHERE m.id = (SELECT min(p.id) FROM outbox.message_pending p)), false), (SELECT last_value FROM outbox.message_id_seq)`), age.Microseconds()).Scan(&is, &last)
	if err != nil || !is {
		return 0, err
	}
	upTo, err := s.idBefore(ctx, c, age, relay.ID(last))
	if err != nil {
		return 0, err
	}
	err = c.QueryRow(ctx, s.sql(`SELECT count(*) FROM (SELECT FROM outbox.message_pending p WHERE p.id <= $1 LIMIT $2) x`), int64(upTo), relay.CountCap+1).Scan(&n)
	return n, err
}
