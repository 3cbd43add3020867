package migrations

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// answer is what an act returns.
type answer struct {
	ActivityID                                  int64
	Requested, Changed, Sending, Other, Missing int
	Unchanged                                   []int64
}

func act(t *testing.T, conn *pgx.Conn, name string, ids ...int64) answer {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT * FROM outbox."+name+"($1, 'cli:ana@host', 'because')", ids)
	if err != nil {
		t.Fatal(err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[answer])
	if err != nil {
		t.Fatalf("%s %v: %v", name, ids, err)
	}
	return a
}

// held makes held messages from lines "id state key flags": sent and unknown ids have no line. Flags: s = being sent, p = passed, d = due.
func held(t *testing.T, conn *pgx.Conn, rows ...string) {
	t.Helper()
	do(t, conn, "INSERT INTO outbox.message_log (id, topic, payload) SELECT i, 't', 'x' FROM generate_series(1, 30) i; DELETE FROM outbox.message_pending")
	for _, row := range rows {
		var id int64
		var state, key, flags string
		if n, err := fmt.Sscan(row, &id, &state, &key, &flags); n < 3 {
			t.Fatal(err)
		}
		do(t, conn, `INSERT INTO outbox.message_held (id, state, topic, key, sending, passed, due_at, attempts, outcome, class, error, first_failed_at)
			VALUES ($1, $2, 't', nullif($3, '-'), $4 ~ 's', $4 ~ 'p', CASE WHEN $4 ~ 'd' THEN now() + interval '1 h' END, 7, 'unknown', 'timeout', 'no answer', now() - interval '1 h')`,
			id, state, key, flags)
	}
}

// stands returns the held messages as lines "id state key flags attempts", due only when it is now.
func stands(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return ask[string](t, conn, `SELECT coalesce(string_agg(concat_ws(' ', id, state, coalesce(key, '-'), nullif(concat(CASE WHEN sending THEN 's' END,
		CASE WHEN passed THEN 'p' END, CASE WHEN due_at <= now() THEN 'd' END), ''), attempts), ', ' ORDER BY id), '') FROM outbox.message_held`)
}

func TestActs(t *testing.T) {
	tests := []struct {
		name string
		held []string
		act  string
		ids  []int64
		want answer
		then string
	}{
		{"retry: dead, alone in its key", []string{"1 dead k"}, "retry", []int64{1}, answer{Changed: 1}, "1 retrying k d 0"},
		{"retry: two of a key: one head, the other waits", []string{"1 dead k", "2 dead k"}, "retry", []int64{2, 1, 2}, answer{Changed: 2}, "1 retrying k d 0, 2 blocked k 0"},
		{"retry: behind a lower dead one it waits", []string{"1 dead k", "2 dead k"}, "retry", []int64{2}, answer{Changed: 1}, "1 dead k 7, 2 blocked k 0"},
		{"retry: behind a lower blocked one, which gets its turn", []string{"1 blocked k", "2 dead k"}, "retry", []int64{2}, answer{Changed: 1}, "1 blocked k d 7, 2 blocked k 0"},
		{"retry: beside a retrying one it waits, with its turn first", []string{"1 dead k", "2 retrying k d"}, "retry", []int64{1}, answer{Changed: 1},
			"1 blocked k d 0, 2 retrying k 7"},
		{"retry: a passed one is free", []string{"1 dead k", "2 dead k p"}, "retry", []int64{2}, answer{Changed: 1}, "1 dead k 7, 2 retrying k pd 0"},
		{"retry: without a key", []string{"1 dead -", "2 dead -"}, "retry", []int64{1, 2}, answer{Changed: 2}, "1 retrying - d 0, 2 retrying - d 0"},
		{"retry: a retrying one is due now and keeps its attempts", []string{"1 retrying k d"}, "retry", []int64{1}, answer{Changed: 1}, "1 retrying k d 7"},
		{"retry: exact numbers", []string{"1 dead k", "2 retrying l s", "3 blocked k", "4 scheduled - d"}, "retry", []int64{1, 2, 3, 4, 5, 99},
			answer{Changed: 1, Sending: 1, Other: 2, Missing: 2, Unchanged: []int64{2, 3, 4, 5, 99}}, "1 retrying k d 0, 2 retrying l s 7, 3 blocked k 7, 4 scheduled - 7"},

		{"skip: the next of the key gets its turn", []string{"1 dead k", "2 blocked k", "3 blocked k"}, "skip", []int64{1}, answer{Changed: 1},
			"1 dead k p 7, 2 blocked k d 7, 3 blocked k 7"},
		{"skip: never past another head", []string{"1 dead k", "2 dead k", "3 blocked k"}, "skip", []int64{1}, answer{Changed: 1}, "1 dead k p 7, 2 dead k 7, 3 blocked k 7"},
		{"skip: only dead ones, once", []string{"1 dead k p", "2 retrying l", "3 dead -", "4 retrying m s"}, "skip", []int64{1, 2, 3, 4},
			answer{Other: 3, Sending: 1, Unchanged: []int64{1, 2, 3, 4}}, "1 dead k p 7, 2 retrying l 7, 3 dead - 7, 4 retrying m s 7"},

		{"discard: the next of the key gets its turn", []string{"1 dead k", "2 blocked k", "3 dead l", "4 dead l", "5 blocked l"}, "discard", []int64{1, 3, 4},
			answer{Changed: 3}, "2 blocked k d 7, 5 blocked l d 7"},
		{"discard: a blocked one in the middle changes no turn", []string{"1 dead k", "2 blocked k", "3 blocked k"}, "discard", []int64{2}, answer{Changed: 1},
			"1 dead k 7, 3 blocked k 7"},
		{"discard: any held one that is not being sent", []string{"1 scheduled k d", "2 retrying l", "3 retrying m s"}, "discard", []int64{1, 2, 3, 4},
			answer{Changed: 2, Sending: 1, Missing: 1, Unchanged: []int64{3, 4}}, "3 retrying m s 7"},
		{"discard: a turn that was given is kept", []string{"1 dead k", "2 blocked k d", "3 blocked k"}, "discard", []int64{1}, answer{Changed: 1}, "2 blocked k 7, 3 blocked k 7"},
	}
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		for i, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				do(t, conn, "TRUNCATE outbox.message_held, outbox.message_discarded, outbox.message_log, outbox.message_pending")
				held(t, conn, test.held...)
				got := act(t, conn, test.act, test.ids...)
				want := test.want
				want.ActivityID, want.Requested = int64(i+1), test.want.Changed+test.want.Sending+test.want.Other+test.want.Missing
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("answer %+v, want %+v", got, want)
				}
				if then := stands(t, conn); then != test.then {
					t.Errorf("then  %s\nwant  %s", then, test.then)
				}
				log := ask[string](t, conn, "SELECT concat_ws(' ', action, actor, via, db_user = session_user, reason, requested, changed, cardinality(ids)) FROM outbox.activity WHERE id = $1", i+1)
				if w := fmt.Sprintf("%s cli:ana@host cli t because %d %d %d", test.act, want.Requested, want.Changed, want.Changed); log != w {
					t.Errorf("activity %q, want %q", log, w)
				}
				if n := ask[int](t, conn, "SELECT count(*)::int FROM outbox.message_held WHERE activity_id = $1", i+1); test.act != "discard" && n != want.Changed {
					t.Errorf("%d messages name the act", n)
				}
			})
		}
		if broken := ask[int](t, conn, `SELECT count(*)::int FROM (SELECT *, lag(hash, 1, decode(repeat('00', 32), 'hex')) OVER (ORDER BY id) AS expected FROM outbox.activity) a
				WHERE a.prev_hash <> a.expected`); broken != 0 {
			t.Errorf("%d breaks in the chain of the activity log", broken)
		}
	})
}

