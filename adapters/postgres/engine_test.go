package postgres_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// engine is a relay between the database and a broker in memory.
type engine struct {
	broker *relaytest.Broker

	mu     sync.Mutex
	failed []string // what it told a person
}

func (d *database) relay(lease time.Duration) *engine {
	d.t.Helper()
	e := &engine{broker: relaytest.NewBroker(relaytest.BrokerConfig{Lanes: 2})}
	store := d.open()
	opt := relay.Defaults()
	opt.Instance, opt.Store, opt.Waker = "test", store, store
	opt.Lease, opt.WriteTimeout, opt.TCPTimeout, opt.Quarantine = lease, lease/10, lease/10, lease/5
	opt.Routes = []relay.Route{{Name: "all", Topic: "*", Destination: "k", Retry: relay.DefaultRetry()}}
	opt.Destinations = []relay.Destination{{Name: "k", Capabilities: e.broker.Capabilities(), New: func() (relay.Publisher, error) { return e.broker.Publisher("test"), nil }}}
	opt.Events.Failed = func(op string, err error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.failed = append(e.failed, op+": "+err.Error())
	}
	r, err := relay.New(opt)
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	d.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			d.t.Errorf("run: %v", err)
		}
	})
	return e
}

func (e *engine) failures() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.failed)
}

// While a broker does not answer, no session of the relay has a transaction open for longer than its own work takes: not one of those that are open now is there
// after the lease has been renewed several times.
func TestNoTransactionWhileABrokerHangs_F9(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		e := d.relay(6 * time.Second)
		answer := e.broker.BlackHole()
		d.insert(100, 10)
		until(t, "a batch is on its way", func() bool { return len(e.broker.Calls()) > 0 })
		open := func() []string {
			return collect(d, pgx.RowTo[string], `SELECT pid || ' ' || xact_start FROM pg_stat_activity
				WHERE application_name LIKE 'waybill/%' AND datname = current_database() AND xact_start IS NOT NULL`)
		}
		seen, leases := open(), map[time.Time]bool{}
		until(t, "the lease is renewed several times", func() bool {
			leases[one[time.Time](d, `SELECT lease_until FROM outbox.owner`)] = true
			return len(leases) > 3
		})
		for _, transaction := range open() {
			if slices.Contains(seen, transaction) {
				t.Errorf("a transaction is open all the time that the broker hangs: %s", transaction)
			}
		}
		if n := one[int64](d, `SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'waybill/%' AND datname = current_database()`); n < 4 {
			t.Errorf("%d sessions of the relay are seen: this shows nothing", n)
		}
		if n := len(d.Pending()); n != 100 {
			t.Errorf("%d pending while the broker hangs, want 100", n)
		}
		answer()
		until(t, "all is sent", func() bool { return len(d.Pending()) == 0 })
	})
}

// A right is taken from a running relay: it says which login lacks what, now and then and not in a loop, goes on by itself when the right is back, and loses and
// repeats nothing meanwhile.
func TestPrivilegeIsLost_F20(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		e := d.relay(30 * time.Second)
		d.insert(10, 10)
		until(t, "the first messages are sent", func() bool { return len(d.Pending()) == 0 })
		for _, right := range []string{`DELETE ON outbox.message_pending`, `SELECT ON outbox.message_log`, `UPDATE ON outbox.claimed`} {
			before := len(e.failures())
			d.exec(`REVOKE ` + right + ` FROM outbox_relay`)
			d.insert(10, 10)
			until(t, "it is told of "+right, func() bool { return len(e.failures()) > before+2 })
			began := time.Now()
			for _, text := range e.failures()[before:] {
				if !strings.Contains(text, "permission denied") || !strings.Contains(text, "the login lacks a right that role outbox_relay has") {
					t.Errorf("without %s: %s", right, text)
				}
			}
			from := len(e.failures())
			until(t, "it is told of again", func() bool { return len(e.failures()) > from+7 }) // pauses are random: two alone may lie close together
			if each := time.Since(began) / time.Duration(len(e.failures())-from); each < 20*time.Millisecond {
				t.Errorf("without %s it fails every %v: a loop", right, each)
			}
			d.exec(`GRANT ` + right + ` TO outbox_relay`)
			until(t, "all is sent again after "+right, func() bool { return len(d.Pending()) == 0 })
		}
		if n := len(e.broker.Records()); n != 40 {
			t.Errorf("%d messages are stored, want 40 without a repeat", n)
		}
	})
}

