package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/relay"
)

// Inspector answers people's questions over a pool of its own, read only and under a short statement timeout: no viewer can slow or harm delivery. It
// implements relay.Inspector. Safe for concurrent use.
type Inspector struct {
	db     querier
	pool   *pgxpool.Pool // behind db; nil where that is a transaction of somebody else
	sql    func(string) string
	schema string
	bounds heldBounds
}

// inspectorConnections bounds what all viewers of one process cost the server.
const inspectorConnections = 3

// inspectorTimeout is the server's limit on one question unless Config.StatementTimeout says otherwise.
const inspectorTimeout = 2 * time.Second

// OpenInspector makes the pool; it connects with the first question. Of cfg it uses URL, Schema, ConnectTimeout and StatementTimeout (default 2 s). The login
// needs what role outbox_viewer or outbox_relay may; a login that is a member without inheriting takes the role.
func OpenInspector(cfg Config) (*Inspector, error) {
	if cfg.StatementTimeout <= 0 {
		cfg.StatementTimeout = inspectorTimeout
	}
	// Planned each time, at the sizes of the moment: a plan that was made while nothing waited takes any index for a short one, and reads all of it for each message.
	pool, err := peoplePool(cfg, "inspector", "viewer", inspectorConnections, map[string]string{
		"default_transaction_read_only": "on", "statement_timeout": millis(cfg.StatementTimeout), "idle_in_transaction_session_timeout": "10s",
		"plan_cache_mode": "force_custom_plan"})
	if err != nil {
		return nil, err
	}
	return &Inspector{db: pool.pool, pool: pool.pool, sql: pool.sql, schema: pool.schema, bounds: usualBounds}, nil
}

// Close ends the connections after running questions have ended.
func (i *Inspector) Close() { i.pool.Close() }

type people struct {
	pool   *pgxpool.Pool
	sql    func(string) string
	schema string
}

// peoplePool makes a pool whose connections act with the rights of <schema>_<role> where the login has to take them.
func peoplePool(cfg Config, name, role string, most int32, settings map[string]string) (people, error) {
	if err := cfg.complete(); err != nil {
		return people{}, err
	}
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil { // the error of the parser may contain the password
		return people{}, &relay.ConfigError{Class: relay.ClassInvalid,
			Text: "database.url cannot be read: it must look like postgres://user:password@host:5432/database?sslmode=verify-full"}
	}
	pc.MaxConns, pc.MinConns, pc.MaxConnLifetimeJitter = most, 0, time.Minute
	pc.ConnConfig.ConnectTimeout = cfg.ConnectTimeout
	p := pc.ConnConfig.RuntimeParams
	p["application_name"], p["jit"], p["random_page_cost"] = "waybill/0/"+name, "off", "1.1"
	ownLimits(p)
	pc.ConnConfig.AfterConnect = noTransactionLimit
	for k, v := range settings {
		p[k] = v
	}
	role = cfg.Schema + "_" + role
	pc.AfterConnect = func(ctx context.Context, c *pgx.Conn) error { return takeRole(ctx, c, role) }
	throughPooler(pc)
	pool, err := pgxpool.NewWithConfig(context.Background(), pc)
	if err != nil {
		return people{}, fmt.Errorf("postgres: %s: %w", name, err)
	}
	return people{pool: pool, schema: cfg.Schema, sql: func(q string) string { return strings.ReplaceAll(q, "outbox.", cfg.Schema+".") }}, nil
}

