package migrations

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Each call with the SQLSTATE that the contract gives it; "" = accepted.
func TestPublishContract(t *testing.T) {
	long := strings.Repeat("x", 300)
	tests := []struct{ sql, code string }{
		{"publish('t', '{}')", ""},
		{"publish('t', NULL::text)", "OB002"},
		{"publish('t', NULL::jsonb)", "OB002"},
		{"publish('t', 'null')", ""},
		{"publish('t', '{')", "22P02"},
		{"publish(NULL, '{}')", "OB001"},
		{"publish('', '{}')", "OB001"},
		{"publish('" + long + "', '{}')", "OB001"},
		{"publish(repeat('ü', 124) || 'x', '{}')", ""},
		{"publish(repeat('ü', 125), '{}')", "OB001"},
		{"publish('t', '{}', '')", "OB001"},
		{"publish('t', '{}', repeat('k', 1024))", ""},
		{"publish('t', '{}', repeat('k', 1025))", "OB001"},
		{"publish('t', '{}', message_id => '')", "OB001"},
		{"publish('t', '{}', message_id => repeat('i', 257))", "OB001"},
		{"publish('t', '{}', deliver_after => 'infinity')", "OB001"},
		{"publish('t', '{}', deliver_after => '-infinity')", "OB001"},
		{"publish('t', '{}', deliver_after => '9999-12-31')", ""},
		{"publish('t', '{}', headers => '{}')", ""},
		{`publish('t', '{}', headers => '{"a": "b", "traceparent": "p", "tracestate": "s"}')`, ""},
		{`publish('t', '{}', headers => '{"a": {"b": "c"}}')`, "OB003"},
		{`publish('t', '{}', headers => '{"a": ["b"]}')`, "OB003"},
		{`publish('t', '{}', headers => '{"a": []}')`, "OB003"},
		{`publish('t', '{}', headers => '{"a": 1}')`, "OB003"},
		{`publish('t', '{}', headers => '{"a": null}')`, "OB003"},
		{`publish('t', '{}', headers => '{"a": "b", "": "c"}')`, "OB003"},
		{`publish('t', '{}', headers => '{"waybill-id": "1"}')`, "OB003"},
		{`publish('t', '{}', headers => '{"WAYBILL-x": "1"}')`, "OB003"},
		{`publish('t', '{}', headers => '{"waybill": "1", "x-waybill-id": "1"}')`, ""},
		{`publish('t', '{}', headers => '["a"]')`, "OB003"},
		{`publish('t', '{}', headers => '"a"')`, "OB003"},
		{`publish('t', '{}', headers => 'null')`, "OB003"},
		{"publish_bytes('t', NULL)", "OB002"},
		{"publish_bytes('t', '')", ""},
		{"publish_bytes('t', convert_to(repeat('x', 1000000), 'UTF8'))", ""},
		{"publish_bytes('t', convert_to(repeat('x', 1000001), 'UTF8'))", "OB004"},
		{"publish_bytes('t', convert_to(repeat('x', 999999), 'UTF8'), 'kk')", "OB004"},
		{`publish_bytes('t', convert_to(repeat('x', 999999), 'UTF8'), headers => '{"a": "b"}')`, "OB004"},
		{"publish_bytes('small', '12345678901')", "OB004"},
		{"publish_bytes('small', '1234567890')", ""},
		{"publish_tombstone('t', 'k')", ""},
		{"publish_tombstone('t', '')", "OB001"},
		{`publish_tombstone('t', 'k', '{"a": 1}')`, "OB003"},
		{"publish_batch('{}', '{}')", ""},
		{"publish_batch('{a,b}', '{x}')", "22023"},
		{"publish_batch('{a,b}', '{x,y}', keys => '{k}')", "22023"},
		{"publish_batch('{a,b}', '{x,NULL}')", "OB002"},
		{"publish_batch('{a,b}', '{x,NULL}', tombstones => '{f,t}')", ""},
		{"publish_batch('{a,b}', '{x,y}', tombstones => '{f,t}')", "OB002"},
		{"publish_batch('{a,NULL}', '{x,y}')", "OB001"},
		{`publish_batch('{a,b}', '{x,y}', headers => ARRAY[NULL, '{"a": 1}']::jsonb[])`, "OB003"},
		{"publish_batch('{a,small}', '{x,12345678901}')", "OB004"},
		{"publish_batch('{a,b,c}', '{x,y,z}', '{k,NULL,k}', message_ids => '{m,NULL,n}', ordered => false)", ""},
	}
	eachOutbox(t, func(t *testing.T, _ string, conn *pgx.Conn) {
		do(t, conn, "INSERT INTO outbox.limits VALUES ('small', 10)")
		for _, test := range tests {
			code, message := try(t.Context(), conn, "SELECT outbox."+test.sql)
			if code != test.code || code != "" && code[:2] == "OB" && !strings.HasPrefix(message, "outbox: ") {
				t.Errorf("%.120s: %q %s, want %q", test.sql, code, message, test.code)
			}
		}
		if code, message := try(t.Context(), conn, "SELECT outbox.publish_batch('{a,b,c}', '{x,y,z}', keys => ARRAY[NULL, 'k', ''])"); code != "OB001" ||
			!strings.HasPrefix(message, "outbox: element 3: key") {
			t.Errorf("%s %s: does not name the element", code, message)
		}
		log, pending := ask[int](t, conn, "SELECT count(*)::int FROM outbox.message_log"), ask[int](t, conn, "SELECT count(*)::int FROM outbox.message_pending")
		if log != pending {
			t.Errorf("%d messages, %d pending", log, pending)
		}
		if n := ask[int](t, conn, "SELECT count(*)::int FROM outbox.message_log WHERE headers = '{}' OR headers ? 'traceparent'"); n != 0 {
			t.Errorf("%d messages keep empty headers or trace context in them", n)
		}
		if n := ask[int](t, conn, "SELECT count(*)::int FROM outbox.message_log WHERE traceparent = 'p' AND tracestate = 's'"); n != 1 {
			t.Errorf("%d messages with trace context", n)
		}
		if n := ask[int](t, conn, "SELECT count(*)::int FROM outbox.message_log WHERE payload IS NULL AND content_type IS NULL"); n != 2 {
			t.Errorf("%d tombstones", n)
		}
	})
}

