package migrations

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A2: with the key lock, inside a key the order of ids is the order of commits; without it the race shows, which proves that this test can see it.
func TestKeyOrderIsCommitOrder(t *testing.T) {
	const writers, keys, rounds = 8, 4, 60
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		// commit order of a key, as its transactions see it: the last thing each does under the row lock of its key
		do(t, conn, "CREATE TABLE turn (key text PRIMARY KEY, n int NOT NULL); CREATE TABLE seen (key text, n int, id bigint)")
		do(t, conn, "INSERT INTO turn SELECT 'k' || i, 0 FROM generate_series(0, $1) i", keys-1)
		inverted := func(publish string) int {
			do(t, conn, "TRUNCATE seen; UPDATE turn SET n = 0")
			var wg sync.WaitGroup
			for w := range writers {
				c := connect(t, url)
				wg.Go(func() {
					random := rand.New(rand.NewPCG(seed, uint64(w)))
					for range rounds {
						key := fmt.Sprintf("k%d", random.IntN(keys))
						err := pgx.BeginFunc(t.Context(), c, func(tx pgx.Tx) error {
							var id int64
							if err := tx.QueryRow(t.Context(), publish, key).Scan(&id); err != nil {
								return err
							}
							_, err := tx.Exec(t.Context(), "WITH u AS (UPDATE turn SET n = n + 1 WHERE key = $1 RETURNING n) INSERT INTO seen SELECT $1, n, $2 FROM u", key, id)
							return err
						})
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			return ask[int](t, conn, "SELECT count(*)::int FROM (SELECT id < lag(id) OVER (PARTITION BY key ORDER BY n) AS back FROM seen) s WHERE back")
		}
		const id = "SELECT split_part(outbox.publish('t', '{}', $1%s), '-', 6)::bigint"
		if n := inverted(fmt.Sprintf(id, "")); n != 0 {
			t.Errorf("%d messages out of the order of their commits", n)
		}
		eventually(t, "without the lock the order breaks", func() bool { return inverted(fmt.Sprintf(id, ", ordered => false")) > 0 })
	})
}

// Batches take their locks in one order, so two that name the same keys the other way round cannot deadlock.
func TestBatchesDoNotDeadlock(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		var wg sync.WaitGroup
		for _, keys := range []string{"{a,b,c,d,e}", "{e,d,c,b,a}", "{c,a,e,b,d}"} {
			c := connect(t, url)
			wg.Go(func() {
				for range 50 {
					if code, message := try(t.Context(), c, "SELECT outbox.publish_batch('{t,t,t,t,t}', '{1,2,3,4,5}', $1)", keys); code != "" {
						t.Errorf("%s %s", code, message)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// Two transactions that write two keys in opposite order wait for each other: the database ends one of them, whole, and the other one commits.
func TestOppositeOrderOfKeys_A18(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		first, second := connect(t, url), connect(t, url)
		do(t, first, "BEGIN; SELECT outbox.publish('t', '1', 'a')")
		do(t, second, "BEGIN; SELECT outbox.publish('t', '2', 'b')")
		codes := make(chan string, 2)
		end := func(c *pgx.Conn, key string) {
			code, _ := try(context.Background(), c, "SELECT outbox.publish('t', '3', $1)", key)
			if _, err := c.Exec(context.Background(), "COMMIT"); err != nil {
				code += " " + err.Error()
			}
			codes <- code
		}
		go end(first, "b")
		eventually(t, "the first waits for the second", func() bool { return waiting(t, conn, first.PgConn().PID()) })
		go end(second, "a")
		if a, b := <-codes, <-codes; a+b != "40P01" {
			t.Errorf("they ended with %q and %q", a, b)
		}
		if n := ask[string](t, conn, "SELECT concat_ws(' ', count(*), count(DISTINCT m.xmin::text), count(p.id)) FROM outbox.message_log m JOIN outbox.message_pending p USING (id)"); n != "2 1 2" {
			t.Errorf("messages, transactions, pending: %s, want two messages of one", n)
		}
	})
}

// A4: the id is drawn after the transaction id, so whoever owns an id is visible as a running transaction.
func TestTransactionIDComesBeforeID(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		writer := connect(t, url)
		do(t, writer, "BEGIN")
		do(t, writer, "SELECT outbox.next_id()")
		if xid := ask[*string](t, writer, "SELECT pg_current_xact_id_if_assigned()::text"); xid == nil {
			t.Error("an id without a transaction id")
		}
		if held := ask[bool](t, conn, "SELECT pg_snapshot_xmin(pg_current_snapshot()) < pg_current_xact_id()"); !held {
			t.Error("xmin passed over the owner of an id")
		}
		do(t, writer, "ROLLBACK")
		do(t, writer, "BEGIN")
		do(t, writer, "SELECT nextval('outbox.message_id_seq')")
		if xid := ask[*string](t, writer, "SELECT pg_current_xact_id_if_assigned()::text"); xid != nil {
			t.Error("this test cannot tell: a bare nextval has a transaction id too")
		}
		do(t, writer, "ROLLBACK")
		if cache := ask[int](t, conn, "SELECT seqcache::int FROM pg_sequence WHERE seqrelid = 'outbox.message_id_seq'::regclass"); cache != 1 {
			t.Errorf("CACHE %d hands out blocks and breaks the order", cache)
		}
		if def := ask[string](t, conn, `SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef JOIN pg_attribute a ON (a.attrelid, a.attnum) = (adrelid, adnum)
			WHERE adrelid = 'outbox.message_log'::regclass AND a.attname = 'id'`); def != "outbox.next_id()" {
			t.Errorf("the default of id is %s", def)
		}
	})
}

// A19: every key has the hash of every other one, which real keys hardly ever have. Writers wait for each other longer, and nothing else changes: inside a key the order of
// ids is the order of commits, and batches that name keys the other way round end.
func TestKeysThatShareAHash_A19(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		do(t, conn, "CREATE OR REPLACE FUNCTION outbox.key_lock(topic text, key text) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 7")
		do(t, conn, "CREATE TABLE seen (key text, n int, id bigint); CREATE SEQUENCE turn")
		var wg sync.WaitGroup
		for w, keys := range []string{"{a,b}", "{b,a}", "{c,a}", "{a,c}"} {
			c := connect(t, url)
			wg.Go(func() {
				for range 40 { // the turn is taken last, under the lock of the key
					if code, message := try(t.Context(), c, fmt.Sprintf(`BEGIN; WITH p AS MATERIALIZED (SELECT outbox.publish('t', '{}', '%[1]c') AS m)
						INSERT INTO seen SELECT '%[1]c', nextval('turn'), split_part(m, '-', 6)::bigint FROM p;
						SELECT outbox.publish_batch('{t,t}', '{1,2}', '%[2]s'); COMMIT`, "abca"[w], keys)); code != "" {
						t.Errorf("%s %s", code, message)
						return
					}
				}
			})
		}
		wg.Wait()
		if n := ask[int](t, conn, "SELECT count(*)::int FROM (SELECT id < lag(id) OVER (ORDER BY n) AS back FROM seen) s WHERE back"); n != 0 {
			t.Errorf("%d messages out of the order of their commits", n)
		}
		if n := ask[int](t, conn, "SELECT count(*)::int FROM seen"); n != 160 {
			t.Errorf("%d turns", n)
		}
	})
}
