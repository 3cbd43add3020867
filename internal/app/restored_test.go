package app

import (
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
)

// F16, C12, P5: the snapshot of a database is restored in its own place, on the same timeline, once under a running owner and once before a relay starts again on the
// same cache folder. Messages of the lost rows were sent; ids that are drawn again are other messages, with message ids of their own, and every one of them is sent.
func TestSnapshotIsRestoredInItsPlace_F16_C12(t *testing.T) {
	t.Parallel()
	s := testservices.PostgresServer(t, 18)
	r := newRig(t, newDatabase(t, s), testservices.Kafka(t))
	r.lease(4*time.Second, 500*time.Millisecond, time.Second) // that of the restored state has to end
	topic := r.topic("orders", 4, nil)
	a := r.start("a")
	r.takenBack = map[string]bool{}
	do := func(steps ...func() error) {
		t.Helper()
		for _, step := range steps {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		r.pool.Reset()
	}
	sends := func(n int64) {
		t.Helper()
		above := int64(-1)
		eventually(t, "it is sent", func() bool {
			if above < 0 {
				if id, err := tryAsk[int64](r, `SELECT coalesce(max(id), 0) FROM outbox.message_log`); err == nil {
					above = id
				}
				return false
			}
			return r.sentOf(topic, above) > n
		})
	}
	const messages = `SELECT array_agg(g.generation || '-' || id) FROM outbox.message_log, LATERAL (SELECT outbox_id AS generation FROM outbox.generations WHERE from_id <= id
		ORDER BY from_id DESC LIMIT 1) g`
	for round, stopped := range []bool{false, true} {
		l := r.write(150, 30, "", topic)
		sends(100)
		do(s.Kill9, s.Backup, s.Start)
		sends(300)
		l.stop()
		r.drained()
		for _, id := range ask[[]string](r, messages) {
			r.takenBack[id] = true
		}
		epoch := ask[int64](r, `SELECT epoch FROM outbox.owner`)
		if stopped {
			do(a.stop)
		}
		do(s.Kill9, s.Restore, s.Start)
		if stopped {
			a = r.start("a")
		}
		l = r.write(150, 30, "", topic)
		eventually(t, "a new generation begins", func() bool {
			n, err := tryAsk[int](r, `SELECT count(*) FROM outbox.generations WHERE reason LIKE '%older state%'`)
			return err == nil && n == round+1
		})
		sends(300)
		l.stop()
		r.drained()
		if next := ask[int64](r, `SELECT epoch FROM outbox.owner`); next < epoch+1_000_000 {
			t.Errorf("epoch %d after %d", next, epoch)
		}
	}
	if said := a.log.tail(); !strings.Contains(said, "a new generation of message ids begins") || !strings.Contains(said, "an older state of the database was restored in its place") {
		t.Errorf("the relay does not say it: %s", said)
	}
	for _, id := range ask[[]string](r, messages) {
		delete(r.takenBack, id)
	}
	t.Logf("%d messages were sent whose rows were lost", len(r.takenBack))
	if len(r.takenBack) < 400 {
		t.Error("too few: nothing is shown")
	}
	r.verdict(settledInTheLastMoments)
}
