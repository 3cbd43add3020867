package doctor

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

func connectTo(t *testing.T, s *testservices.PGServer) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// judged are the findings about a server that has no outbox, by id.
func judged(t *testing.T, s *testservices.PGServer) map[string][]Finding {
	t.Helper()
	x, err := postgres.Examine(t.Context(), postgres.Config{URL: s.URL("postgres")})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]Finding{}
	for _, f := range JudgeDatabase(x, migrations.Version) {
		found[f.ID] = append(found[f.ID], f)
	}
	return found
}

// F4: a session that listens and sits in a transaction keeps the server's queue of notifications from being emptied. The doctor says so long before a COMMIT fails
// for it, and is silent when that session has gone.
func TestQueueOfNotificationsFills_F4(t *testing.T) {
	s := testservices.PostgresServer(t, 18, testservices.Setting("max_notify_queue_pages", "64"))
	judge := func() Finding { return worst(judged(t, s)["database.notifications"], "") }
	sleeper, writer := connectTo(t, s), connectTo(t, s)
	fill := func() error {
		_, err := writer.Exec(t.Context(), `SELECT pg_notify('somebody', repeat('x', 7000) || n) FROM generate_series(1, 10) n`)
		return err
	}
	for _, q := range []string{`LISTEN somebody`, `BEGIN`, `SELECT 1`} {
		if _, err := sleeper.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if f := judge(); f.Level != relay.LevelOK {
		t.Errorf("an empty queue: %+v", f)
	}
	seen := ""
	for range 20 {
		if err := fill(); err != nil {
			break
		}
		if level := string(judge().Level); !strings.HasSuffix(seen, level) {
			seen += " " + level
		}
	}
	if seen != " warn fail" {
		t.Errorf("while the queue filled the doctor said%s", seen)
	}
	if err := fill(); err == nil {
		t.Error("the queue is not full: nothing is shown")
	}
	for _, q := range []string{fmt.Sprintf(`SELECT pg_terminate_backend(%d, 10000)`, sleeper.PgConn().PID()), `LISTEN somebody`} { // a reader moves the end on
		if _, err := writer.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if err := fill(); err != nil {
		t.Errorf("after the end of the session that slept: %v", err)
	}
	if _, err := writer.Exec(t.Context(), `UNLISTEN *; NOTIFY somebody`); err != nil {
		t.Fatal(err)
	}
	if f := judge(); f.Level != relay.LevelOK {
		t.Errorf("when it is gone: %+v", f)
	}
}

// F10: a replication slot that somebody forgot keeps vacuum from freezing rows, and transaction ids run out. The doctor says so, names database and slot, and what
// it advises mends it.
func TestTransactionIDsRunOut_F10(t *testing.T) {
	s := testservices.PostgresServer(t, 18)
	age := func() Finding { return worst(judged(t, s)["database.age"], "postgres") }
	do := func(queries ...string) {
		t.Helper()
		conn := connectTo(t, s)
		for _, q := range queries {
			if _, err := conn.Exec(t.Context(), q); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
		}
		_ = conn.Close(t.Context())
	}
	if f := age(); f.Level != relay.LevelOK {
		t.Errorf("a new server: %+v", f)
	}
	do(`SELECT pg_create_logical_replication_slot('forgotten', 'pgoutput')`)
	for _, c := range []struct {
		next  uint64
		level relay.Level
	}{{900_000_000, relay.LevelOK}, {1_100_000_000, relay.LevelWarn}, {1_700_000_000, relay.LevelFail}} {
		if err := s.JumpTo(c.next); err != nil {
			t.Fatal(err)
		}
		do(`VACUUM (FREEZE)`)
		if f := age(); f.Level != c.level || c.level != relay.LevelOK && (f.Fix == "" || f.Effect == "") {
			t.Errorf("at transaction %d: %+v, want %s", c.next, f, c.level)
		}
	}
	slot := worst(judged(t, s)["database.slots"], "forgotten")
	if !strings.Contains(slot.Text, "protects rows from vacuum") {
		t.Errorf("the slot: %+v", slot)
	}
	_, fix, _ := strings.Cut(slot.Fix, ": ")
	do(fix, `VACUUM (FREEZE)`)
	if f := age(); f.Level != relay.LevelOK {
		t.Errorf("mended: %+v", f)
	}
}