// Every kind of payload parameter finds its function without a cast, in prepared statements too.
func TestPublishOverloads(t *testing.T) {
	eachOutbox(t, func(t *testing.T, _ string, conn *pgx.Conn) {
		do(t, conn, `CREATE TABLE p (v varchar, t text, j json, b jsonb, c char(4))`)
		do(t, conn, `INSERT INTO p VALUES ('{"a" : 1}', '{"a" : 1}', '{"a" : 1}', '{"a" : 1}', '[1] ')`)
		for _, column := range []string{"v", "t", "j", "b", "c"} {
			do(t, conn, "SELECT outbox.publish('t', "+column+") FROM p")
		}
		do(t, conn, "SELECT outbox.publish($1, $2)", "t", `{"a" : 1}`)
		do(t, conn, "PREPARE q AS SELECT outbox.publish($1, $2, $3)")
		do(t, conn, `EXECUTE q ('t', '{"a" : 1}', 'k')`)
		got := ask[string](t, conn, "SELECT string_agg(convert_from(payload, 'UTF8'), ';' ORDER BY id) FROM outbox.message_log")
		if want := `{"a" : 1};{"a" : 1};{"a" : 1};{"a": 1};[1];{"a" : 1};{"a" : 1}`; got != want {
			t.Errorf("payloads %s, want %s", got, want)
		}
	})
}

