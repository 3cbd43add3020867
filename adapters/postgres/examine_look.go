package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// The roles of an outbox, without the prefix of its schema.
var roleNames = []string{"producer", "relay", "viewer", "operator", "payload", "monitor"}

const (
	sqlRoles = `SELECT n, to_regrole($1 || '_' || n) IS NOT NULL,
  CASE WHEN to_regrole($1 || '_' || n) IS NULL THEN false ELSE pg_has_role(session_user, to_regrole($1 || '_' || n), 'MEMBER') END FROM unnest($2::text[]) AS n`
	sqlTableFacts = `SELECT c.relname::text, c.relispartition, c.relpersistence::text, c.relrowsecurity, coalesce(c.reloptions, '{}'), coalesce(s.n_live_tup, 0), coalesce(s.n_dead_tup, 0)
FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p') ORDER BY 1`
	sqlHooks = `SELECT c.relname::text, t.tgname::text, false, t.tgtype & 66 <> 0, t.tgenabled::text, n.nspname || '.' || p.proname
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE c.relnamespace = to_regnamespace($1) AND NOT t.tgisinternal AND t.tgparentid = 0
UNION ALL SELECT c.relname::text, r.rulename::text, true, r.is_instead, r.ev_enabled::text, ''
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p') ORDER BY 1, 2`
	sqlIDFacts = `SELECT s.seqcache, s.seqincrement, s.seqcycle, coalesce((SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  WHERE d.adrelid = 'outbox.message_log'::regclass AND a.attname = 'id'), '') FROM pg_sequence s WHERE s.seqrelid = 'outbox.message_id_seq'::regclass`
	sqlPlace = `SELECT s.last_value, coalesce((SELECT m.id FROM outbox.message_log m ORDER BY m.id DESC LIMIT 1), 0), p.ahead, coalesce(p.top, 0), coalesce(r.lo, 0), coalesce(r.hi, 0)
FROM outbox.message_id_seq s CROSS JOIN LATERAL (SELECT (count(*) FILTER (WHERE p.lo > s.last_value))::int AS ahead, max(p.hi) AS top FROM outbox.partitions p) p, outbox.rest_range() r`
	sqlIdentity = `SELECT h.system_identifier = g.system_identifier AND h.database_oid = g.database_oid, h.timeline = g.timeline
FROM outbox.here() h, (SELECT * FROM outbox.generations ORDER BY from_id DESC LIMIT 1) g`
	sqlOpen = `SELECT pid, '', coalesce(datname, ''), coalesce(usename, ''), coalesce(state, ''), (date_part('epoch', clock_timestamp() - xact_start) * 1000000)::bigint
FROM pg_stat_activity WHERE xact_start < clock_timestamp() - $1::bigint * interval '1 microsecond' AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)
  AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 20`
	sqlPrepared = `SELECT 0, gid, database::text, owner::text, 'prepared', (date_part('epoch', clock_timestamp() - prepared) * 1000000)::bigint
FROM pg_prepared_xacts WHERE prepared < clock_timestamp() - $1::bigint * interval '1 microsecond' ORDER BY prepared LIMIT 20`
	sqlSlots = `SELECT slot_name::text, active, CASE WHEN pg_is_in_recovery() THEN 0 ELSE coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint END, coalesce(wal_status, ''),
  greatest(coalesce(age(xmin), 0), coalesce(age(catalog_xmin), 0))::bigint FROM pg_replication_slots ORDER BY 1 LIMIT 100`
	sqlAges   = `SELECT datname::text, age(datfrozenxid)::bigint, mxid_age(datminmxid)::bigint FROM pg_database ORDER BY greatest(age(datfrozenxid), mxid_age(datminmxid)) DESC LIMIT 20`
	sqlNotify = `SELECT pg_notification_queue_usage()`
	sqlCommit = `SELECT coalesce(r.rolname, '')::text, coalesce(d.datname, '')::text, split_part(c, '=', 2) FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS c
LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
WHERE c LIKE 'synchronous_commit=%' AND (s.setdatabase = 0 OR d.datname = current_database()) ORDER BY 1, 2`
	sqlRights = `SELECT r.name, c.relname::text, p.name, c.relispartition, p.name = 'SELECT' AND c.relname::text ~ '^message_log' AND EXISTS (SELECT FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attname IN ('payload', 'headers') AND NOT a.attisdropped AND has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT'))
FROM (SELECT n AS name, to_regrole($1 || '_' || n) AS oid FROM unnest($2::text[]) AS n) r CROSS JOIN pg_class c
CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) AS p(name)
WHERE r.oid IS NOT NULL AND c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p')
  AND CASE WHEN p.name IN ('DELETE', 'TRUNCATE') THEN has_table_privilege(r.oid, c.oid, p.name) ELSE has_any_column_privilege(r.oid, c.oid, p.name) END ORDER BY 1, 2, 3`
	sqlPublic = `SELECT a.privilege_type || ' on schema ' || n.nspname FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a WHERE n.oid = to_regnamespace($1) AND a.grantee = 0
UNION ALL SELECT a.privilege_type || ' on ' || CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || $1 || '.' || c.relname
FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a WHERE c.relnamespace = to_regnamespace($1) AND a.grantee = 0
UNION ALL SELECT a.privilege_type || ' on function ' || p.oid::regprocedure::text
FROM pg_proc p CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE p.pronamespace = to_regnamespace($1) AND a.grantee = 0 ORDER BY 1`
	sqlDefiners = `SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = to_regnamespace($1) AND p.prosecdef
  AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c WHERE c LIKE 'search_path=%') ORDER BY 1`
)