// takeRole sets the role when the login is a member that does not inherit: one login for everything is a set-up that STORE allows small teams.
func takeRole(ctx context.Context, c *pgx.Conn, role string) error {
	var member bool
	err := c.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = $1 AND pg_has_role(r.oid, 'MEMBER') AND NOT pg_has_role(r.oid, 'USAGE'))`, role).Scan(&member)
	if err != nil || !member {
		return err
	}
	_, err = c.Exec(ctx, "SET ROLE "+pgx.Identifier{role}.Sanitize())
	return err
}

// personError says what failed and what to do. A missing right becomes relay.ErrDenied, a missing schema a *relay.ConfigError.
func personError(op, schema, role string, err error) error {
	switch sqlState(err) {
	case stateDenied:
		return fmt.Errorf("%w: %s: the database login lacks a right; grant it role %s_%s", relay.ErrDenied, op, schema, role)
	case stateNoTable, stateNoSchema, stateNoFunction:
		return &relay.ConfigError{Class: relay.ClassInvalid, Text: fmt.Sprintf("%s: schema %q is missing or older than this program; run: waybill migrate up", op, schema)}
	case stateBadPassword, stateBadLogin, stateNoDatabase:
		return &relay.ConfigError{Class: relay.ClassAuth, Text: explain(op, err).Error()}
	}
	if err == nil {
		return nil
	}
	return explain(op, oneLine{err})
}

// oneLine is an error whose text fits a line: pgx writes one line for each address that it tried.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }
func (e oneLine) Unwrap() error { return e.error }

func (i *Inspector) failed(op string, err error) error {
	if errors.Is(err, relay.ErrNotFound) {
		return err
	}
	return personError(op, i.schema, "viewer", err)
}

// Version returns the version of the schema, 0 when there is none.
func (i *Inspector) Version(ctx context.Context) (int, error) {
	var v int
	err := i.db.QueryRow(ctx, i.sql(`SELECT outbox.version()`)).Scan(&v)
	if state := sqlState(err); state == stateNoSchema || state == stateNoFunction {
		return 0, nil
	}
	return v, i.failed("version", err)
}

// Every count ends at one above the cap, and starts from an index.
const (
	sqlOverview = `SELECT clock_timestamp(), o.epoch, coalesce(o.owner, ''), coalesce(o.address, ''), o.acquired_at,
  CASE WHEN isfinite(o.lease_until) THEN o.lease_until END, o.alive, o.released, o.quiet_until, o.low_water, o.read_up_to, o.claimed, o.last_id,
  coalesce((SELECT m.id FROM outbox.message_safe m ORDER BY m.id LIMIT 1), 0) FROM outbox.overview o`
	sqlPending = `SELECT count(*), (SELECT m.created_at FROM outbox.message_safe m WHERE m.id = (SELECT min(p.id) FROM outbox.message_pending p))
FROM (SELECT FROM outbox.message_pending LIMIT $1) x`
	sqlHeldCounts = `SELECT s.state, (SELECT count(*) FROM (SELECT FROM outbox.message_held h WHERE h.state = s.state LIMIT $1) x)
FROM unnest(ARRAY['retrying', 'blocked', 'scheduled', 'dead']) AS s(state)`
	// A skip scan in steps: a step counts the keys of the next few index entries, and begins behind the last one's key. It takes in more where each entry has a key of
	// its own, and less where many wait behind one key. Both limits are needed: the constant keeps the planner on the index.
	sqlClosedCount = `WITH RECURSIVE k AS (
  SELECT ''::text COLLATE "C" AS topic, ''::text COLLATE "C" AS key, 0::bigint AS n, 1::bigint AS step
  UNION ALL
  SELECT c.topics[c.found], c.keys[c.found], k.n + c.found, least(2 * c.found, 256) FROM k CROSS JOIN LATERAL (
    SELECT count(*) AS found, array_agg(g.topic) AS topics, array_agg(g.key) AS keys FROM (SELECT y.topic, y.key FROM (SELECT x.topic, x.key FROM (
      SELECT h.topic, h.key FROM outbox.message_held h WHERE h.key IS NOT NULL AND h.state <> 'scheduled' AND NOT h.passed
        AND (h.topic, h.key) > (k.topic, k.key) ORDER BY h.topic, h.key, h.id LIMIT 256) x LIMIT k.step) y GROUP BY y.topic, y.key ORDER BY y.topic, y.key) g) c
  WHERE k.n < $1 AND c.found > 0)
SELECT least(max(k.n), $1) FROM k`
	sqlRelays = `SELECT instance, started_at, seen_at, version, coalesce(address, ''), checks FROM outbox.relay
