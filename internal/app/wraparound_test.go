package app

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/testservices"
)

// A17: transaction ids pass 2^32 and begin anew under writers and a relay, with a transaction open over it. Nothing is lost, sent for nothing or out of order.
func TestTransactionIDsWrapAround_A17(t *testing.T) {
	t.Parallel()
	s := testservices.PostgresServer(t, 18)
	r := newRig(t, newDatabase(t, s), testservices.Kafka(t))
	topic := r.topic("orders", 4, nil)
	freeze := func() {
		t.Helper()
		r.exec(`UPDATE pg_database SET datallowconn = true`)
		for _, name := range ask[[]string](r, `SELECT array_agg(datname::text) FROM pg_database`) {
			conn, err := pgx.Connect(t.Context(), s.URL(name))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Exec(t.Context(), `VACUUM (FREEZE)`); err != nil {
				t.Fatal(err)
			}
			_ = conn.Close(t.Context())
		}
	}
	r.publish(text(topic, "before"), text(topic, "before"))
	const end = 1 << 32
	for _, next := range []uint64{1_500_000_000, 3_000_000_000, end - 400} {
		freeze()
		if err := s.JumpTo(next); err != nil {
			t.Fatal(err)
		}
		r.pool.Reset()
	}
	xid := func() int64 { return ask[int64](r, `SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint`) }
	if at := xid(); at < end-500 || at >= end {
		t.Fatalf("it begins at transaction %d: nothing is shown", at)
	}
	open, err := r.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open.Exec(t.Context(), `SELECT outbox.publish('`+topic+`', '{}', 'late')`); err != nil {
		t.Fatal(err)
	}
	r.start("a")
	l := r.write(200, 30, "", topic)
	eventually(t, "2^32 is passed", func() bool { return xid() > end+100 })
	above := r.newest()
	eventually(t, "it is sent", func() bool { return r.sentOf(topic, above) > 200 })
	if err := open.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.stop()
	r.drained()
	r.verdict(0)
}
