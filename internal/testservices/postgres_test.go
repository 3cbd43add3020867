package testservices_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/testservices"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func ask[T any](t *testing.T, conn *pgx.Conn, sql string) T {
	t.Helper()
	var v T
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSharedPostgresGivesAFreshDatabase(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			one, two := testservices.Postgres(t, major), testservices.Postgres(t, major)
			conn := connect(t, one.URL)
			if got := ask[int](t, conn, "SELECT current_setting('server_version_num')::int / 10000"); got != major {
				t.Errorf("major version %d, want %d", got, major)
			}
			for name, want := range map[string]string{"wal_level": "logical", "fsync": "off", "max_connections": "200", "listen_addresses": "127.0.0.1"} {
				if got := ask[string](t, conn, "SELECT current_setting('"+name+"')"); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
			if one.Name == two.Name {
				t.Errorf("both tests got database %s", one.Name)
			}
			// A slot must not keep the cleanup from dropping the database.
			ask[string](t, conn, "SELECT slot_name FROM pg_create_logical_replication_slot('left_"+one.Name+"', 'pgoutput')")
		})
	}
}

func TestKilledPostgresKeepsItsRowsAndItsPort(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			server := testservices.PostgresServer(t, major, testservices.Setting("work_mem", "5MB"))
			url := server.URL("postgres")
			conn := connect(t, url)
			if got := ask[string](t, conn, "SHOW work_mem"); got != "5MB" {
				t.Errorf("work_mem = %s", got)
			}
			_, err := conn.Exec(t.Context(), "CREATE TABLE kept (n int)")
			must(t, err)
			for cycle := range 5 {
				conn := connect(t, url)
				_, err := conn.Exec(t.Context(), "INSERT INTO kept VALUES ($1)", cycle)
				must(t, err)
				must(t, server.Kill9())
				if _, err := conn.Exec(t.Context(), "SELECT 1"); err == nil {
					t.Fatal("a backend outlived kill -9 of its postmaster")
				}
				must(t, server.Start())
			}
			if got := ask[int](t, connect(t, url), "SELECT count(*) FROM kept"); got != 5 {
				t.Errorf("%d rows after five crashes, want 5", got)
			}
			must(t, server.Stop())
			must(t, server.Start())
		})
	}
}

func TestStandbyIsPromotedWithEveryAcknowledgedRow(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			primary := testservices.PostgresServer(t, major)
			primary.Standby(t, testservices.Async)
			standby := primary.Standby(t, testservices.Sync)
			conn := connect(t, primary.URL("postgres"))
			_, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT generate_series(1, 1000)")
			must(t, err)
			must(t, primary.Kill9())
			must(t, standby.Promote())
			promoted := connect(t, standby.URL("postgres"))
			if got := ask[int](t, promoted, "SELECT count(*) FROM kept"); got != 1000 {
				t.Errorf("%d rows after the promotion, want 1000", got)
			}
			_, err = promoted.Exec(t.Context(), "CREATE TABLE writable ()") // must not wait for a standby of its own
			must(t, err)
		})
	}
}

func TestOneServerWithFsync(t *testing.T) {
	server := testservices.PostgresServer(t, 15, testservices.Fsync())
	if got := ask[string](t, connect(t, server.URL("postgres")), "SHOW fsync"); got != "on" {
		t.Errorf("fsync = %s", got)
	}
}