func TestMessageIDs(t *testing.T) {
	eachOutbox(t, func(t *testing.T, _ string, conn *pgx.Conn) {
		count := func() int { return ask[int](t, conn, "SELECT count(*)::int FROM outbox.message_log") }
		do(t, conn, "SELECT outbox.publish_bytes('t', 'x', 'k', message_id => 'm')")
		for _, repeat := range []string{"publish_bytes('t', 'x', 'k', message_id => 'm')", "publish_batch('{t}', '{x}', '{k}', message_ids => '{m}')",
			"publish_batch('{t,t}', '{x,x}', '{k,k}', message_ids => '{m,m}')"} {
			if id := ask[string](t, conn, "SELECT outbox."+repeat); id != "m" || count() != 1 {
				t.Errorf("%s: id %q, %d messages", repeat, id, count())
			}
		}
		for _, other := range []string{"publish_bytes('u', 'x', 'k', message_id => 'm')", "publish_bytes('t', 'x', 'l', message_id => 'm')",
			"publish_bytes('t', 'x', message_id => 'm')", "publish_bytes('t', 'y', 'k', message_id => 'm')", "publish_tombstone('t', 'k', message_id => 'm')",
			"publish_batch('{a,t}', '{b,y}', '{c,k}', message_ids => '{NULL,m}')", "publish_batch('{t,t}', '{x,y}', message_ids => '{n,n}')"} {
			if code, message := try(t.Context(), conn, "SELECT outbox."+other); code != "OB005" || strings.Contains(other, "batch") && !strings.Contains(message, "element 2") {
				t.Errorf("%s: %q %s", other, code, message)
			}
		}
		// repeats across and inside a batch, mixed with generated ids: the answer has one id for each element, in order
		got := ask[[]string](t, conn, `SELECT array_agg(b.id ORDER BY b.n) FROM outbox.publish_batch('{t,t,t,t,t}', '{x,a,b,a,c}', '{k,NULL,NULL,NULL,NULL}',
			message_ids => '{m,o,NULL,o,NULL}') WITH ORDINALITY AS b(id, n)`)
		if got[0] != "m" || got[1] != "o" || got[3] != "o" || got[2] == got[4] || count() != 4 {
			t.Errorf("ids %v, %d messages", got, count())
		}
		if wrong := ask[int](t, conn, "SELECT count(*)::int FROM outbox.message_status s WHERE NOT s.message_id = ANY ($1) AND s.message_id <> 'm'", got); wrong != 0 {
			t.Errorf("%d messages have ids that were not returned", wrong)
		}

		// an id is remembered as long as its message: gone with its partition it is free again, even before the purge of message_ids
		do(t, conn, "DELETE FROM outbox.message_pending; DELETE FROM outbox.message_log WHERE message_id IN ('m', 'o')")
		do(t, conn, "SELECT outbox.publish_bytes('other', 'y', message_id => 'm')")
		do(t, conn, "SELECT outbox.publish_batch('{other,other,p}', '{y,y,p}', message_ids => '{o,o,NULL}')")
		if n := ask[int](t, conn, "SELECT count(*)::int FROM outbox.message_ids i JOIN outbox.message_log l USING (id) WHERE l.topic = 'other'"); n != 2 || count() != 5 {
			t.Errorf("%d ids point to their new messages, %d messages", n, count())
		}
	})
}

// Two transactions with one message id: the second waits for the first and then sees what became of it.
func TestMessageIDWaits(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		for _, commit := range []bool{true, false} {
			first, second := connect(t, url), connect(t, url)
			id := map[bool]string{true: "c", false: "r"}[commit]
			do(t, first, "BEGIN")
			do(t, first, "SELECT outbox.publish_bytes('t', 'x', message_id => $1)", id)
			done := make(chan error, 1)
			go func() {
				_, err := second.Exec(t.Context(), "SELECT outbox.publish_bytes('t', 'x', message_id => $1)", id)
				done <- err
			}()
			eventually(t, "the second waits", func() bool { return waiting(t, conn, second.PgConn().PID()) })
			do(t, first, map[bool]string{true: "COMMIT", false: "ROLLBACK"}[commit])
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if n := ask[int](t, conn, "SELECT count(*)::int FROM outbox.message_log WHERE message_id = $1", id); n != 1 {
				t.Errorf("%d messages with id %s", n, id)
			}
		}
	})
}