// The business locks its own rows and tables, and holds transactions open that have published: the relay waits for none of it, and the business for nothing of the relay's.
func TestRowLocksOfTheBusiness_F6(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		d.exec(`CREATE TABLE orders (id int PRIMARY KEY, state text)`)
		d.exec(`INSERT INTO orders SELECT i, 'new' FROM generate_series(1, 10) i`)
		e := d.relay(30 * time.Second)
		locker, writer := d.connect(), d.connect()
		for _, sql := range []string{`BEGIN`, `SELECT FROM orders FOR UPDATE`, `LOCK TABLE orders IN ACCESS EXCLUSIVE MODE`} {
			if _, err := locker.Exec(ctxOf(t), sql); err != nil {
				t.Fatal(err)
			}
		}
		for _, sql := range []string{`BEGIN`, `SELECT outbox.publish('t'::text, '{}'::text, 'open')`} {
			if _, err := writer.Exec(ctxOf(t), sql); err != nil {
				t.Fatal(err)
			}
		}
		d.insert(50, 10)
		until(t, "what others have written is sent", func() bool { return len(d.Pending()) == 0 && len(e.broker.Records()) == 50 })
		if _, err := locker.Exec(ctxOf(t), `COMMIT`); err != nil {
			t.Fatal(err)
		}
		answer := e.broker.BlackHole() // a batch is out, and its rows are still pending
		d.insert(50, 10)
		calls := len(e.broker.Calls())
		until(t, "a batch is on its way", func() bool { return len(e.broker.Calls()) > calls || len(d.Pending()) == 50 })
		for _, sql := range []string{`SET lock_timeout = '1s'`, `UPDATE orders SET state = 'paid'`, `SELECT outbox.publish('t'::text, '{}'::text, 'open')`, `COMMIT`} {
			if _, err := writer.Exec(ctxOf(t), sql); err != nil {
				t.Fatalf("%s beside the relay: %v", sql, err)
			}
		}
		answer()
		until(t, "all is sent", func() bool { return len(d.Pending()) == 0 })
		if n := len(e.broker.Records()); n != 102 {
			t.Errorf("%d are stored, want 102", n)
		}
		if n := len(e.failures()); n != 0 {
			t.Errorf("failures: %v", e.failures())
		}
	})
}

// The login has no connection left: the relay says so, and takes up its work when there is one.
func TestNoFreeConnection_F2(t *testing.T) {
	d := newOutbox(t, 15)
	d.login = "limited_" + one[string](d, `SELECT current_database()::text`)
	d.exec(`CREATE ROLE ` + d.login + ` LOGIN PASSWORD 'relay' IN ROLE outbox_relay CONNECTION LIMIT 2`)
	t.Cleanup(func() { d.exec(`DROP ROLE ` + d.login) })
	e := d.relay(30 * time.Second)
	d.insert(20, 10)
	until(t, "it is told of", func() bool { return len(e.failures()) > 0 })
	if text := e.failures()[0]; !strings.Contains(text, "the server has no free connection; raise max_connections or the login's CONNECTION LIMIT") {
		t.Errorf("told: %s", text)
	}
	if n := len(d.Pending()); n != 20 {
		t.Errorf("%d pending, want 20", n)
	}
	d.exec(`ALTER ROLE ` + d.login + ` CONNECTION LIMIT 20`)
	until(t, "all is sent", func() bool { return len(d.Pending()) == 0 })
	if n := len(e.broker.Records()); n != 20 {
		t.Errorf("%d are stored, want 20", n)
	}
}

// In whatever zone the database counts, around the hours that a change of the clock skips or repeats, a message is due at its moment, and once.
func TestZones_B3(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		name := pgx.Identifier{one[string](d, `SELECT current_database()::text`)}.Sanitize()
		moments := []time.Time{
			time.Date(2026, 3, 29, 0, 59, 59, 0, time.UTC), time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC), // Europe springs forward at 01:00 UTC
			time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC), time.Date(2026, 10, 25, 1, 30, 0, 0, time.UTC), // and falls back: 02:30 in Berlin twice
			time.Date(2026, 4, 4, 14, 15, 0, 0, time.UTC), time.Date(2016, 12, 31, 23, 59, 59, 0, time.UTC),
		}
		for _, zone := range []string{"Europe/Berlin", "America/New_York", "Pacific/Chatham", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "Pacific/Apia", "UTC"} {
			d.exec(`ALTER DATABASE ` + name + ` SET TimeZone = '` + zone + `'`)
			d.conn = d.connect()
			o := d.own()
			for _, at := range moments {
				d.exec(`INSERT INTO outbox.message_log (topic, key, payload, deliver_after) VALUES ('t', 'k', 'x', $1)`, at)
			}
			all, page := o.readAll(0, someRows)
			if len(all) != len(moments) {
				t.Fatalf("%s: %d read", zone, len(all))
			}
			if err := o.Claim(ctxOf(t), o.lease, page.After, page.Incarnation); err != nil {
				t.Fatal(err)
			}
			var s relay.Settlement
			for i := range all {
				if !all[i].DeliverAfter.Equal(moments[i]) {
					t.Errorf("%s: written for %v, read as %v", zone, moments[i], all[i].DeliverAfter)
				}
				s.Hold = append(s.Hold, relay.Hold{ID: all[i].ID, State: relay.Scheduled, Due: true, Destination: "k"})
			}
			o.settle(s)
			d.exec(`UPDATE outbox.message_held SET due_at = clock_timestamp() + interval '1 h' WHERE id = $1`, int64(all[0].ID)) // an hour is an hour
			taken := o.take("k")
			if got := ids(taken); len(got) != len(moments)-1 || slices.Contains(got, all[0].ID) {
				t.Errorf("%s: taken %v, want all but %d", zone, got, all[0].ID)
			}
			if due := taken.NextDue; due < 59*time.Minute || due > time.Hour {
				t.Errorf("%s: the next one is due in %v, want an hour", zone, due)
			}
			if again := ids(o.take("k")); len(again) != 0 {
				t.Errorf("%s: %v were due twice", zone, again)
			}
			o.settle(relay.Settlement{AckedHeld: append(ids(taken), all[0].ID)})
			if err := o.Release(ctxOf(t), o.lease); err != nil {
				t.Fatal(err)
			}
		}
	})
}
