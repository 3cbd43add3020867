package migrations

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// written fills the first partition (0 to 1000 for this test) with old messages and moves the sequence behind it.
func written(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	do(t, conn, `ALTER TABLE outbox.message_log DETACH PARTITION outbox.message_log_0; DROP TABLE outbox.message_log_0;
		ALTER TABLE outbox.receipts DETACH PARTITION outbox.receipts_0; DROP TABLE outbox.receipts_0;
		SELECT outbox.add_partition(0, 1000), outbox.add_partition(1000, 2000)`)
	do(t, conn, `INSERT INTO outbox.message_log (topic, payload, created_at) SELECT 't', 'x', now() - interval '10 days' FROM generate_series(1, 1500);
		DELETE FROM outbox.message_pending`)
}

func names(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return ask[string](t, conn, "SELECT string_agg(name || ' ' || lo || ' ' || hi, ', ' ORDER BY lo) FROM outbox.partitions")
}

func TestAddPartition(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		if got := names(t, conn); got != "message_log_0 0 1000000, message_log_1000000 1000000 2000000" {
			t.Errorf("a fresh outbox has %s", got)
		}
		do(t, conn, "SELECT outbox.publish('t', '{}')")
		if p := ask[string](t, conn, "SELECT tableoid::regclass::text FROM outbox.message_log"); p != "outbox.message_log_0" {
			t.Errorf("the first message lies in %s", p)
		}

		writer := connect(t, url) // does not hold up a new partition, since it has not read the log
		do(t, writer, "BEGIN; SELECT outbox.publish('t', '{}', 'k')")
		for range 2 { // the second time it is there
			if name := ask[string](t, conn, "SELECT outbox.add_partition(2000000, 2500000)"); name != "message_log_2000000" {
				t.Errorf("name %s", name)
			}
		}
		do(t, writer, "COMMIT")
		if n := ask[int](t, conn, `SELECT count(*)::int FROM pg_class WHERE relnamespace = 'outbox'::regnamespace AND relname IN ('message_log_2000000', 'receipts_2000000')
				AND relispartition AND 'autovacuum_vacuum_insert_threshold=-1' = ANY (reloptions)`); n != 2 {
			t.Errorf("%d partitions with their settings", n)
		}
		if n := ask[int](t, conn, `SELECT count(*)::int FROM pg_attribute WHERE attrelid = 'outbox.message_log_2000000'::regclass AND attname IN ('payload', 'headers')
				AND attstattarget = 0`); n != 2 {
			t.Error("the new partition gathers statistics of payloads")
		}

		reader := connect(t, url)
		do(t, reader, "BEGIN; SELECT count(*) FROM outbox.message_log")
		if code, _ := try(t.Context(), conn, "SELECT outbox.add_partition(2500000, 3000000)"); code != "55P03" {
			t.Errorf("behind an open reader: %q", code)
		}
		do(t, reader, "COMMIT")
		for sql, want := range map[string]string{"add_partition(2400000, 2600000)": "42P17", "add_partition(5, 5)": "22023", "add_partition(-5, 5)": "22023",
			"add_partition(NULL, 5)": "22023"} {
			if code, message := try(t.Context(), conn, "SELECT outbox."+sql); code != want {
				t.Errorf("%s: %q %s", sql, code, message)
			}
		}
	})
}

