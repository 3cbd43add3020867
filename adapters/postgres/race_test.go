package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

const (
	raceWriters = 8
	raceKeys    = 40
	raceFor     = 4 * time.Second
)

// TestHoleRace (R10, A1, A2, A5, A6): writers with random pauses and an early xid, long transactions, rollbacks and late bulk commits, beside a reader that
// claims and settles. Nothing is lost, repeated or inverted inside a key, and no hole is left.
func TestHoleRace(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		for _, rows := range []int{1000, 200} {
			t.Run(fmt.Sprint("pages of ", rows), func(t *testing.T) { holeRace(t, newOutbox(t, major), rows) })
		}
	})
}

func holeRace(t *testing.T, d *database, rows int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	d.exec(`CREATE TABLE oracle (id bigint PRIMARY KEY, key text, n int)`) // the order of each key, by the writers themselves
	d.exec(`CREATE TABLE counter (key text PRIMARY KEY, n int NOT NULL DEFAULT 0)`)
	d.exec(`INSERT INTO counter (key) SELECT 'k' || i FROM generate_series(0, $1) i`, raceKeys)
	store := d.open()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	lease, err := store.Acquire(ctx, relay.Terms{Owner: "race", Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(raceFor)
	var writers sync.WaitGroup
	for w := range raceWriters {
		conn := d.connect()
		writers.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for time.Now().Before(end) {
				if err := raceTx(ctx, conn, r, w); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
			}
		})
	}
	writing := make(chan struct{})
	go func() { writers.Wait(); close(writing) }()
	got, mostHoles := raceRead(t, store, lease, rows, writing)
	judge(t, d, got)
	t.Logf("%d messages, at most %d holes at once", len(got), mostHoles)
}

// raceTx is one business transaction.
func raceTx(ctx context.Context, conn *pgx.Conn, r *rand.Rand, w int) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if r.IntN(2) == 0 {
		if _, err := tx.Exec(ctx, `SELECT pg_current_xact_id()`); err != nil {
			return err
		}
	}
	pause(ctx, r, 5)
	if r.IntN(100) == 0 { // a late bulk commit, of keys of its own
		_, err = tx.Exec(ctx, `WITH p AS (SELECT i, outbox.next_id() AS id FROM generate_series(1, 4000) i),
			l AS (INSERT INTO outbox.message_log (id, topic, key, payload) SELECT id, 't', 'bulk' || $1::int || '-' || i % 50, 'x' FROM p)
			INSERT INTO oracle SELECT id, 'bulk' || $1::int || '-' || i % 50, id FROM p`, w)
		pause(ctx, r, 700)
	} else {
		_, err = tx.Exec(ctx, `WITH c AS (UPDATE counter SET n = n + 1 WHERE key = $1 RETURNING n),
			p AS (SELECT c.n, outbox.publish('t'::text, '{}'::text, $1) AS mid FROM c)
			INSERT INTO oracle SELECT split_part(mid, '-', 6)::bigint, $1, n FROM p`, fmt.Sprint("k", r.IntN(raceKeys)))
		if r.IntN(20) == 0 {
			pause(ctx, r, 300)
		}
	}
	if err != nil || r.IntN(100) < 8 {
		return err
	}
	return tx.Commit(ctx)
}

// pause lets other transactions in between: the disorder that this test is about.
func pause(ctx context.Context, r *rand.Rand, most int) {
	select {
	case <-time.After(time.Duration(r.IntN(most*1000)) * time.Microsecond):
	case <-ctx.Done():
	}
}

// raceRead relays until the writers are done, everything has come and no hole is left. It returns the ids in the order in which they came.
func raceRead(t *testing.T, store relay.Store, lease relay.Lease, rows int, writing <-chan struct{}) (got []relay.ID, mostHoles int) {
	ctx := ctxOf(t)
	after := relay.ID(0)
	for {
		done := false
		select {
		case <-writing:
			done = true
		default:
		}
		page, err := store.Read(ctx, lease, after, relay.ReadLimit{Rows: rows, InlineBytes: 64 << 10, PageBytes: 8 << 20})
		if err != nil {
			t.Fatal(err)
		}
		after, mostHoles = page.After, max(mostHoles, page.Holes)
		if len(page.Messages) == 0 {
			if done && page.Holes == 0 && !page.More {
				return got, mostHoles
			}
			continue
		}
		last := page.Messages[len(page.Messages)-1].ID
		if err := store.Claim(ctx, lease, last, page.Incarnation); err != nil {
			t.Fatal(err)
		}
		var s relay.Settlement
		for i := range page.Messages {
			id := page.Messages[i].ID
			got = append(got, id)
			if n := len(s.Acked); n > 0 && s.Acked[n-1].Hi+1 == id {
				s.Acked[n-1].Hi = id
			} else {
				s.Acked = append(s.Acked, relay.Run{Lo: id, Hi: id})
			}
		}
		if _, err := store.Settle(ctx, lease, s); err != nil {
			t.Fatal(err)
		}
	}
}

func judge(t *testing.T, d *database, got []relay.ID) {
	t.Helper()
	type row struct {
		ID  relay.ID
		Key string
		N   int64
	}
	oracle := map[relay.ID]row{}
	for _, r := range collect(d, pgx.RowToStructByPos[row], `SELECT id, key, n FROM oracle`) {
		oracle[r.ID] = r
	}
	seen, newest := map[relay.ID]bool{}, map[string]int64{}
	var phantom, repeated, inverted int
	for _, id := range got {
		r, ok := oracle[id]
		switch {
		case !ok:
			phantom++
		case seen[id]:
			repeated++
		case r.N < newest[r.Key]:
			inverted++
		}
		seen[id] = true
		newest[r.Key] = max(newest[r.Key], r.N)
	}
	if lost := len(oracle) - len(seen); lost+phantom+repeated+inverted > 0 || len(oracle) == 0 {
		t.Errorf("of %d: %d lost, %d phantom, %d repeated, %d inverted", len(oracle), lost, phantom, repeated, inverted)
	}
	if left := one[int64](d, `SELECT count(*) FROM outbox.message_pending`); left != 0 {
		t.Errorf("%d still pending", left)
	}
}
