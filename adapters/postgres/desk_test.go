package postgres

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

// desk is an outbox with something of everything in it, and people's connections to it.
type desk struct {
	url       string
	conn      *pgx.Conn
	inspector *Inspector
	operator  *Operator
}

func newDesk(t *testing.T, major int) *desk {
	t.Helper()
	ctx := t.Context()
	d := &desk{url: testservices.Postgres(t, major).URL}
	if _, err := migrations.Up(ctx, d.url, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.conn, err = pgx.Connect(ctx, d.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.conn.Close(context.Background()) })
	if d.inspector, err = OpenInspector(Config{URL: d.url}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.inspector.Close)
	if d.operator, err = OpenOperator(Config{URL: d.url}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.operator.Close)
	return d
}

func (d *desk) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := d.conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// fill writes ids 1 to 8: 1 sent, 2 pending, 3 dead head of key k, 4 and 5 blocked behind it, 6 retrying without key, 7 scheduled, 8 discarded.
func (d *desk) fill(t *testing.T) {
	t.Helper()
	d.exec(t, `INSERT INTO outbox.message_log (topic, key, headers, payload) SELECT CASE WHEN i < 6 THEN 'order.paid' ELSE 'clicks' END,
  CASE WHEN i BETWEEN 3 AND 5 THEN 'k' END, '{"secret-header": "canary"}', 'canary' FROM generate_series(1, 8) AS i ORDER BY i`)
	d.exec(t, `UPDATE outbox.message_log SET message_id = 'own-7' WHERE id = 7`)
	d.exec(t, `INSERT INTO outbox.message_ids VALUES ('own-7', 7)`)
	d.exec(t, `DELETE FROM outbox.message_pending WHERE id <> 2`)
	d.exec(t, `INSERT INTO outbox.receipts (hi, lo, n, epoch, seq, destination, lane, first_offset, acked_at, ids) VALUES (1, 1, 1, 7, 1, 'kafka-a', 'order.paid/3', 41, now(), '\x01')`)
	d.exec(t, `INSERT INTO outbox.message_held (id, state, topic, key, destination, due_at, attempts, outcome, class, error_code, error, first_failed_at)
  SELECT m.id, v.state, m.topic, m.key, v.destination, v.due, v.attempts, v.outcome, v.class, v.code, v.error, CASE WHEN v.outcome IS NOT NULL THEN now() END
  FROM (VALUES (3, 'dead', 'kafka-a', NULL::timestamptz, 1, 'rejected', 'too_large', 'kafka/MESSAGE_TOO_LARGE', repeat('long ', 100)),
    (4, 'blocked', 'kafka-a', NULL, 0, NULL, NULL, NULL, NULL), (5, 'blocked', 'kafka-a', NULL, 0, NULL, NULL, NULL, NULL),
    (6, 'retrying', 'kafka-b', now() + interval '1 h', 3, 'unknown', 'timeout', NULL, 'no answer'), (7, 'scheduled', '', now() + interval '1 d', 0, NULL, NULL, NULL, NULL),
    (8, 'dead', 'kafka-b', NULL, 1, 'rejected', 'invalid', NULL, 'bad')) AS v(id, state, destination, due, attempts, outcome, class, code, error)
  JOIN outbox.message_log m USING (id)`)
	d.exec(t, `INSERT INTO outbox.attempt (id, n, epoch, instance, lane, outcome, class, error, took) VALUES (3, 1, 7, 'relay-2', 'order.paid/3', 'rejected', 'too_large', 'no', '12 ms')`)
	d.exec(t, `UPDATE outbox.owner SET epoch = 7, owner = 'relay-2', lease_until = now() + interval '1 h', released = false, low_water = 1`)
	d.exec(t, `SELECT setval('outbox.claimed', 1)`)
	d.exec(t, `INSERT INTO outbox.relay (instance, started_at, version, checks) VALUES ('relay-2', now(), '1', '{"destinations": {"kafka-a": {"state": "open", "since": "2026-01-31T10:00:00Z", "detail": "refused"}}}'), ('odd', now(), '1', '[]')`)
	d.exec(t, `INSERT INTO outbox.relay (instance, started_at, seen_at, version) VALUES ('gone', now(), now() - interval '1 h', '1')`)
	if _, err := d.operator.Discard(t.Context(), []relay.ID{8}, relay.Act{Actor: "cli:ana@host", Via: "cli", Reason: "test order"}); err != nil {
		t.Fatal(err)
	}
}