func TestDropPartition(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		written(t, conn)
		reason := func(sql string) string {
			return ask[string](t, conn, "SELECT coalesce(outbox."+sql+", 'done')")
		}
		refuses := func(when, sql, want string) {
			t.Helper()
			if got := reason(sql); !strings.Contains(got, want) {
				t.Errorf("%s: %s, want %s", when, got, want)
			}
		}
		refuses("unknown", "drop_partition('message_held', '1 day')", `there is no partition "message_held"`)
		refuses("the default", "drop_partition('message_log_rest', '1 day')", "there is no partition")
		refuses("not full", "drop_partition('message_log_1000', '1 day')", "ids below 2000 are still to be written")
		refuses("too young", "drop_partition('message_log_0', '11 days')", "its newest message is 10 days old")
		do(t, conn, "INSERT INTO outbox.message_pending VALUES (999)")
		refuses("pending", "drop_partition('message_log_0', '3 days')", "pending")
		do(t, conn, "DELETE FROM outbox.message_pending; INSERT INTO outbox.message_held (id, state, topic) VALUES (1, 'dead', 't')")
		refuses("held", "drop_partition('message_log_0', '3 days')", "held")
		do(t, conn, "UPDATE outbox.message_held SET id = 1000") // of the next partition

		writer := connect(t, url)
		do(t, writer, "BEGIN; SELECT outbox.publish('t', '{}')")
		if code, _ := try(t.Context(), conn, "SELECT outbox.drop_partition('message_log_0', '3 days')"); code != "55P03" {
			t.Errorf("beside an open writer: %q", code)
		}
		do(t, writer, "COMMIT")
		if code, _ := try(t.Context(), conn, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT outbox.drop_partition('message_log_0', '3 days')"); code != "25001" {
			t.Errorf("with one snapshot for both checks: %q", code)
		}
		do(t, conn, "ROLLBACK")

		// a receipt in this range may also prove messages of an older partition that is still pinned
		do(t, conn, `INSERT INTO outbox.receipts (hi, lo, n, epoch, seq, destination, lane, acked_at, ids) VALUES (900, 900, 1, 1, 1, 'k', '0', now(), '\x8407'),
			(1001, 999, 2, 1, 2, 'k', '0', now(), '\xe70702'), (1200, 1200, 1, 1, 3, 'k', '0', now(), '\xb009')`)
		if got := reason("drop_partition('message_log_0', '3 days')"); got != "done" {
			t.Fatalf("not dropped: %s", got)
		}
		if n := ask[int](t, conn, "SELECT min(id)::int FROM outbox.message_log"); n != 1000 {
			t.Errorf("the lowest id is %d", n)
		}
		if got := names(t, conn); got != "message_log_1000 1000 2000, message_log_1000000 1000000 2000000" {
			t.Errorf("partitions %s", got)
		}
		if n := ask[int](t, conn, "SELECT count(*)::int FROM pg_class WHERE relname IN ('receipts_0', 'message_log_0')"); n != 0 {
			t.Errorf("%d tables left", n)
		}
		if a := ask[string](t, conn, "SELECT concat_ws(' ', actor, via, action, target) FROM outbox.activity"); a != "waybill auto drop_partition message_log_0" {
			t.Errorf("activity %s", a)
		}

		do(t, conn, "SELECT setval('outbox.message_id_seq', 2000); DELETE FROM outbox.message_held; DELETE FROM outbox.message_pending")
		do(t, conn, "UPDATE outbox.message_log SET created_at = now() - interval '10 days'")
		if got := reason("drop_partition('message_log_1000', '3 days')"); got != "done" {
			t.Fatalf("not dropped: %s", got)
		}
		if got := ask[string](t, conn, "SELECT string_agg(tableoid::regclass || ' ' || lo, ', ') FROM outbox.receipts"); got != "outbox.receipts_rest 999" {
			t.Errorf("receipts left: %s", got)
		}
	})
}

// Between the first look and the lock a writer may come in and commit: the second look sees its message.
func TestDropPartitionLooksAgain(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		written(t, conn)
		writer, dropper := connect(t, url), connect(t, url)
		do(t, writer, "BEGIN; LOCK TABLE outbox.message_log IN ROW EXCLUSIVE MODE")
		// the function's own 200 ms would end before the writer acts on a slow machine
		do(t, conn, "ALTER FUNCTION outbox.drop_partition(text, interval) SET lock_timeout = '60s'")
		done := make(chan string, 1)
		go func() {
			var reason string
			if err := dropper.QueryRow(t.Context(), "SELECT coalesce(outbox.drop_partition('message_log_0', '3 days'), 'done')").Scan(&reason); err != nil {
				reason = err.Error()
			}
			done <- reason
		}()
		eventually(t, "the dropper waits", func() bool { return waiting(t, conn, dropper.PgConn().PID()) })
		do(t, writer, "INSERT INTO outbox.message_pending VALUES (500); COMMIT") // as a late writer's trigger would
		if reason := <-done; !strings.Contains(reason, "pending") {
			t.Errorf("dropped a pending message: %s", reason)
		}
	})
}