// Messages live and die with the transaction, or the savepoint, that wrote them, however they are written.
func TestPendingFollowsTheTransaction(t *testing.T) {
	eachOutbox(t, func(t *testing.T, _ string, conn *pgx.Conn) {
		do(t, conn, "BEGIN; SELECT outbox.publish('t', '1'); SAVEPOINT s; SELECT outbox.publish('t', '2'); ROLLBACK TO s; SELECT outbox.publish('t', '3'); COMMIT")
		do(t, conn, "BEGIN; SELECT outbox.publish('t', '4'); ROLLBACK")
		do(t, conn, "INSERT INTO outbox.message_log (topic, payload) SELECT 't', '5' FROM generate_series(1, 3)")
		if _, err := conn.CopyFrom(t.Context(), pgx.Identifier{"outbox", "message_log"}, []string{"topic", "payload"},
			pgx.CopyFromRows([][]any{{"t", []byte("6")}, {"t", nil}})); err != nil {
			t.Fatal(err)
		}
		got := ask[string](t, conn, "SELECT string_agg(coalesce(convert_from(l.payload, 'UTF8'), 'null'), ' ' ORDER BY id) FROM outbox.message_log l JOIN outbox.message_pending USING (id)")
		if want := "1 3 5 5 5 6 null"; got != want {
			t.Errorf("pending %s, want %s", got, want)
		}
		// what plain INSERT may not write, since no reader could carry it
		for _, bad := range []string{`(topic, headers) VALUES ('t', '{"a": {}}')`, `(topic, headers) VALUES ('t', '{"waybill-id": "1"}')`,
			"(topic, deliver_after) VALUES ('t', 'infinity')", "(topic) VALUES (repeat('t', 300))", "(topic, key) VALUES ('t', '')"} {
			if code, _ := try(t.Context(), conn, "INSERT INTO outbox.message_log "+bad); code != "23514" {
				t.Errorf("%s: %q", bad, code)
			}
		}
		if code, _ := try(t.Context(), conn, "BEGIN READ ONLY; SELECT outbox.publish('t', '1')"); code != "25006" {
			t.Errorf("read only: %q", code)
		}
	})
}

func TestBrakeAndWakeUp(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		do(t, conn, "SELECT setval('outbox.ceiling', 2)")
		do(t, conn, "SELECT outbox.publish('t', '1'), outbox.publish('t', '2')")
		for _, write := range []string{"SELECT outbox.publish('t', '3')", "INSERT INTO outbox.message_log (topic) VALUES ('t')",
			"SELECT outbox.publish_batch('{a}', '{b}')"} {
			if code, _ := try(t.Context(), conn, write); code != "OB006" {
				t.Errorf("%s: %q, want OB006", write, code)
			}
		}
		do(t, conn, "SELECT setval('outbox.ceiling', 9223372036854775807)")

		ear := connect(t, url)
		do(t, ear, "LISTEN outbox")
		awake := func(asleep int, lease string) {
			do(t, conn, "SELECT setval('outbox.asleep', $1)", asleep)
			do(t, conn, "UPDATE outbox.owner SET lease_until = now() + $1::interval", lease)
			do(t, conn, "SELECT outbox.publish('t', '1')")
		}
		awake(0, "1h")  // a busy owner needs none
		awake(1, "-1h") // nobody is there
		do(t, conn, "SELECT pg_notify('outbox', 'fence')")
		awake(1, "1h")
		for _, want := range []string{"fence", ""} {
			n, err := ear.WaitForNotification(t.Context())
			if err != nil || n.Payload != want {
				t.Fatalf("notification %v, error %v, want %q", n, err, want)
			}
		}
	})
}