// look asks part by part: what depends on who asks as the login itself, the outbox with the rights of the relay.
func (e *examiner) look(ctx context.Context) {
	x, schema, old := &e.x, e.cfg.Schema, e.old.Microseconds()
	seen(ctx, e, &x.Login, e.login)
	seen(ctx, e, &x.Transactions, e.holders(sqlOpen, old))
	seen(ctx, e, &x.Prepared, e.holders(sqlPrepared, old))
	seen(ctx, e, &x.Slots, rows[Slot](e, sqlSlots))
	seen(ctx, e, &x.Ages, rows[AgeFacts](e, sqlAges))
	seen(ctx, e, &x.Notify, func(ctx context.Context) (full float64, err error) {
		return full, e.conn.QueryRow(ctx, sqlNotify).Scan(&full)
	})
	seen(ctx, e, &x.Commit, rows[RoleSetting](e, sqlCommit))
	seen(ctx, e, &x.Growth, e.home)
	seen(ctx, e, &x.Indexes, e.indexes)
	if err := takeRole(ctx, e.conn, schema+"_relay"); err != nil {
		x.Version.Err = personError("examine", schema, "relay", err)
		return
	}
	if x.Version.V, x.Version.Err = e.version(ctx); x.Version.V == 0 {
		return
	}
	seen(ctx, e, &x.Tables, rows[TableFacts](e, sqlTableFacts, schema))
	if x.Growth.Err == nil {
		seen(ctx, e, &x.Growth, e.growth)
	}
	seen(ctx, e, &x.Hooks, rows[Hook](e, sqlHooks, schema))
	seen(ctx, e, &x.Rights, rows[Right](e, sqlRights, schema, roleNames))
	seen(ctx, e, &x.Public, texts(e, sqlPublic, schema))
	seen(ctx, e, &x.Definers, texts(e, sqlDefiners, schema))
	seen(ctx, e, &x.IDs, func(ctx context.Context) (f IDFacts, err error) {
		return f, e.conn.QueryRow(ctx, e.sql(sqlIDFacts)).Scan(&f.Cache, &f.Increment, &f.Cycles, &f.Default)
	})
	seen(ctx, e, &x.Place, func(ctx context.Context) (f PlaceFacts, err error) {
		return f, e.conn.QueryRow(ctx, e.sql(sqlPlace)).Scan(&f.Last, &f.Max, &f.Ahead, &f.Top, &f.RestLo, &f.RestHi)
	})
	seen(ctx, e, &x.Plans, e.plans)
	seen(ctx, e, &x.Identity, func(ctx context.Context) (f IdentityFacts, err error) {
		return f, e.conn.QueryRow(ctx, e.sql(sqlIdentity)).Scan(&f.SameServer, &f.SameTimeline)
	})
}

func (e *examiner) login(ctx context.Context) (f LoginFacts, err error) {
	f.Exists, f.Member = map[string]bool{}, map[string]bool{}
	err = e.conn.QueryRow(ctx, `SELECT session_user::text, (SELECT rolsuper FROM pg_roles WHERE rolname = session_user), pg_has_role(session_user, 'pg_read_all_stats', 'USAGE')`).
		Scan(&f.Name, &f.Superuser, &f.SeesOthers)
	if err != nil {
		return f, err
	}
	r, err := e.conn.Query(ctx, sqlRoles, e.cfg.Schema, roleNames)
	if err != nil {
		return f, err
	}
	var name string
	var exists, member bool
	_, err = pgx.ForEachRow(r, []any{&name, &exists, &member}, func() error {
		f.Exists[name], f.Member[name] = exists, member
		return nil
	})
	return f, err
}

func (e *examiner) version(ctx context.Context) (v int, err error) {
	err = e.conn.QueryRow(ctx, e.sql(`SELECT outbox.version()`)).Scan(&v)
	if state := sqlState(err); state == stateNoSchema || state == stateNoFunction {
		return 0, nil
	}
	return v, personError("version", e.cfg.Schema, "relay", err)
}

func (e *examiner) holders(sql string, args ...any) func(context.Context) ([]Holder, error) {
	return func(ctx context.Context) ([]Holder, error) {
		r, err := e.conn.Query(ctx, sql, args...)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(r, func(r pgx.CollectableRow) (h Holder, err error) {
			var us int64
			err = r.Scan(&h.PID, &h.GID, &h.Database, &h.User, &h.State, &us)
			h.Age = time.Duration(us) * time.Microsecond
			return h, err
		})
	}
}
