package app

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/outbox"
	"github.com/waybillmq/waybill/relay"
)

// session is a transaction of somebody else, left open.
func (r *rig) session(mode pgx.TxOptions, sql string) pgx.Tx {
	r.t.Helper()
	conn, err := pgx.Connect(r.t.Context(), r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close(r.t.Context()) })
	tx, err := conn.BeginTx(r.t.Context(), mode)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := tx.Exec(r.t.Context(), sql); err != nil {
		r.t.Fatal(err)
	}
	return tx
}

// A1, A5, F8, R10: a snapshot and an idle writer that stay open do not hold up delivery, and bulk transactions that commit late fill the holes which they
// left: everything is sent, each key in order.
func TestOpenTransactionsAndLateBulkCommits_A1_A5_F8_R10(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("orders", 4, nil)
	r.start("a")
	r.session(pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, `SELECT count(*) FROM outbox.message_pending`)
	r.session(pgx.TxOptions{}, `SELECT outbox.publish_bytes('`+topic+`', 'never committed', 'idle')`)
	r.session(pgx.TxOptions{}, `SELECT pg_current_xact_id()`)
	l := r.write(150, 30, "", topic)
	const bulks, rows = 5, 1000
	var open []pgx.Tx
	for i := range bulks {
		tx := r.session(pgx.TxOptions{}, `SELECT 1`)
		msgs := make([]outbox.Message, rows)
		for n := range msgs {
			msgs[n] = text(topic, fmt.Sprintf("bulk-%d-%d", i, n%20))
		}
		if _, err := outbox.Publish(t.Context(), tx, msgs...); err != nil {
			t.Fatal(err)
		}
		open = append(open, tx)
		above := r.newest()
		eventually(t, "younger messages are sent", func() bool { return r.sentOf(topic, above) > 60 })
	}
	for i := range open {
		if err := open[(i*3)%bulks].Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		for k := range 20 {
			r.publish(text(topic, fmt.Sprintf("bulk-%d-%d", (i*3)%bulks, k)))
		}
	}
	l.stop()
	r.drained()
	if res := r.verdict(0); res.Sent < bulks*rows+bulks*20 || res.Pending != 0 {
		t.Errorf("%+v", res)
	}
}

// D2, D17, G2, I13: 100,000 held messages beside a healthy flow: the flow's latency and the program's memory do not notice, and what a person releases
// goes out in order.
func TestManyHeldMessagesBesideAHealthyFlow_D2_D17_G2(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("orders", 4, nil)
	const singles, heads, behind = 80_000, 20, 1_000
	r.exec(`INSERT INTO outbox.message_log (topic, key, content_type, payload)
		SELECT $1, CASE WHEN n <= $2 THEN 'dead-' || n ELSE 'head-' || n % $3 END, 'text/plain', decode(md5(n::text), 'hex') FROM generate_series(1, $4::int) n`,
		topic, singles, heads, singles+heads*behind)
	r.exec(`WITH gone AS (DELETE FROM outbox.message_pending RETURNING id), m AS (SELECT l.*, row_number() OVER (PARTITION BY key ORDER BY id) AS nth
			FROM gone JOIN outbox.message_log l USING (id))
		INSERT INTO outbox.message_held (id, state, topic, key, destination, attempts, outcome, class, error)
		SELECT id, CASE WHEN nth = 1 THEN 'dead' ELSE 'blocked' END, topic, key, 'kafka', 1, 'rejected', 'refused', 'test' FROM m`)
	r.exec(`ANALYZE outbox.message_held`)
	before := r.newest()
	p := r.launch("a")
	r.owned("a")
	l := r.write(150, 30, "", topic)
	eventually(t, "the healthy flow is sent", func() bool { return r.sentOf(topic, before) > 1500 })
	took := func(share float64) float64 {
		return ask[float64](r, `SELECT percentile_cont($2) WITHIN GROUP (ORDER BY extract(epoch FROM c.acked_at - m.created_at)) FROM outbox.receipts c
			JOIN outbox.message_log m ON m.id = c.lo WHERE m.id > $1 + 300`, before, share)
	}
	if median := took(0.5); median > 1 { // a few ms on an idle machine
		t.Errorf("half of the messages of the healthy flow took more than %.3f s from being written to being acked, want below 1 s", median)
	}
	t.Logf("the healthy flow took %.3f s in the median, %.3f s at 90 %%", took(0.5), took(0.9))
	if kib := residentKiB(t, p.PID()); kib > 300<<10 {
		t.Errorf("the relay takes %d MiB", kib>>10)
	}
	dead := ask[[]int64](r, `SELECT array_agg(id) FROM outbox.message_held WHERE state = 'dead' AND key LIKE 'head-%'`)
	ids := make([]relay.ID, len(dead))
	for i, id := range dead {
		ids[i] = relay.ID(id)
	}
	keys := make([]string, heads)
	for i := range keys {
		keys[i] = fmt.Sprint("head-", i)
	}
	began := time.Now()
	if got, err := r.people().Act(t.Context(), ActRetry, ids, "test"); err != nil || got.Changed != heads {
		t.Fatalf("retry: %+v, %v", got, err)
	}
	within(t, patience, "what waited behind the released heads is sent", func() bool {
		left, err := tryAsk[bool](r, `SELECT EXISTS (SELECT FROM outbox.message_held WHERE topic = $1 AND key = ANY ($2) AND key IS NOT NULL AND state <> 'scheduled' AND NOT passed)`, topic, keys)
		return err == nil && !left
	}, r.picture)
	t.Logf("%d released messages took %v; the relay has %d MiB", heads*behind, time.Since(began).Round(time.Millisecond), residentKiB(t, p.PID())>>10)
	l.stop()
	r.drained()
	if err := p.Kill(); err != nil { // nothing is in flight
		t.Fatal(err)
	}
	if res := r.verdict(0); res.Pending != singles {
		t.Errorf("%d wait, want %d", res.Pending, singles)
	}
}
