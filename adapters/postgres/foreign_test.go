package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// A prepared transaction, and an idle writer in another database of the server, hold back the oldest snapshot: what others commit is read, both are named, and
// the prepared messages come when they are committed, also when the server was killed in between.
func TestPreparedAndForeignWriters_A5_A16(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		server := testservices.PostgresServer(t, major, testservices.Setting("max_prepared_transactions", "5"))
		d := &crashable{outboxAt(t, server.URL("postgres")), server}
		d.exec(`CREATE DATABASE elsewhere`)
		d.exec(`GRANT pg_monitor TO waybill_relay`)
		o := d.own()
		foreign, err := pgx.Connect(ctxOf(t), server.URL("elsewhere"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = foreign.Close(ctxOf(t)) })
		if _, err := foreign.Exec(ctxOf(t), `BEGIN; SELECT pg_current_xact_id()`); err != nil {
			t.Fatal(err)
		}
		writer := d.connect()
		if _, err := writer.Exec(ctxOf(t), `BEGIN; SELECT outbox.publish_bytes('t', 'x', 'k'), outbox.publish_bytes('t', 'y', 'k'); PREPARE TRANSACTION 'order 17'`); err != nil {
			t.Fatal(err)
		}
		_, last := d.insert(3, 10)
		all, page := o.readAll(0, someRows)
		if len(all) != 3 || all[2].ID != last || page.Holes == 0 {
			t.Errorf("%d messages beside the two, %d holes", len(all), page.Holes)
		}
		list, err := o.Holders(ctxOf(t), 0)
		named := func(is func(h postgres.Holder) bool) bool {
			return slices.ContainsFunc(list, func(h postgres.Holder) bool { return h.Age > 0 && is(h) })
		}
		if err != nil || !named(func(h postgres.Holder) bool { return h.GID == "order 17" && h.State == "prepared" }) ||
			!named(func(h postgres.Holder) bool { return h.PID > 0 && h.Database == "elsewhere" }) {
			t.Errorf("holders: %+v, %v", list, err)
		}
		if err := o.Claim(ctxOf(t), o.lease, last, page.Incarnation); err != nil {
			t.Fatal(err)
		}
		o.settle(relay.Settlement{Acked: runsOf(all)})
		d.Crash() // a prepared transaction outlives it
		read := func(after relay.ID) (got relay.Page, err error) { return o.Read(ctxOf(t), o.lease, after, someRows) }
		until(t, "nothing more is to be read", func() bool {
			got, err := read(0)
			if err == nil && len(got.Messages) > 0 {
				t.Fatalf("read %d before it is committed", len(got.Messages))
			}
			page = got
			return err == nil
		})
		d.exec(`COMMIT PREPARED 'order 17'`)
		began := time.Now()
		until(t, "the prepared ones are read", func() bool {
			got, err := read(page.After)
			if err != nil {
				t.Fatal(err)
			}
			page = got
			return len(got.Messages) == 2 && string(got.Messages[0].Payload) == "x" && got.Messages[1].Key == "k"
		})
		t.Logf("they came %v after their COMMIT", time.Since(began))
	})
}
