package postgres_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
)

// retained is everything that retention may change: tables and their bounds, what is in them, and what it says that it did.
const retained = `SELECT concat_ws(E'\n', (SELECT string_agg(name || ' ' || lo || ' ' || hi, ', ' ORDER BY lo) FROM outbox.partitions),
	(SELECT string_agg(relname || ' ' || relispartition, ', ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'outbox'::regnamespace AND relkind IN ('r', 'p') AND relname ~ '_[0-9]'),
	(SELECT concat(count(*), ' messages ', sum(id), ', ') FROM outbox.message_log), (SELECT concat(count(*), ' receipts ', sum(hi)) FROM outbox.receipts),
	(SELECT count(*) || ' pending' FROM outbox.message_pending), (SELECT count(*) || ' held' FROM outbox.message_held), (SELECT count(*) || ' acts' FROM outbox.activity),
	(SELECT count(*) || ' message ids' FROM outbox.message_ids))`

// aged is an outbox whose first partition is old and settled, with receipts and an application's own message id; `dead` of its messages are dead.
func aged(d *database, dead int) {
	d.t.Helper()
	d.exec(`SELECT outbox.publish('t'::text, '{}'::text, message_id => 'mine')`)
	d.insert(10100, 10)
	d.exec(`UPDATE outbox.message_log SET created_at = now() - interval '10 days'`)
	d.exec(`INSERT INTO outbox.receipts (hi, lo, n, epoch, seq, destination, lane, acked_at, ids) SELECT i, i, 1, 1, i, 'k', '0', now(), '' FROM generate_series(1, 100) i`)
	d.exec(`INSERT INTO outbox.message_held (id, state, topic) SELECT i, 'dead', 't' FROM generate_series(1, $1::int) i`, dead)
	d.exec(`DELETE FROM outbox.message_pending`)
	d.exec(`SELECT setval('outbox.message_id_seq', 1000100)`)
	d.insert(10, 10)
	// the functions' own 200 ms would end before the kill on a slow machine
	d.exec(`ALTER FUNCTION outbox.drop_partition(text, interval) SET lock_timeout = '60s'`)
	d.exec(`ALTER FUNCTION outbox.shrink_partition(text, interval) SET lock_timeout = '60s'`)
}

// F13: PostgreSQL, and in the end the session alone, is killed while retention stands before each of its steps. Nothing of a round that was broken off is left, and the
// next one does all of it.
func TestRetentionIsKilledAtEachStep_F13(t *testing.T) {
	for name, c := range map[string]struct {
		dead  int
		stops []string // locks of others, one before each step
		after string
	}{
		"drop": {0, []string{"ONLY outbox.message_log IN ROW EXCLUSIVE", "outbox.message_log_0 IN ACCESS SHARE", "ONLY outbox.receipts IN ROW EXCLUSIVE", "outbox.receipts_0 IN ACCESS SHARE",
			"outbox.activity IN EXCLUSIVE", "outbox.receipts_rest IN EXCLUSIVE"}, "partitions 1, messages 10, receipts 0, message ids 0"},
		"shrink": {3, []string{"ONLY outbox.message_log IN ROW EXCLUSIVE", "outbox.message_held IN ROW EXCLUSIVE", "outbox.message_log_0 IN ACCESS SHARE", "outbox.activity IN EXCLUSIVE"},
			"partitions 2, messages 13, receipts 100, message ids 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newCrashable(t, majors(t)[len(majors(t))-1])
			aged(d.database, c.dead)
			before := one[string](d.database, retained)
			s := d.open()
			for _, stop := range c.stops {
				done := d.retainBehind(s, stop)
				d.Crash()
				if r := <-done; r.err == nil {
					t.Errorf("before %q: the round dropped %v although the server was killed", stop, r.dropped)
				}
				if got := one[string](d.database, retained); got != before {
					t.Fatalf("killed before %q:\n%s\nand it was\n%s", stop, got, before)
				}
			}

			done := d.retainBehind(s, c.stops[len(c.stops)-1])
			d.exec(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'waybill/%housekeeper'`)
			if r := <-done; r.err == nil {
				t.Errorf("the round dropped %v although its session was ended", r.dropped)
			}
			d.exec(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'in the way'`)
			if got := one[string](d.database, retained); got != before {
				t.Fatalf("after the end of its session:\n%s\nand it was\n%s", got, before)
			}
			if _, err := s.Retain(ctxOf(t), 72*time.Hour); err != nil {
				t.Errorf("the next round: %v", err)
			}
			got := one[string](d.database, `SELECT format('partitions %s, messages %s, receipts %s, message ids %s', (SELECT count(*) FROM outbox.partitions),
				(SELECT count(*) FROM outbox.message_log), (SELECT count(*) FROM outbox.receipts), (SELECT count(*) FROM outbox.message_ids))`)
			if got != c.after {
				t.Errorf("in the end: %s, want %s", got, c.after)
			}
			if acts := one[[]string](d.database, `SELECT array_agg(action || ' ' || target) FROM outbox.activity`); !slices.Equal(acts, []string{name + "_partition message_log_0"}) {
				t.Errorf("it says that it did %v", acts)
			}
		})
	}
}

// round is how a round of retention ended.
type round struct {
	dropped []string
	err     error
}

// retainBehind begins a round of retention and returns when it waits for the lock that somebody else has.
func (c *crashable) retainBehind(s *postgres.Store, lock string) <-chan round {
	c.t.Helper()
	other := c.connect()
	for _, q := range []string{`SET application_name = 'in the way'`, `BEGIN`, `LOCK TABLE ` + lock + ` MODE`} {
		if _, err := other.Exec(ctxOf(c.t), q); err != nil {
			c.t.Fatalf("%s: %v", q, err)
		}
	}
	done := make(chan round, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		dropped, err := s.Retain(ctx, 72*time.Hour)
		done <- round{dropped, err}
	}()
	until(c.t, "retention waits for: "+lock, c.lockIsWaitedFor)
	return done
}

func (d *database) lockIsWaitedFor() bool {
	return one[int64](d, `SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.application_name LIKE 'waybill/%housekeeper'`) > 0
}
