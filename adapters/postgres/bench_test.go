package postgres_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

// BenchmarkDrain reads, claims and settles rows of 1 KiB, each step in a goroutine of its own as the engine has it, and compares that with a binary COPY of
// the same rows, round by round: rows/s of both and the ratio (figure S1 without a publisher).
//
//	go test -run xxx -bench Drain -benchtime 500000x ./adapters/postgres
func BenchmarkDrain(b *testing.B) {
	ctx := context.Background()
	server := testservices.PostgresServer(b, 15, testservices.Fsync(), testservices.Setting("max_wal_size", "8GB"), testservices.Setting("shared_buffers", "1GB"))
	url := server.URL("postgres")
	if _, err := migrations.Up(ctx, url, migrations.Options{}); err != nil {
		b.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, q := range []string{`SELECT setseed(0.5)`, `CHECKPOINT`} {
		if _, err := conn.Exec(ctx, q); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := conn.Exec(ctx, `INSERT INTO outbox.message_log (topic, key, payload) SELECT 't', 'k' || i % 1000, convert_to(repeat(md5(i::text), 32), 'UTF8')
		FROM generate_series(1, $1) i`, b.N); err != nil {
		b.Fatal(err)
	}
	if _, err := conn.Exec(ctx, `CHECKPOINT`); err != nil {
		b.Fatal(err)
	}
	store, err := postgres.Open(ctx, postgres.Config{URL: url})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	lease, err := store.Acquire(ctx, relay.Terms{Owner: "bench", Lease: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	copyOut := func() time.Duration {
		began := time.Now()
		const q = `COPY (SELECT id, topic, key, headers, payload FROM outbox.message_log ORDER BY id) TO STDOUT (FORMAT binary)`
		if _, err := conn.PgConn().CopyTo(ctx, io.Discard, q); err != nil {
			b.Fatal(err)
		}
		return time.Since(began)
	}
	copyOut()
	limit := copyOut()
	b.ResetTimer()
	drain(b, store, lease)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(b.N)/limit.Seconds(), "copied/s")
	b.ReportMetric(limit.Seconds()/b.Elapsed().Seconds(), "of-copy")
}

func drain(b *testing.B, store *postgres.Store, lease relay.Lease) {
	ctx := context.Background()
	claims, settles := make(chan relay.Page, 4), make(chan relay.Page, 4)
	done := make(chan error, 2)
	go func() {
		defer close(settles)
		for page := range claims {
			waiting := []relay.Page{page}
			for len(waiting) < 4 && len(claims) > 0 {
				waiting = append(waiting, <-claims)
			}
			newest := waiting[len(waiting)-1]
			if err := store.Claim(ctx, lease, newest.After, newest.Incarnation); err != nil {
				done <- err
				return
			}
			for _, p := range waiting {
				settles <- p
			}
		}
		done <- nil
	}()
	go func() {
		var seq int64
		for page := range settles {
			var s relay.Settlement
			for _, p := range append([]relay.Page{page}, more(settles)...) {
				for lo := 0; lo < len(p.Messages); lo += 500 {
					part := p.Messages[lo:min(lo+500, len(p.Messages))]
					seq++
					r := relay.Receipt{Seq: seq, Destination: "k", Lane: "t/0"}
					for i := range part {
						r.IDs = append(r.IDs, part[i].ID)
						if n := len(s.Acked); n > 0 && s.Acked[n-1].Hi+1 == part[i].ID {
							s.Acked[n-1].Hi++
						} else {
							s.Acked = append(s.Acked, relay.Run{Lo: part[i].ID, Hi: part[i].ID})
						}
					}
					s.Receipts = append(s.Receipts, r)
				}
			}
			if _, err := store.Settle(ctx, lease, s); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	after := relay.ID(0)
	for n := 0; n < b.N; {
		page, err := store.Read(ctx, lease, after, relay.ReadLimit{Rows: 2000, InlineBytes: 64 << 10, PageBytes: 8 << 20})
		if err != nil {
			b.Fatal(err)
		}
		n += len(page.Messages)
		if after = page.After; len(page.Messages) > 0 {
			claims <- page
		}
	}
	close(claims)
	for range 2 {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// more returns what waits already, at most one page: a settlement of about 5,000 ids.
func more(pages <-chan relay.Page) (out []relay.Page) {
	select {
	case p, ok := <-pages:
		if ok {
			out = append(out, p)
		}
	default:
	}
	return out
}
