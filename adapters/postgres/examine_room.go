package postgres

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// GrowthFacts say what the outbox takes on the server's disk, and how old what is in it is.
type GrowthFacts struct {
	Bytes  int64         // of all tables with their indexes
	Log    int64         // of messages and receipts: what retention drops
	Age    time.Duration // of the oldest message that is still there; 0 = there is none
	Dir    string        // the server's data folder; empty = the login may not know it
	Spread bool          // tables lie elsewhere too: in a tablespace of their own
	Here   bool          // certainly on this machine, so that Dir means here what it means there
}

const sqlGrowth = `SELECT t.bytes, t.log, coalesce((SELECT (date_part('epoch', clock_timestamp() - m.created_at) * 1000000)::bigint FROM outbox.message_log m ORDER BY m.id LIMIT 1), 0),
  t.spread OR (SELECT s.spcname <> 'pg_default' FROM pg_database d JOIN pg_tablespace s ON s.oid = d.dattablespace WHERE d.datname = current_database())
FROM (SELECT coalesce(sum(c.size), 0)::bigint AS bytes, coalesce(sum(c.size) FILTER (WHERE c.relname ~ '^(message_log|receipts)'), 0)::bigint AS log, coalesce(bool_or(c.reltablespace <> 0), false) AS spread
  FROM (SELECT relname, reltablespace, coalesce(pg_total_relation_size(oid), 0) AS size FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r') c) t`

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
	var us int64
	err := e.conn.QueryRow(ctx, e.sql(sqlGrowth), e.cfg.Schema).Scan(&f.Bytes, &f.Log, &us, &f.Spread)
	f.Age = time.Duration(us) * time.Microsecond
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