func TestDiscardedComesBack(t *testing.T) {
	eachOutbox(t, func(t *testing.T, _ string, conn *pgx.Conn) {
		held(t, conn, "1 dead k", "2 blocked k")
		act(t, conn, "discard", 1)
		if d := ask[string](t, conn, "SELECT concat_ws(' ', id, activity_id, attempts, outcome, class, error) FROM outbox.message_discarded"); d != "1 1 7 unknown timeout no answer" {
			t.Errorf("discarded: %s", d)
		}
		if s := ask[string](t, conn, "SELECT state FROM outbox.message_status WHERE id = 1"); s != "discarded" {
			t.Errorf("state %s", s)
		}
		do(t, conn, "INSERT INTO outbox.message_discarded (id, activity_id, attempts) VALUES (77, 1, 0)") // its message was dropped
		if got := act(t, conn, "retry", 1, 77); got.Changed != 1 || got.Missing != 1 {
			t.Errorf("answer %+v", got)
		}
		if then := stands(t, conn); then != "1 retrying - pd 0, 2 blocked k d 7" {
			t.Errorf("then %s", then)
		}
	})
}

func TestActsRefuse(t *testing.T) {
	eachOutbox(t, func(t *testing.T, _ string, conn *pgx.Conn) {
		for sql, want := range map[string]string{
			"retry('{}', 'a', 'r')": "outbox: retry takes 1 to 500 ids a call, got 0",
			"skip(NULL, 'a', 'r')":  "outbox: skip takes 1 to 500 ids a call, got 0",
			"discard(ARRAY(SELECT generate_series(1::bigint, 501)), 'a', 'r')": "outbox: discard takes 1 to 500 ids a call, got 501",
			"discard('{1}', 'a', ' ')": "outbox: discard needs a reason",
			"retry('{1}', '', 'r')":    "outbox: retry needs to know who does it",
		} {
			if code, message := try(t.Context(), conn, "SELECT outbox."+sql); code != "22023" || message != want {
				t.Errorf("%s: %s %s", sql, code, message)
			}
		}
		do(t, conn, "SELECT outbox.retry(ARRAY(SELECT generate_series(1::bigint, 500)), 'a', 'r')")
		if n := ask[int](t, conn, "SELECT count(*)::int FROM outbox.activity"); n != 1 {
			t.Errorf("%d rows in the activity log, want that of the one act", n)
		}
	})
}

