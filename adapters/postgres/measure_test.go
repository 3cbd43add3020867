package postgres_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

// TestMeasure: with the rights of the relay's login, and on a long log without reading it.
func TestMeasure(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		s := d.open()
		measure := func(since int64) postgres.Measures {
			t.Helper()
			m, err := s.Measure(ctxOf(t), time.Minute, since)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		if m := measure(-1); !m.FirstAt.IsZero() || m.TooOld != 0 || m.Ahead < 1 || m.LastActivity != 0 {
			t.Errorf("a new outbox: %+v", m)
		}
		const rows = 60_000
		d.exec(`INSERT INTO outbox.message_log (topic, key, created_at) SELECT 't', 'k', now() - CASE WHEN i <= 20000 THEN interval '1 h' ELSE interval '0' END FROM generate_series(1, $1) i`, rows)
		d.exec(`DELETE FROM outbox.message_pending WHERE id BETWEEN 10 AND 19995`)
		d.exec(`ANALYZE outbox.message_log`)
		before := one[int64](d, `SELECT sum(seq_tup_read)::bigint FROM pg_stat_all_tables WHERE schemaname = 'outbox'`)
		m := measure(0)
		if m.TooOld != 14 || time.Since(m.FirstAt) < 50*time.Minute {
			t.Errorf("%d pending for more than a minute, want 14; the oldest row is of %v", m.TooOld, m.FirstAt)
		}
		d.exec(`SELECT pg_stat_force_next_flush()`)
		if after := one[int64](d, `SELECT sum(seq_tup_read)::bigint FROM pg_stat_all_tables WHERE schemaname = 'outbox'`); after-before >= rows {
			t.Errorf("%d rows were read in sequence", after-before)
		}
		log := slices.IndexFunc(m.Tables, func(n postgres.TableMeasure) bool { return n.Name == "message_log" })
		if log < 0 || m.Tables[log].Bytes < rows*50 || len(m.Tables) != 8 {
			t.Errorf("tables: %+v", m.Tables)
		}
		if !slices.Contains(m.Sessions, postgres.SessionCount{Pool: "housekeeper", State: "active", N: 1}) {
			t.Errorf("sessions: %+v", m.Sessions)
		}

		d.exec(`DELETE FROM outbox.message_pending WHERE id <= 2`)
		d.exec(`INSERT INTO outbox.message_held (id, state, topic) VALUES (1, 'dead', 't'), (2, 'dead', 't')`)
		d.exec(`SELECT outbox.retry('{1,2}', 'ana', 'r'), outbox.discard('{2}', 'ana', 'r', 'ui')`)
		m = measure(m.LastActivity)
		if want := []postgres.ActCount{{Action: "discard", Via: "ui", N: 1}, {Action: "retry", Via: "cli", N: 2}}; !slices.Equal(m.Acts, want) || m.LastActivity != 2 {
			t.Errorf("acts %+v up to %d, want %+v", m.Acts, m.LastActivity, want)
		}
		if m = measure(m.LastActivity); len(m.Acts) != 0 || m.LastActivity != 2 {
			t.Errorf("counted twice: %+v", m)
		}

		idle := connectAs(t, asRelay(t, d.url)) // a login sees its own transactions; those of others with pg_monitor only
		for _, q := range []string{`BEGIN`, `SELECT 1`} {
			if _, err := idle.Exec(ctxOf(t), q); err != nil {
				t.Fatal(err)
			}
		}
		if m = measure(0); m.OldestTx <= 0 {
			t.Error("an open transaction is not seen")
		}
		d.exec(`UPDATE outbox.message_log SET created_at = now() - interval '1 h'`)
		if m = measure(0); m.TooOld != relay.CountCap+1 || m.TooOld.String() != "10000+" {
			t.Errorf("%s of 40,000 too old", m.TooOld)
		}
	})
}

func connectAs(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(ctxOf(t), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
