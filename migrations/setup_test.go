package migrations

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybillmq/waybill/internal/testservices"
)

func TestMain(m *testing.M) { testservices.Main(m) }

// eachEmpty runs the test on an empty database of the oldest and of the newest supported PostgreSQL.
func eachEmpty(t *testing.T, test func(t *testing.T, pg *testservices.PG)) {
	t.Parallel()
	for name, major := range map[string]int{"PostgreSQL 15": 15, "PostgreSQL 18": 18} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, testservices.Postgres(t, major))
		})
	}
}

// eachOutbox runs the test on a fresh outbox of both, with a superuser's connection.
func eachOutbox(t *testing.T, test func(t *testing.T, url string, conn *pgx.Conn)) {
	eachEmpty(t, func(t *testing.T, pg *testservices.PG) {
		up(t, pg.URL, Options{})
		test(t, pg.URL, connect(t, pg.URL))
	})
}

func up(t *testing.T, url string, o Options) []Migration {
	t.Helper()
	done, err := Up(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func do(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func ask[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// try returns the SQLSTATE of a statement that may fail.
func try(ctx context.Context, conn *pgx.Conn, sql string, args ...any) (code, message string) {
	_, err := conn.Exec(ctx, sql, args...)
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return "", ""
	case errors.As(err, &pg):
		return pg.Code, pg.Message
	default:
		return "client", err.Error()
	}
}

// eventually asks until it holds, for at most ten seconds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// waiting says whether a backend with that process id waits for a lock.
func waiting(t *testing.T, conn *pgx.Conn, pid uint32) bool {
	t.Helper()
	return ask[bool](t, conn, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock')", int64(pid))
}