// A row that somebody holds makes the act give up within its 500 ms, with nothing changed; the hash chain has no gap.
func TestActsMeetALock(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		held(t, conn, "1 dead k", "2 dead l")
		other := connect(t, url)
		do(t, other, "BEGIN; SELECT 1 FROM outbox.message_held WHERE id = 2 FOR UPDATE")
		for _, name := range []string{"retry", "skip", "discard"} {
			if code, _ := try(t.Context(), conn, "SELECT outbox."+name+"('{1,2}', 'a', 'r')"); code != "55P03" {
				t.Errorf("%s: %q, want 55P03", name, code)
			}
		}
		do(t, other, "ROLLBACK")
		if then := stands(t, conn); then != "1 dead k 7, 2 dead l 7" {
			t.Errorf("then %s", then)
		}
		if got := act(t, conn, "retry", 1, 2); got.Changed != 2 || got.ActivityID != 1 {
			t.Errorf("answer %+v", got)
		}
	})
}

// Ids of the activity log become visible in order: a second act waits for the first one's COMMIT. Every row's hash can be computed again, under any settings.
func TestActivityChain(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		ear := connect(t, url)
		do(t, ear, "LISTEN outbox")
		held(t, conn, "1 dead k", "2 dead l")
		first, second := connect(t, url), connect(t, url)
		do(t, first, "BEGIN; SELECT outbox.retry('{1}', 'a', 'r')")
		done := make(chan string, 1)
		go func() {
			code, message := try(t.Context(), second, "SELECT outbox.log_activity('b', 'auto', 'x', ids => '{1,2}', before => '{\"a\": 1.50}', filter => '[]')")
			done <- code + message
		}()
		eventually(t, "the second waits", func() bool { return waiting(t, conn, second.PgConn().PID()) })
		do(t, first, "COMMIT")
		if failed := <-done; failed != "" {
			t.Fatal(failed)
		}
		if n, err := ear.WaitForNotification(t.Context()); err != nil || n.Payload != "activity" {
			t.Errorf("notification %v, error %v", n, err)
		}
		do(t, conn, "SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard'; SET extra_float_digits = 0; SET bytea_output = 'escape'")
		if got := ask[string](t, conn, "SELECT string_agg(concat_ws(' ', id, actor, hash = outbox.activity_hash(a)), ', ' ORDER BY id) FROM outbox.activity a"); got != "1 a t, 2 b t" {
			t.Errorf("log %s", got)
		}
		do(t, conn, "UPDATE outbox.activity SET reason = 'other' WHERE id = 1")
		if ask[bool](t, conn, "SELECT hash = outbox.activity_hash(a) FROM outbox.activity a WHERE id = 1") {
			t.Error("a changed row still has its hash")
		}
	})
}
