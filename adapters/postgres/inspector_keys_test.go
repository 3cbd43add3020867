package postgres

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Closed keys are counted exactly up to the limit, whatever waits behind them.
func TestClosedKeysAreCounted(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			d := newDesk(t, major)
			count := func(sql string, args ...any) (n int) {
				t.Helper()
				if err := d.conn.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			if n := count(sqlClosedCount, 100); n != 0 {
				t.Errorf("%d keys are closed in an empty outbox", n)
			}
			next := 1
			for range 400 { // as long as keys come one by one the steps grow, and shrink behind a long queue
				depth := 1
				if r.IntN(20) == 0 {
					depth = 1 + r.IntN(600)
				}
				d.exec(t, `INSERT INTO outbox.message_held (id, state, topic, key, passed) SELECT i, CASE WHEN $5 THEN 'scheduled' WHEN i = $1 THEN 'dead' ELSE 'blocked' END, $3, $4, $6
  FROM generate_series($1::bigint, $2) AS i`, next, next+depth-1, fmt.Sprint("t", r.IntN(3)), fmt.Sprint("k", r.IntN(2000)), r.IntN(20) == 0, r.IntN(20) == 0)
				next += depth
			}
			all := count(`SELECT count(DISTINCT (topic, key)) FROM outbox.message_held WHERE state <> 'scheduled' AND NOT passed`)
			for _, most := range []int{1, 2, all - 1, all, all + 1, 10_001} {
				if n := count(sqlClosedCount, most); n != min(all, most) {
					t.Errorf("%d keys of %d, at most %d", n, all, most)
				}
			}
		})
	}
}
