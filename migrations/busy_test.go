package migrations

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"

	"github.com/waybillmq/waybill/internal/testservices"
)

// F7: a migration that meets an open writer and an open reader never makes business transactions wait for longer than its lock_timeout, and goes through when
// they end.
func TestMigrationsBesideOpenTransactions(t *testing.T) {
	eachEmpty(t, func(t *testing.T, pg *testservices.PG) {
		if err := bootstrap(t.Context(), pg.URL, Options{}); err != nil {
			t.Fatal(err)
		}
		to := func(version int64) error {
			_, err := run(t.Context(), pg.URL, Options{}, func(p *goose.Provider) ([]*goose.MigrationResult, error) { return p.UpTo(t.Context(), version) })
			return err
		}
		if err := to(1); err != nil {
			t.Fatal(err)
		}
		watch, writer, reader := connect(t, pg.URL), connect(t, pg.URL), connect(t, pg.URL)
		ctx, stop := context.WithCancel(t.Context())
		latencies := business(t, ctx, connect(t, pg.URL))
		blocked := 0
		for version := int64(2); version <= Version; version++ {
			do(t, writer, "BEGIN; INSERT INTO outbox.message_log (topic) VALUES ('writer')")
			do(t, reader, "BEGIN; SELECT count(*) FROM outbox.message_log")
			done := make(chan error, 1)
			go func() { done <- to(version) }()
			var err error
			finished := func() bool {
				select {
				case err = <-done:
					done <- err
					return true
				default:
					return false
				}
			}
			waits := func() bool {
				return ask[bool](t, watch, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'waybill/migrate'
					AND wait_event_type = 'Lock')`)
			}
			eventually(t, "the migration is through or waits", func() bool { return finished() || waits() })
			if !finished() {
				blocked++
				eventually(t, "it gives up instead of holding up everybody", func() bool { return finished() || !waits() })
			}
			do(t, writer, "COMMIT")
			do(t, reader, "COMMIT")
			if err := <-done; err != nil {
				t.Fatalf("migration %d: %v", version, err)
			}
		}
		stop()
		took := <-latencies
		slices.Sort(took)
		p99, longest := took[len(took)*99/100], took[len(took)-1]
		t.Logf("%d business transactions, p99 %v, longest %v; %d migrations had to wait", len(took), p99, longest, blocked)
		if p99 > time.Second || longest > 5*time.Second {
			t.Errorf("business transactions took p99 %v, at most %v", p99, longest)
		}
		if blocked == 0 {
			t.Error("no migration met a lock: this test shows nothing")
		}
	})
}

// business writes rows until ctx ends and then returns how long each took.
func business(t *testing.T, ctx context.Context, conn *pgx.Conn) <-chan []time.Duration {
	answer := make(chan []time.Duration, 1)
	go func() {
		var took []time.Duration
		for ctx.Err() == nil {
			start := time.Now()
			if _, err := conn.Exec(context.WithoutCancel(ctx), "INSERT INTO outbox.message_log (topic) VALUES ('business')"); err != nil {
				t.Errorf("business: %v", err)
				break
			}
			took = append(took, time.Since(start))
		}
		answer <- took
	}()
	return answer
}

// BenchmarkUp is what a test pays for a schema of its own, roles already there: 0.15 s on two idle cores.
func BenchmarkUp(b *testing.B) {
	pg := testservices.Postgres(b, 15)
	o := Options{Schema: "bench"}
	if err := bootstrap(b.Context(), pg.URL, o); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Up(b.Context(), pg.URL, o); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if _, err := Down(b.Context(), pg.URL, o, 0); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
