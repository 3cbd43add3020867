package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Version is the newest schema version, the number of the newest file; outbox.version() returns it once that file is applied.
const Version = 14

// A migration that meets somebody's lock gives up after lock_timeout and is tried again, so that business transactions never queue behind it for longer.
const (
	maxLockTries  = 60
	lockTryPause  = time.Second
	lockWaitTries = 300 // seconds to wait for another migration of the same outbox
)

// ErrUnsent is given by Down while messages are pending or held.
var ErrUnsent = errors.New("migrations: messages are pending or held; let the relay send them, or discard them, before the schema goes down")

// Migration is one step that was done.
type Migration struct {
	Version int64
	Name    string // file name
	Took    time.Duration
}

// State is one migration of this program and whether the database has it.
type State struct {
	Version   int64
	Name      string
	AppliedAt time.Time // zero = not applied
}

// Up creates roles and schema where they are missing and applies every migration that the database does not have, each in its own transaction. url is a
// direct connection to the primary (no transaction pooler). Concurrent calls wait for each other. On error the migrations returned are applied.
// The login needs CREATEROLE and CREATE on the database the first time; later ones only membership in <schema>_migrator.
func Up(ctx context.Context, url string, o Options) ([]Migration, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := bootstrap(ctx, url, o); err != nil {
		return nil, err
	}
	return run(ctx, url, o, func(p *goose.Provider) ([]*goose.MigrationResult, error) { return p.Up(ctx) })
}

// Down takes back every migration above `to`, newest first; 0 removes everything but schema, version table and roles (roles belong to the whole cluster).
// ErrUnsent: messages are pending or held.
func Down(ctx context.Context, url string, o Options, to int64) ([]Migration, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	done, err := run(ctx, url, o, func(p *goose.Provider) ([]*goose.MigrationResult, error) { return p.DownTo(ctx, to) })
	if code(err) == "55000" {
		return done, ErrUnsent
	}
	return done, err
}

// Status returns every migration of this program in order. It writes nothing.
func Status(ctx context.Context, url string, o Options) ([]State, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	all, err := o.load()
	if err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("migrations: connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	applied, err := appliedAt(ctx, conn, o)
	if err != nil {
		return nil, err
	}
	states := make([]State, 0, len(all))
	for _, f := range all {
		states = append(states, State{Version: f.version, Name: f.name, AppliedAt: applied[f.version]})
	}
	return states, nil
}

// appliedAt reads the version table, which may not exist yet.
func appliedAt(ctx context.Context, conn *pgx.Conn, o Options) (map[int64]time.Time, error) {
	table := o.schema() + ".migrations"
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&exists); err != nil || !exists {
		return nil, wrap(err, o)
	}
	if !o.SingleRole {
		if _, err := conn.Exec(ctx, "SET ROLE "+o.schema()+"_owner"); err != nil {
			return nil, wrap(err, o)
		}
	}
	rows, err := conn.Query(ctx, "SELECT version_id, max(tstamp AT TIME ZONE current_setting('TimeZone')) FROM "+table+" WHERE is_applied GROUP BY 1")
	if err != nil {
		return nil, wrap(err, o)
	}
	applied := map[int64]time.Time{}
	var version int64
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&version, &at}, func() error { applied[version] = at; return nil })
	return applied, wrap(err, o)
}

// bootstrap makes roles and schema in one transaction under an advisory lock: goose needs its version table in the schema before the first migration.
func bootstrap(ctx context.Context, url string, o Options) error {
	script, err := o.bootstrap()
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("migrations: connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var reserved bool
	if err := conn.QueryRow(ctx, "SELECT quote_ident($1) <> $1", o.schema()).Scan(&reserved); err != nil {
		return wrap(err, o)
	}
	if reserved {
		return fmt.Errorf("migrations: schema %q is a reserved word of PostgreSQL; choose another name", o.schema())
	}
	return wrap(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lockID(o, "bootstrap")); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, script)
		return err
	}), o)
}

// run does one thing with goose until no lock is in its way.
func run(ctx context.Context, url string, o Options, do func(*goose.Provider) ([]*goose.MigrationResult, error)) ([]Migration, error) {
	db, err := open(url, o)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var done []Migration
	for try := 1; ; try++ {
		results, err := once(db, o, do)
		done = append(done, results...)
		if c := code(err); err == nil || try == maxLockTries || c != "55P03" && c != "40P01" {
			return done, wrap(err, o)
		}
		select {
		case <-ctx.Done():
			return done, fmt.Errorf("migrations: gave up waiting for a lock: %w", context.Cause(ctx))
		case <-time.After(lockTryPause):
		}
	}
}

func once(db *sql.DB, o Options, do func(*goose.Provider) ([]*goose.MigrationResult, error)) ([]Migration, error) {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(lockID(o, "goose")), lock.WithLockTimeout(1, lockWaitTries))
	if err != nil {
		return nil, err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, rendered{o}, goose.WithTableName(o.schema()+".migrations"), goose.WithSessionLocker(locker),
		goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	results, err := do(p)
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		results = partial.Applied
	}
	done := make([]Migration, 0, len(results))
	for _, r := range results {
		done = append(done, Migration{Version: r.Source.Version, Name: r.Source.Path, Took: r.Duration})
	}
	return done, err
}

// open returns connections that act as the owner of the schema, so that its version table belongs to it too.
func open(url string, o Options) (*sql.DB, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	config.RuntimeParams["application_name"] = "waybill/migrate"
	if o.SingleRole {
		return stdlib.OpenDB(*config), nil
	}
	return stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET ROLE "+o.schema()+"_owner")
		return err
	})), nil
}

// lockID is an advisory lock of this outbox for one purpose.
func lockID(o Options, purpose string) int64 {
	return int64(0x77617962)<<32 | int64(crc32.ChecksumIEEE([]byte(o.schema()+"/"+purpose))) // "wayb"
}

// code returns the SQLSTATE of err, or nothing.
func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// wrap adds what a person can do about it.
func wrap(err error, o Options) error {
	switch code(err) {
	case "":
		if err == nil {
			return nil
		}
		return fmt.Errorf("migrations: schema %q: %w", o.schema(), err)
	case "42501":
		return fmt.Errorf("migrations: schema %q: this login may not do that: it must be a member of %s_migrator, or, the first time, be allowed to create roles and"+
			" a schema; on a server that does not allow that: waybill migrate up --single-role: %w", o.schema(), o.schema(), err)
	case "55P03", "40P01":
		return fmt.Errorf("migrations: schema %q: a long transaction holds a lock; end it and run this again, what was applied stays applied: %w", o.schema(), err)
	default:
		return fmt.Errorf("migrations: schema %q: %w", o.schema(), err)
	}
}
