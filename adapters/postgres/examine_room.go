package postgres

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// GrowthFacts say what the outbox takes on the server's disk, and how old what is in it is.
type GrowthFacts struct {
	Bytes  int64        // of all tables with their indexes
	Parts  []GrowthPart // the partitions that have messages, lowest ids first; never the default ones, which lose their rows one by one
	Dir    string       // the server's data folder; empty = the login may not know it
	Spread bool         // tables lie elsewhere too: in a tablespace of their own
	Here   bool         // certainly on this machine, so that Dir means here what it means there
}

// GrowthPart is a partition of the messages with that of their receipts. Retention may have left nothing of it but held messages, unless it is the last one or Age is less
// than what retention keeps.
type GrowthPart struct {
	Bytes int64
	Age   time.Duration // of its first message
}

const sqlGrowth = `SELECT t.bytes, t.spread OR (SELECT s.spcname <> 'pg_default' FROM pg_database d JOIN pg_tablespace s ON s.oid = d.dattablespace WHERE d.datname = current_database())
FROM (SELECT coalesce(sum(c.size), 0)::bigint AS bytes, coalesce(bool_or(c.reltablespace <> 0), false) AS spread
  FROM (SELECT reltablespace, coalesce(pg_total_relation_size(oid), 0) AS size FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r') c) t`

const sqlGrowthParts = `SELECT p.bytes + coalesce(pg_total_relation_size(to_regclass(format('%I.%I', $1::text, replace(p.name, 'message_log_', 'receipts_')))), 0),
  (date_part('epoch', clock_timestamp() - f.created_at) * 1000000)::bigint
FROM outbox.partitions p CROSS JOIN LATERAL (SELECT m.created_at FROM outbox.message_log m WHERE m.id >= p.lo AND m.id < p.hi ORDER BY m.id LIMIT 1) f ORDER BY p.lo`

// home is asked as the login itself: the roles of the outbox may not know the folder.
func (e *examiner) home(ctx context.Context) (f GrowthFacts, err error) {
	var pid int64
	err = e.conn.QueryRow(ctx, `SELECT coalesce((SELECT setting FROM pg_settings WHERE name = 'data_directory'), ''), pg_backend_pid()`).Scan(&f.Dir, &pid)
	if err == nil && e.x.Server.Local && !e.x.Server.Pooled {
		title, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // without /proc nothing is known
		f.Here = isBackend(string(title), e.conn.Config().User, e.conn.Config().Database, e.conn.PgConn().Conn().LocalAddr())
	}
	return f, err
}

func (e *examiner) growth(ctx context.Context) (GrowthFacts, error) {
	f := e.x.Growth.V
	if err := e.conn.QueryRow(ctx, e.sql(sqlGrowth), e.cfg.Schema).Scan(&f.Bytes, &f.Spread); err != nil {
		return f, err
	}
	rows, err := e.conn.Query(ctx, e.sql(sqlGrowthParts), e.cfg.Schema)
	if err != nil {
		return f, err
	}
	f.Parts, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (p GrowthPart, err error) {
		err = r.Scan(&p.Bytes, &p.Age)
		p.Age *= time.Microsecond
		return p, err
	})
	return f, err
}

// isBackend says that a process names itself as the server's end of our connection. A loopback address proves nothing: it may be a tunnel, or a container's port.
func isBackend(title, login, database string, ours net.Addr) bool {
	from := "[local]"
	if a, ok := ours.(*net.TCPAddr); ok {
		from = fmt.Sprintf("(%d)", a.Port)
	}
	return strings.HasPrefix(title, "postgres") && strings.Contains(title, " "+login+" "+database+" ") && strings.Contains(title, from)
}
