package app

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

// bulkRig is an outbox with a bundled broker, full of dead messages; relays come and go.
type bulkRig struct {
	*rig
	people *People
}

func newBulkRig(t *testing.T, topics ...string) *bulkRig {
	t.Helper()
	url := testservices.Postgres(t, 18).URL
	if _, err := migrations.Up(t.Context(), url, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	c := config.Default()
	c.Name, c.Metrics.Listen, c.Dashboard.Listen, c.Database.URL = "test", "127.0.0.1:0", config.None[string](), config.SecretText(url)
	c.Relay.WriteLimits = false
	c.Broker.Enabled, c.Broker.Dir, c.Broker.SegmentSize, c.Broker.Topics.Create = true, filepath.Join(t.TempDir(), "broker"), 32*config.MiB, topics
	c.Destinations = []config.Destination{{Name: "local", Kind: config.KindWaybillBroker}}
	c.Routes = []config.Route{{Name: "all", Match: config.Match{Topic: "*"}, To: config.To{Destination: "local", Topic: "{topic}"}, Retry: c.Retry, OnDead: "block"}}
	b := &bulkRig{rig: &rig{t: t, url: url, pool: pool, config: c}}
	b.program = sync.OnceValues(func() (string, error) { return build(t) })
	if b.people, err = OpenPeople(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.people.Close)
	return b
}

// dead writes n messages of a topic that are dead already; keys = how many of them share a key, 0 = none.
func (b *bulkRig) dead(topic string, n, keys, bytes int) {
	b.t.Helper()
	b.exec(`WITH m AS (INSERT INTO outbox.message_log (topic, key, payload) SELECT $1, CASE WHEN $3 > 0 THEN 'k' || i / greatest($3, 1) END, convert_to(repeat('x', $4), 'UTF8')
		FROM generate_series(1, $2) AS i ORDER BY i RETURNING id, topic, key)
		INSERT INTO outbox.message_held (id, state, topic, key, destination, attempts, outcome, class, error, fingerprint)
		SELECT id, 'dead', topic, key, 'local', 1, 'rejected', 'invalid', 'bad', 77 FROM m`, topic, n, keys, bytes)
	b.exec(`DELETE FROM outbox.message_pending p USING outbox.message_held h WHERE h.id = p.id`)
}

// retry plans and starts a retry of everything that is dead.
func (b *bulkRig) retry(pace relay.Pace) relay.OperationID {
	b.t.Helper()
	f, err := relay.ParseFilter("failure:000000000000004d")
	if err != nil {
		b.t.Fatal(err)
	}
	o, err := b.people.Plan(b.t.Context(), ActRetry, f, "failure:000000000000004d")
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.people.StartPlan(b.t.Context(), o.ID, pace, "mended"); err != nil {
		b.t.Fatal(err)
	}
	return o.ID
}

func (b *bulkRig) operation(id relay.OperationID) relay.Operation {
	o, err := b.people.Operation(context.Background(), id)
	if err != nil {
		return relay.Operation{}
	}
	return o
}

// A relay ends in the middle of an operation: the next one goes on where it was, and each message is sent once.
func TestOperationSurvivesItsOwner(t *testing.T) {
	t.Parallel()
	b := newBulkRig(t, "orders")
	b.dead("orders", 900, 3, 20)
	first := b.start("a")
	id := b.retry(relay.Pace{Careful: true, Rate: 300, StopAt: 0.05})
	eventually(t, "it is in its third step", func() bool { o := b.operation(id); return o.Step == 3 && o.Handled > 200 })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	if o := b.operation(id); o.State != relay.OperationRunning || o.Handled == o.Total {
		t.Fatalf("it had ended already: %+v", o)
	}
	b.start("b")
	eventually(t, "it is done", func() bool { return b.operation(id).State.Ended() })
	if o := b.operation(id); o.State != relay.OperationDone || o.Handled != 900 || o.Sent != 900 || o.Step != 3 {
		t.Errorf("%+v", o)
	}
	b.stopAll()
	if n := ask[int](b.rig, `SELECT sum(n)::int FROM outbox.receipts`); n != 900 {
		t.Errorf("%d receipts for 900 messages", n)
	}
	stored := 0
	if err := BrokerCat(t.Context(), b.config.Broker.Dir, "orders", CatOptions{Partition: -1, Limit: 2000}, func(BrokerRecord) error { stored++; return nil }); err != nil || stored != 900 {
		t.Errorf("%d at the broker, %v", stored, err)
	}
	if acts := ask[int](b.rig, `SELECT sum(changed)::int FROM outbox.activity WHERE action = 'retry' AND operation_id = $1 AND via = 'cli'`, int64(id)); acts != 900 {
		t.Errorf("the activity log has %d", acts)
	}
}

// The program is killed in the middle, several times: the same end as without, and nothing that was done is done again.
func TestOperationSurvivesKills(t *testing.T) {
	t.Parallel()
	b := newBulkRig(t, "orders")
	b.lease(6*time.Second, time.Second, 2*time.Second)
	const n = 10_000
	b.dead("orders", n, 3, 20)
	p := b.launch("a")
	id := b.retry(relay.DefaultPace())
	for i, at := range []int{1, 111, 2500, 7000} {
		within(t, 2*time.Minute, fmt.Sprint("it has handled ", at), func() bool { o := b.operation(id); return o.Handled >= at || o.State.Ended() })
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if o := b.operation(id); o.State != relay.OperationRunning {
			t.Fatalf("it had ended before the kill at %d: %+v", at, o)
		}
		p = b.launch(fmt.Sprint("b", i))
	}
	within(t, 2*time.Minute, "it is done", func() bool { return b.operation(id).State.Ended() })
	if o := b.operation(id); o.State != relay.OperationDone || o.Handled != n || o.Sent != n {
		t.Errorf("%+v", o)
	}
	if acts := ask[int](b.rig, `SELECT sum(changed)::int FROM outbox.activity WHERE action = 'retry' AND operation_id = $1`, int64(id)); acts != n {
		t.Errorf("%d were acted on", acts)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	stored := 0
	if err := BrokerCat(t.Context(), b.config.Broker.Dir, "orders", CatOptions{Partition: -1, Limit: 2 * n}, func(BrokerRecord) error { stored++; return nil }); err != nil || stored != n {
		t.Errorf("%d at the broker, %v", stored, err)
	}
}

// The cause is not mended: the first ten find out, and the rest is untouched.
func TestOperationStopsByItself(t *testing.T) {
	t.Parallel()
	b := newBulkRig(t, "orders")
	b.exec(`UPDATE outbox.limits SET max_bytes = 4000000`)
	b.dead("orders", 10, 0, 1_200_000)
	b.dead("orders", 300, 0, 20)
	b.start("a")
	id := b.retry(relay.DefaultPace())
	eventually(t, "it has ended", func() bool { return b.operation(id).State.Ended() })
	o := b.operation(id)
	if o.State != relay.OperationStopped || o.Handled != 10 || o.FailedAgain < 1 || o.Cause == "" {
		t.Errorf("%+v", o)
	}
	if n := ask[int](b.rig, `SELECT count(*)::int FROM outbox.message_held WHERE attempts = 1 AND state = 'dead' AND activity_id IS NULL`); n != 300 {
		t.Errorf("%d of 300 are as they were", n)
	}
	items, err := b.people.OperationItems(t.Context(), id, relay.OutcomeFailedAgain, 0, 200)
	if err != nil || len(items) != o.FailedAgain {
		t.Errorf("%v, %v", items, err)
	}
}

// A person retries 100,000 messages beside a healthy flow: no message of the flow waits for the act.
func TestBulkActNeverStallsDelivery(t *testing.T) {
	b := newBulkRig(t, "old", "flow")
	b.dead("old", 50_000, 0, 20)
	b.dead("old", 50_000, 2, 20)
	b.start("a")
	l := b.write(200, 50, "", "flow")
	eventually(t, "the flow is on its way", func() bool { return b.sentOf("flow", 100_000) > 200 })

	oldest := func() float64 { // of what the flow has written and nobody has sent
		return ask[float64](b.rig, `SELECT coalesce(extract(epoch FROM clock_timestamp() - (SELECT m.created_at FROM outbox.message_log m
			WHERE m.id = (SELECT min(p.id) FROM outbox.message_pending p)))::float8, 0)`)
	}
	watch := func(until func() bool) (ages []float64, share float64) {
		from, began := b.newest(), l.committed.Load()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for !until() {
			ages = append(ages, oldest())
			<-tick.C
		}
		sent, written := b.sentOf("flow", from), l.committed.Load()-began
		slices.Sort(ages)
		return ages, float64(sent) / float64(max(written, 1))
	}
	quiet := time.Now().Add(5 * time.Second)
	before, shareBefore := watch(func() bool { return time.Now().After(quiet) })
	began := time.Now()
	id := b.retry(relay.Pace{Careful: true, StopAt: 0.05})
	planned := time.Since(began)
	handled, moved := 0, time.Now()
	during, share := watch(func() bool {
		o := b.operation(id)
		if o.Handled > handled {
			handled, moved = o.Handled, time.Now()
		}
		if time.Since(moved) > time.Minute {
			t.Fatalf("the operation stands still: %+v", o)
		}
		return o.State.Ended()
	})
	took := time.Since(began)
	l.stop()
	if o := b.operation(id); o.State != relay.OperationDone || o.Sent != 100_000 {
		t.Errorf("%+v", o)
	}
	p := func(ages []float64, share float64) string {
		return fmt.Sprintf("p50 %.0f ms, p99 %.0f ms, worst %.0f ms, sent/written %.3f", 1000*ages[len(ages)/2], 1000*ages[len(ages)*99/100], 1000*ages[len(ages)-1], share)
	}
	t.Logf("planned and started in %s, 100,000 in %s (%.0f a second); age of the oldest message of the flow: before %s; during %s", planned.Round(time.Millisecond),
		took.Round(time.Millisecond), 100_000/took.Seconds(), p(before, shareBefore), p(during, share))
	if worst := during[len(during)-1]; worst > 3 || share < 0.95 {
		t.Errorf("the flow stalled: a message waited %.1f s, %.3f of what was written was sent", worst, share)
	}
	if l.failed.Load() > 0 {
		t.Errorf("%d business transactions failed", l.failed.Load())
	}
}
