package app

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
)

var manyRows = flag.Int64("rows", 50_000, "messages of TestEveryPageWithManyMessages; from a million on each page is to take less than 100 ms")

// history writes n messages as they lie after a long life: all but the newest 3 % sent, of these half dead and half waiting behind them.
func (w *ward) history(n int64) {
	w.t.Helper()
	ctx := w.t.Context()
	conn, err := pgx.Connect(ctx, w.pool.Config().ConnString())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	do := func(sql string, args ...any) {
		w.t.Helper()
		if _, err := conn.Exec(ctx, sql, args...); err != nil {
			w.t.Fatal(err)
		}
	}
	store, err := postgres.Open(ctx, postgres.Config{URL: w.pool.Config().ConnString()})
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	do(`SET session_replication_role = replica`) // nothing becomes pending
	const chunk = 100_000
	for from := int64(1); from <= n; from += chunk {
		if _, err := store.AddPartitions(ctx, 30*24*time.Hour); err != nil {
			w.t.Fatal(err)
		}
		do(`INSERT INTO outbox.message_log (created_at, topic, key, type, payload)
			SELECT now() - make_interval(secs => ($3 - i) / 100.0), (ARRAY['order.placed', 'order.paid', 'order.image'])[1 + i % 3], 'c-' || i % 100000, 'order', decode(repeat(md5(i::text), 8), 'hex')
			FROM generate_series($1::bigint, $2::bigint) AS i ORDER BY i`, from, min(from+chunk-1, n), n)
	}
	sent := n - n*3/100
	const batch = 500
	receipts := pgx.CopyFromSlice(int((sent+batch-1)/batch), func(k int) ([]any, error) {
		lo := int64(k)*batch + 1
		hi := min(lo+batch-1, sent)
		ids := binary.AppendUvarint(nil, uint64(lo))
		for range hi - lo {
			ids = append(ids, 1)
		}
		return []any{hi, lo, int32(hi - lo + 1), int64(1), int64(k), "local", "order.placed/0", lo, time.Now().Add(-time.Hour), ids}, nil
	})
	if _, err := conn.CopyFrom(ctx, pgx.Identifier{"outbox", "receipts"}, []string{"hi", "lo", "n", "epoch", "seq", "destination", "lane", "first_offset", "acked_at", "ids"}, receipts); err != nil {
		w.t.Fatal(err)
	}
	do(`INSERT INTO outbox.message_held (id, state, topic, key, destination, attempts, outcome, class, error_code, error, fingerprint, first_failed_at)
		SELECT id, 'dead', topic, key, 'local', 1, 'rejected', 'refused', 'TOPIC_AUTHORIZATION_FAILED', 'the topic refused this writer', 70 + id % 20, now() - interval '20 min'
		FROM outbox.message_log WHERE id > $1 AND id <= $2`, sent, sent+(n-sent)/2)
	do(`INSERT INTO outbox.message_held (id, state, topic, key, destination)
		SELECT m.id, 'blocked', h.topic, h.key, 'local' FROM outbox.message_log m JOIN outbox.message_held h ON h.id = $1 + 1 + m.id % 1000 WHERE m.id > $2`, sent, sent+(n-sent)/2)
	do(`VACUUM (ANALYZE)`)
}

// Every page answers with many messages behind it, from any place in them. How long it takes is measured, and judged with -rows=10000000.
func TestEveryPageWithManyMessages(t *testing.T) {
	w := newWard(t)
	n := *manyRows
	w.history(n)
	sent := n - n*3/100
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Timeout: time.Minute}
	answer, err := client.PostForm(w.base+"/login", url.Values{"token": {w.token}, "name": {"ana"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	worst, topic := time.Duration(0), []string{"order.placed", "order.paid", "order.image"}[(sent+1)%3]
	for _, path := range []string{"/", "/messages", "/messages?q=state:dead", "/messages?q=state:blocked", "/messages?q=state:sent", "/messages?q=topic:order.paid", "/messages?q=key:c-77",
		"/messages?q=topic:order.paid+key:c-77+state:sent", "/messages?q=failure:0000000000000046", "/messages?q=age%3E1h", "/messages?q=destination:nowhere", "/messages?q=class:nothing+-topic:order.paid",
		fmt.Sprintf("/messages?q=state:dead+topic:%s+key:c-%d", topic, (sent+1)%100_000), fmt.Sprintf("/messages?q=destination:local+topic:%s+key:c-%d", topic, (sent+1)%100_000),
		"/messages?q=since:2020-01-01+-state:sent",
		fmt.Sprintf("/messages?before=%d", n/2), fmt.Sprintf("/messages?q=state:sent&before=%d", n/3), fmt.Sprintf("/messages?q=-state:sent&before=%d", n/2), fmt.Sprintf("/messages?q=-id:5&before=%d", n/2),
		"/messages/1", fmt.Sprint("/messages/", n/2), fmt.Sprint("/messages/", sent+1), fmt.Sprint("/messages/", n),
		"/failures/0000000000000046", "/keys", fmt.Sprintf("/key?topic=%s&key=c-%d", topic, (sent+1)%100_000),
		"/destinations", "/operations", "/activity", "/doctor"} {
		var took []time.Duration
		for range 20 {
			began := time.Now()
			r, err := client.Get(w.base + path)
			if err != nil {
				t.Fatal(err)
			}
			size, err := io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
			if took = append(took, time.Since(began)); err != nil || r.StatusCode != http.StatusOK || size == 0 || r.Request.URL.Path == "/login" {
				t.Fatalf("%s: %s, %d bytes, %v", path, r.Status, size, err)
			}
		}
		slices.Sort(took)
		p95 := took[len(took)*95/100]
		t.Logf("%-60s p50 %8v  p95 %8v", path, took[len(took)/2].Round(time.Microsecond*100), p95.Round(time.Microsecond*100))
		worst = max(worst, p95)
		if n >= 1_000_000 && p95 >= 100*time.Millisecond {
			t.Errorf("%s takes %v with %d messages", path, p95, n)
		}
	}
	t.Logf("%d messages, the slowest page: p95 %v", n, worst)
}
