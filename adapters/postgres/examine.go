package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

// Seen is one part of an examination: what was seen, or why it could not be looked at. An Err that is relay.ErrDenied means that the login lacks the right.
type Seen[T any] struct {
	V   T
	Err error
}

// Examination is what a server tells about itself and about an outbox. It holds facts only: what they mean is judged elsewhere.
type Examination struct {
	Schema       string
	Server       ServerFacts
	Login        Seen[LoginFacts]
	Version      Seen[int] // of the schema; 0 = there is none. Without a schema the parts below are empty
	Tables       Seen[[]TableFacts]
	Hooks        Seen[[]Hook]
	IDs          Seen[IDFacts]
	Place        Seen[PlaceFacts]
	Identity     Seen[IdentityFacts]
	Transactions Seen[[]Holder] // older than OldTransaction; those of other logins only where the login may see them
	Prepared     Seen[[]Holder]
	Slots        Seen[[]Slot]
	Ages         Seen[[]AgeFacts] // of each database of the server, the oldest first
	Notify       Seen[float64]    // how full the server's queue of notifications is; 1 = full
	Growth       Seen[GrowthFacts]
	Plans        Seen[PlanFacts]
	Indexes      Seen[IndexFacts]
	Commit       Seen[[]RoleSetting] // synchronous_commit where a role or the database sets it
	Rights       Seen[[]Right]
	Public       Seen[[]string] // what everybody may: "EXECUTE on function publish(…)"
	Definers     Seen[[]string] // SECURITY DEFINER functions without a search_path of their own, with their arguments
}

// OldTransaction is the age from which an open transaction is a fact worth telling.
const OldTransaction = time.Minute

// ServerFacts are about the server and the way to it.
type ServerFacts struct {
	Version    int // as server_version_num: 180001
	Recovery   bool
	ReadOnly   bool          // transactions of this login are read only from the start
	ReadOnlyBy string        // where that default comes from, as pg_settings.source says it
	Database   string        // its name
	Ahead      time.Duration // its clock minus ours
	Pooled     bool          // something in between gives server connections to clients
	Shared     bool          // and not for as long as a client is connected
	Direct     Seen[bool]    // the same of the direct address; false without one
	HasDirect  bool
	Encrypted  bool
	Verified   bool // the certificate of the server is checked
	Local      bool // over loopback or a socket of this machine
	// When the certificate ends that the server is shown, or one that it rests on; zero = it is shown none. And how long that is by our clock.
	CertificateEnds time.Time
	CertificateLeft time.Duration
	Settings        map[string]string // those of examinedSettings
}

var examinedSettings = []string{"fsync", "full_page_writes", "synchronous_commit", "autovacuum", "track_counts"}

// LoginFacts say who the login is. Roles are named without the prefix of the schema.
type LoginFacts struct {
	Name       string
	Superuser  bool
	SeesOthers bool            // may see transactions of other logins
	Exists     map[string]bool // by role
	Member     map[string]bool
}

// TableFacts describe a table or partition of the schema. Rows are the server's estimates.
type TableFacts struct {
	Name        string
	Partition   bool
	Persistence string // p = logged, u = unlogged
	RowSecurity bool
	Options     []string
	Live, Dead  int64
}

// Hook is a trigger or a rule on a table of the schema.
type Hook struct {
	Table, Name string
	Rule        bool
	Before      bool   // acts before the row or instead of it
	Enabled     string // O and A = fires for applications; R = on replicas only; D = never
	Function    string // schema.name; empty for a rule
}

// IDFacts are how ids are drawn.
type IDFacts struct {
	Cache, Increment int64
	Cycles           bool
	Default          string // expression of message_log.id
}

// PlaceFacts are where ids and partitions stand.
type PlaceFacts struct {
	Last   int64 // the sequence's position
	Max    int64 // highest id in the log
	Ahead  int   // whole partitions above Last
	Top    int64 // upper bound of the highest partition, exclusive
	RestLo int64 // lowest id in the default partition; 0 = it is empty
	RestHi int64
}

// IdentityFacts compare this server with the one that the outbox was written on last.
type IdentityFacts struct {
	SameServer   bool // system identifier and database
	SameTimeline bool
}

// Slot is a replication slot.
type Slot struct {
	Name     string
	Active   bool
	Retained int64 // bytes of WAL kept for it
	Status   string
	XminAge  int64 // transactions since the oldest that it protects; 0 = it protects none
}

// AgeFacts say how far a database is behind the newest transaction ids; at 2^31 the server refuses every write.
type AgeFacts struct {
	Database                 string
	Transactions, Multixacts int64
}

// RoleSetting is a setting that a role or a database brings along.
type RoleSetting struct{ Role, Database, Value string }

// Right is a right that one of the outbox's roles has on a table.
type Right struct {
	Role      string // without prefix
	Table     string
	Privilege string // SELECT, INSERT, UPDATE, DELETE, TRUNCATE; of any column
	Partition bool
	Content   bool // SELECT reaches payloads or header values
}

// Examine connects as the login of cfg.URL, without taking a role until the outbox's own tables are read, and looks at everything. It writes nothing. The error
// says that the server cannot be asked at all; what a person must change about that is a *relay.ConfigError. It blocks at most until the deadline of ctx.
func Examine(ctx context.Context, cfg Config) (Examination, error) {
	return examine(ctx, cfg, OldTransaction)
}