func TestShrinkPartition(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		written(t, conn)
		before := dumpTable(t, conn)
		do(t, conn, "INSERT INTO outbox.message_held (id, state, topic) SELECT i, 'dead', 't' FROM unnest('{7,900,1000}'::bigint[]) i; INSERT INTO outbox.message_pending VALUES (8)")
		shrink := func() string {
			return ask[string](t, conn, "SELECT coalesce(outbox.shrink_partition('message_log_0'), 'done')")
		}
		if got := shrink(); !strings.Contains(got, "pending") {
			t.Errorf("with a pending message: %s", got)
		}
		do(t, conn, "DELETE FROM outbox.message_pending")
		writer := connect(t, url)
		do(t, writer, "BEGIN; SELECT outbox.publish('t', '{}')")
		if code, _ := try(t.Context(), conn, "SELECT outbox.shrink_partition('message_log_0')"); code != "55P03" {
			t.Errorf("beside an open writer: %q", code)
		}
		do(t, writer, "COMMIT")
		if got := shrink(); got != "done" {
			t.Fatalf("not shrunk: %s", got)
		}
		if ids := ask[string](t, conn, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM outbox.message_log WHERE id < 1000 AND tableoid = 'outbox.message_log_0'::regclass"); ids != "7 900" {
			t.Errorf("kept %s", ids)
		}
		if after := dumpTable(t, conn); after != before {
			t.Errorf("the table changed:\n%s\n%s", before, after)
		}
		if n := ask[int](t, conn, "SELECT count(*)::int FROM outbox.message_pending WHERE id < 1000"); n != 0 {
			t.Error("copied messages became pending")
		}
		do(t, conn, "INSERT INTO outbox.message_log (id, topic, created_at) SELECT i, 't', now() - interval '9 days' FROM generate_series(20, 21) i; DELETE FROM outbox.message_pending")
		if code, _ := try(t.Context(), conn, "INSERT INTO outbox.message_log (id, topic) VALUES (7, 't')"); code != "23505" {
			t.Errorf("the key of the new table: %q", code)
		}
	})
}

// dumpTable describes the first partition: bounds, columns, constraints, indexes, settings.
func dumpTable(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return ask[string](t, conn, `SELECT concat_ws(E'\n', pg_get_expr(c.relpartbound, c.oid), c.reloptions::text, r.rolname,
		(SELECT string_agg(pg_get_constraintdef(k.oid), ', ' ORDER BY k.conname) FROM pg_constraint k WHERE k.conrelid = c.oid),
		(SELECT string_agg(pg_get_indexdef(i.indexrelid), ', ') FROM pg_index i WHERE i.indrelid = c.oid),
		(SELECT string_agg(a.attname || ' ' || coalesce(a.attstattarget, -1), ', ' ORDER BY attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND attnum > 0))
		FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = 'outbox.message_log_0'::regclass`)
}

// Ids beyond every partition are written all the same, become pending, and are purged once settled and old.
func TestRest(t *testing.T) {
	eachOutbox(t, func(t *testing.T, _ string, conn *pgx.Conn) {
		span := func() string { return ask[string](t, conn, "SELECT concat_ws(' ', lo, hi) FROM outbox.rest_range()") }
		if got := span(); got != "" {
			t.Errorf("an empty rest spans %s", got)
		}
		do(t, conn, "SELECT setval('outbox.message_id_seq', 5000000)")
		do(t, conn, "INSERT INTO outbox.message_log (topic, created_at) SELECT 't', now() - interval '9 days' FROM generate_series(1, 5)")
		do(t, conn, "INSERT INTO outbox.message_log (topic) VALUES ('t')")
		if got := span(); got != "5000001 5000006" {
			t.Errorf("the rest spans %s", got)
		}
		if code, _ := try(t.Context(), conn, "SELECT outbox.add_partition(5000000, 6000000)"); code != "23514" {
			t.Errorf("a partition over rows of the rest: %q", code)
		}
		do(t, conn, "SELECT outbox.add_partition(5000007, 6000000)")
		do(t, conn, `DELETE FROM outbox.message_pending WHERE id <> 5000002; INSERT INTO outbox.message_held (id, state, topic) VALUES (5000003, 'dead', 't');
			INSERT INTO outbox.receipts (hi, lo, n, epoch, seq, destination, lane, acked_at, ids)
			SELECT i, i, 1, 1, i, 'k', '0', now(), '' FROM generate_series(5000001, 5000002) i`)
		if n := ask[int](t, conn, "SELECT outbox.purge_rest('3 days', 2)"); n != 2 { // one message, and then its receipt
			t.Errorf("purged %d", n)
		}
		for range 2 {
			do(t, conn, "SELECT outbox.purge_rest('3 days')")
		}
		if got := ask[string](t, conn, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM outbox.message_log"); got != "5000002 5000003 5000006" {
			t.Errorf("left %s", got)
		}
		if got := ask[string](t, conn, "SELECT string_agg(hi::text, ' ') FROM outbox.receipts"); got != "5000002" {
			t.Errorf("receipts left: %s", got)
		}
	})
}