WHERE seen_at > clock_timestamp() - interval '15 s' ORDER BY instance LIMIT 200`
)

// Overview implements relay.Inspector.
func (i *Inspector) Overview(ctx context.Context) (relay.Overview, error) {
	o := relay.Overview{Held: map[relay.HeldState]relay.Count{}}
	b := &pgx.Batch{}
	b.Queue(i.sql(sqlOverview)).QueryRow(func(r pgx.Row) error {
		return r.Scan(&o.Now, &o.Epoch, &o.Owner, &o.Address, opt(&o.AcquiredAt), opt(&o.LeaseUntil), &o.Alive, &o.Released, &o.QuietUntil,
			&o.LowWater, &o.ReadUpTo, &o.Claimed, &o.LastID, &o.FirstID)
	})
	b.Queue(i.sql(sqlPending), relay.CountCap+1).QueryRow(func(r pgx.Row) error { return r.Scan(&o.Pending, opt(&o.OldestAt)) })
	b.Queue(i.sql(sqlHeldCounts), relay.CountCap+1).Query(func(rows pgx.Rows) error {
		var state relay.HeldState
		var n relay.Count
		_, err := pgx.ForEachRow(rows, []any{&state, &n}, func() error { o.Held[state] = n; return nil })
		return err
	})
	b.Queue(i.sql(sqlClosedCount), relay.CountCap+1).QueryRow(func(r pgx.Row) error { return r.Scan(&o.Closed) })
	b.Queue(i.sql(sqlRelays)).Query(func(rows pgx.Rows) (err error) {
		o.Relays, err = pgx.CollectRows(rows, scanRelay)
		return err
	})
	b.Queue(i.sql(sqlPaused)).Query(func(rows pgx.Rows) (err error) {
		o.Paused, err = pgx.CollectRows(rows, scanPaused)
		return err
	})
	if err := i.db.SendBatch(ctx, b).Close(); err != nil {
		return relay.Overview{}, i.failed("overview", err)
	}
	o.Now, o.QuietUntil = o.Now.UTC(), o.QuietUntil.UTC()
	return o, nil
}

func scanRelay(r pgx.CollectableRow) (n relay.RelayInfo, err error) {
	var checks []byte
	if err = r.Scan(&n.Instance, &n.StartedAt, &n.SeenAt, &n.Version, &n.Address, &checks); err != nil {
		return n, err
	}
	n.StartedAt, n.SeenAt = n.StartedAt.UTC(), n.SeenAt.UTC()
	var body struct {
		Destinations map[string]relay.DestinationStatus `json:"destinations"`
	}
	if json.Unmarshal(checks, &body) == nil { // a relay of another version may report in another form: then there is nothing to show
		n.Destinations = body.Destinations
	}
	return n, nil
}

// HeldByDestination counts held messages by destination and state, in one pass over all of them: 0.1 s for 100,000. For metrics, every now and then.
func (i *Inspector) HeldByDestination(ctx context.Context) (map[string]map[relay.HeldState]float64, error) {
	counts := map[string]map[relay.HeldState]float64{}
	var destination string
	var state relay.HeldState
	var n int64
	rows, err := i.db.Query(ctx, i.sql(`SELECT destination, state, count(*) FROM outbox.message_held GROUP BY 1, 2`))
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&destination, &state, &n}, func() error {
			if counts[destination] == nil {
				counts[destination] = map[relay.HeldState]float64{}
			}
			counts[destination][state] = float64(n)
			return nil
		})
	}
	if err != nil {
		return nil, i.failed("held counts", err)
	}
	return counts, nil
}

// optional scans null as the zero time, and gives UTC.
type optional struct{ t *time.Time }

func opt(t *time.Time) optional { return optional{t} }

// Scan implements sql.Scanner.
func (o optional) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*o.t = time.Time{}
	case time.Time:
		*o.t = v.UTC()
	default:
		return fmt.Errorf("postgres: a time arrived as %T", src)
	}
	return nil
}

// pageSize brings a wish into 1 to MaxPage.
func pageSize(limit int) int {
	if limit <= 0 {
		return relay.DefaultPage
	}
	return min(limit, relay.MaxPage)
}

var heldStates = []string{string(relay.Retrying), string(relay.Blocked), string(relay.Scheduled), string(relay.Dead)}

func isHeldState(s string) bool { return slices.Contains(heldStates, s) }