func examine(ctx context.Context, cfg Config, old time.Duration) (Examination, error) {
	if err := cfg.complete(); err != nil {
		return Examination{}, err
	}
	e := examiner{cfg: cfg, old: old, x: Examination{Schema: cfg.Schema}}
	conn, err := e.connect(ctx, cfg.URL)
	if err != nil {
		return Examination{}, personError("examine", cfg.Schema, "relay", err)
	}
	e.conn = conn
	defer e.conn.Close(context.WithoutCancel(ctx))
	if err := e.server(ctx); err != nil {
		return Examination{}, personError("examine", cfg.Schema, "relay", err)
	}
	e.look(ctx)
	return e.x, nil
}

type examiner struct {
	cfg  Config
	old  time.Duration // from which a transaction is told of
	conn *pgx.Conn
	x    Examination
}

// connect does not ask for a primary: that it is none is a finding, not a failure.
func (e *examiner) connect(ctx context.Context, url string) (*pgx.Conn, error) {
	cc, err := pgx.ParseConfig(url)
	if err != nil { // the error of the parser may contain the password
		return nil, &relay.ConfigError{Class: relay.ClassInvalid, Text: "database.url or database.direct_url cannot be read"}
	}
	cc.ConnectTimeout = e.cfg.ConnectTimeout
	cc.DefaultQueryExecMode = pgx.QueryExecModeExec // no prepared statement: a pooler may be in between
	p := cc.RuntimeParams
	p["application_name"], p["search_path"], p["jit"] = "waybill/0/inspector", "pg_catalog", "off"
	p["statement_timeout"] = millis(e.cfg.StatementTimeout)
	ownLimits(p)
	cc.AfterConnect = noTransactionLimit
	conn, _, err := dial(ctx, cc)
	return conn, err
}

func (e *examiner) server(ctx context.Context) error {
	s := &e.x.Server
	began := time.Now()
	var now time.Time
	var pid int64
	var settings map[string]string
	err := e.conn.QueryRow(ctx, `SELECT clock_timestamp(), current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
		pg_backend_pid(), coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
		(SELECT jsonb_object_agg(name, setting) FROM pg_settings WHERE name = ANY ($1::text[])),
		(SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only')`, examinedSettings).
		Scan(&now, &s.Version, &s.Recovery, &s.ReadOnly, &pid, &s.Encrypted, &settings, &s.ReadOnlyBy)
	if err != nil {
		return err
	}
	s.Settings, s.Database = settings, e.conn.Config().Database
	took := time.Since(began)
	s.Ahead = now.Sub(began.Add(took / 2))
	if s.Ahead.Abs() < took { // the answer took longer than that: nothing is known
		s.Ahead = 0
	}
	if s.Pooled = pid != int64(e.conn.PgConn().PID()); s.Pooled {
		pc, err := e.cfg.ConnConfig("reader")
		if err != nil {
			return err
		}
		if _, s.Shared, err = shared(ctx, pc); err != nil {
			return err
		}
	}
	link := e.conn.Config().TLSConfig
	s.Verified = s.Encrypted && link != nil && (!link.InsecureSkipVerify || link.VerifyPeerCertificate != nil)
	if s.Encrypted && link != nil {
		s.CertificateEnds = firstEnd(link.Certificates)
		s.CertificateLeft = time.Until(s.CertificateEnds)
	}
	s.Local = isLocal(e.conn.PgConn().Conn().RemoteAddr())
	if s.HasDirect = e.cfg.DirectURL != e.cfg.URL; s.HasDirect {
		s.Direct.V, s.Direct.Err = e.pooled(ctx, e.cfg.DirectURL)
	}
	return nil
}

// pooled asks whether something between us and the server keeps connections: then the process that answers is not the one that was announced.
func (e *examiner) pooled(ctx context.Context, url string) (bool, error) {
	conn, err := e.connect(ctx, url)
	if err != nil {
		return false, personError("direct_url", e.cfg.Schema, "relay", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var pid int64
	err = conn.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid)
	return pid != int64(conn.PgConn().PID()), personError("direct_url", e.cfg.Schema, "relay", err)
}

// firstEnd is when the first of all certificates ends that could be shown; zero = there is none.
func firstEnd(all []tls.Certificate) (first time.Time) {
	for _, chain := range all {
		for _, der := range chain.Certificate {
			if c, err := x509.ParseCertificate(der); err == nil && (first.IsZero() || c.NotAfter.Before(first)) {
				first = c.NotAfter
			}
		}
	}
	return first
}

func isLocal(addr net.Addr) bool {
	switch a := addr.(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	}
	return false
}

// seen runs one question; what it may not ask or what takes too long is part of the answer.
func seen[T any](ctx context.Context, e *examiner, into *Seen[T], ask func(context.Context) (T, error)) {
	into.V, into.Err = ask(ctx)
	if into.Err != nil {
		into.Err = personError("examine", e.cfg.Schema, "relay", into.Err)
	}
}

// rows collects what one query gives, by the order of the columns.
func rows[T any](e *examiner, sql string, args ...any) func(context.Context) ([]T, error) {
	return func(ctx context.Context) ([]T, error) {
		r, err := e.conn.Query(ctx, sql, args...)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(r, pgx.RowToStructByPos[T])
	}
}

func texts(e *examiner, sql string, args ...any) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		r, err := e.conn.Query(ctx, sql, args...)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(r, pgx.RowTo[string])
	}
}

func (e *examiner) sql(q string) string {
	return strings.ReplaceAll(q, "outbox.", e.cfg.Schema+".")
}

// String names a holder for people.
func (h Holder) String() string {
	who := fmt.Sprintf("pid %d", h.PID)
	if h.GID != "" {
		who = fmt.Sprintf("prepared transaction %q", h.GID)
	}
	return fmt.Sprintf("%s of %s in %s, %s, %s old", who, h.User, h.Database, h.State, h.Age.Round(time.Second))
}
