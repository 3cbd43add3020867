package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

var someRows = relay.ReadLimit{Rows: 1000, InlineBytes: 64 << 10, PageBytes: 8 << 20}

// owned is a store that owns its outbox.
type owned struct {
	*postgres.Store
	t     *testing.T
	lease relay.Lease
}

func (d *database) own() *owned {
	d.t.Helper()
	o := &owned{Store: d.open(), t: d.t}
	o.acquire()
	return o
}

func (o *owned) acquire() {
	o.t.Helper()
	lease, err := o.Acquire(ctxOf(o.t), relay.Terms{Owner: "test", Lease: time.Hour, Configured: []string{"k", "other"}})
	if err != nil {
		o.t.Fatalf("acquire: %v", err)
	}
	o.lease = lease
}

func (o *owned) read(after relay.ID, limit relay.ReadLimit) relay.Page {
	o.t.Helper()
	page, err := o.Store.Read(ctxOf(o.t), o.lease, after, limit)
	if err != nil {
		o.t.Fatalf("read: %v", err)
	}
	return page
}

// readAll reads until nothing comes.
func (o *owned) readAll(after relay.ID, limit relay.ReadLimit) (all []relay.Message, last relay.Page) {
	o.t.Helper()
	for last = o.read(after, limit); len(last.Messages) > 0 || last.More; last = o.read(last.After, limit) {
		all = append(all, last.Messages...)
	}
	return all, last
}

func (o *owned) settle(s relay.Settlement) relay.Settled {
	o.t.Helper()
	done, err := o.Settle(ctxOf(o.t), o.lease, s)
	if err != nil {
		o.t.Fatalf("settle: %v", err)
	}
	return done
}

// TestTakeOverBlocksSettle (R5): a settle and a claim of the old epoch wait for a running Acquire, and then find nothing.
func TestTakeOverBlocksSettle(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		o := d.own()
		first, last := d.insert(3, 10)
		page := o.read(0, someRows)
		if err := o.Claim(ctxOf(t), o.lease, last, page.Incarnation); err != nil {
			t.Fatal(err)
		}
		takeOver := d.connect()
		for _, q := range []string{`BEGIN`, `UPDATE outbox.owner SET epoch = epoch + 1`, `DELETE FROM outbox.alive`, `INSERT INTO outbox.alive (epoch) SELECT epoch FROM outbox.owner`} {
			if _, err := takeOver.Exec(ctxOf(t), q); err != nil {
				t.Fatal(err)
			}
		}
		settled, claimed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := o.Settle(context.Background(), o.lease, relay.Settlement{Acked: []relay.Run{{Lo: first, Hi: last}}})
			settled <- err
		}()
		go func() { claimed <- o.Claim(context.Background(), o.lease, last, page.Incarnation) }()
		until(t, "both wait for the owner row", func() bool {
			return one[int64](d, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`) == 2
		})
		if _, err := takeOver.Exec(ctxOf(t), `COMMIT`); err != nil {
			t.Fatal(err)
		}
		for what, answer := range map[string]chan error{"settle": settled, "claim": claimed} {
			if err := <-answer; !errors.Is(err, relay.ErrFenced) {
				t.Errorf("%s of the old epoch: %v, want ErrFenced", what, err)
			}
		}
		if n := len(d.Pending()); n != 3 {
			t.Errorf("%d pending after the zombie's settle, want 3", n)
		}
	})
}

// TestNoPhantom (A9, R12, P2): rows of asynchronous writers are read, the postmaster is killed, and nothing of the old page can be claimed. What is claimed
// afterwards is there.
func TestNoPhantom(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newCrashable(t, major)
		o := d.own()
		vanished := 0
		for range 5 {
			writer := d.connect()
			if _, err := writer.Exec(ctxOf(t), `SET synchronous_commit = off`); err != nil {
				t.Fatal(err)
			}
			for range 60 {
				if _, err := writer.Exec(ctxOf(t), `SELECT outbox.publish('t'::text, '{}'::text)`); err != nil {
					t.Fatal(err)
				}
			}
			all, last := o.readAll(0, someRows)
			d.Crash()
			until(t, "the claim of the lost page is refused", func() bool {
				err := o.Claim(ctxOf(t), o.lease, last.After, last.Incarnation)
				if err == nil {
					t.Fatal("a page read before the crash was claimed after it")
				}
				return errors.Is(err, relay.ErrReborn)
			})
			again, page := o.readAll(0, someRows)
			left := d.Pending() // after the reading, which first settles again what the crash took back (R18)
			vanished += len(all) - len(left)
			if len(again) != len(left) {
				t.Errorf("read %d after the crash, pending are %d", len(again), len(left))
			}
			if len(again) > 0 {
				if err := o.Claim(ctxOf(t), o.lease, page.After, page.Incarnation); err != nil {
					t.Fatal(err)
				}
				o.settle(relay.Settlement{Acked: runsOf(again)})
			}
		}
		t.Logf("%d of 300 rows that had been read were gone after the crash", vanished)
	})
}

func runsOf(messages []relay.Message) (runs []relay.Run) {
	for i := range messages {
		runs = append(runs, relay.Run{Lo: messages[i].ID, Hi: messages[i].ID})
	}
	return runs
}

// TestStandbyIsRefused (A10): refused by Acquire, with what to do; accepted after its promotion.
func TestStandbyIsRefused(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		p := newPromotable(t, major)
		p.via = p.standby.URL("postgres")
		until(t, "the standby has the login", func() bool {
			store, err := postgres.Open(ctxOf(t), postgres.Config{URL: asRelay(t, p.via)})
			if err == nil {
				store.Close()
			}
			return err == nil
		})
		store := p.open()
		var refused *relay.RefusedError
		if _, err := store.Acquire(ctxOf(t), relay.Terms{Owner: "a", Lease: time.Minute}); !errors.As(err, &refused) || !strings.Contains(err.Error(), "standby") {
			t.Fatalf("acquire on a standby: %v", err)
		}
		p.Promote()
		if _, err := store.Acquire(ctxOf(t), relay.Terms{Owner: "a", Lease: time.Minute}); err != nil {
			t.Errorf("acquire after the promotion: %v", err)
		}
	})
}

// TestCopyIsRefused (R8, F16, A17): another database of the same server, as a restored dump or a template copy is.
func TestCopyIsRefused(t *testing.T) {
	d := newOutbox(t, 15)
	d.exec(`UPDATE outbox.generations SET database_oid = 1`)
	var refused *relay.RefusedError
	if _, err := d.open().Acquire(ctxOf(t), relay.Terms{Owner: "a", Lease: time.Minute}); !errors.As(err, &refused) || !strings.Contains(err.Error(), "waybill adopt") {
		t.Errorf("acquire of a copy: %v", err)
	}
	if epoch := one[int64](d, `SELECT epoch FROM outbox.owner`); epoch != 0 {
		t.Errorf("the copy's epoch is %d: something was written", epoch)
	}
}

// TestSynchronousStandbyGone (A8, R13): a claim and a take whose wait for the standby was given up have failed; with the standby back they pass, and what
// the failed take had marked is taken.
func TestSynchronousStandbyGone(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		p := newPromotable(t, major)
		p.via = ""
		o := p.own()
		_, last := p.insert(1, 10)
		page := o.read(0, someRows)
		o.settle(relay.Settlement{Hold: []relay.Hold{{ID: last, State: relay.Retrying, Due: true, Attempts: 1, Destination: "k"}}})
		if err := p.standby.Stop(); err != nil {
			t.Fatal(err)
		}
		short := func() context.Context {
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			t.Cleanup(cancel)
			return ctx
		}
		began := time.Now()
		if err := o.Claim(short(), o.lease, last, page.Incarnation); err == nil {
			t.Error("a claim that no standby has confirmed succeeded")
		} else {
			t.Logf("claim: %v", err)
		}
		if taken, err := o.Held(short(), o.lease, []string{"k"}, relay.HeldLimit{Rows: 10, InlineBytes: 100, Bytes: 100}); err == nil {
			t.Errorf("a take that no standby has confirmed gave %d messages", len(taken.Messages))
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("giving up took %v", took)
		}
		if err := p.standby.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, "the claim passes", func() bool { return o.Claim(ctxOf(t), o.lease, last, page.Incarnation) == nil })
		until(t, "the message is taken once more", func() bool {
			taken, err := o.Held(ctxOf(t), o.lease, []string{"k"}, relay.HeldLimit{Rows: 10, InlineBytes: 100, Bytes: 100})
			return err == nil && len(taken.Messages) == 1 && taken.Messages[0].Attempts == 2
		})
	})
}

// TestRoleDefaults (A14): a database whose default is serializable and asynchronous changes neither level nor flush of the relay.
func TestRoleDefaults(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		name := one[string](d, `SELECT current_database()::text`)
		for _, set := range []string{`default_transaction_isolation = 'serializable'`, `synchronous_commit = off`, `default_transaction_read_only = on`, `enable_indexscan = off`} {
			d.exec(`ALTER DATABASE ` + pgx.Identifier{name}.Sanitize() + ` SET ` + set)
		}
		o := d.own()
		_, last := d.insert(300, 10)
		all, page := o.readAll(0, relay.ReadLimit{Rows: 10, InlineBytes: 100, PageBytes: 1000})
		for i := range all {
			if err := o.Claim(ctxOf(t), o.lease, last, page.Incarnation); err != nil {
				t.Fatalf("claim %d: %v", i, err)
			}
			o.settle(relay.Settlement{Acked: runsOf(all[i : i+1])})
		}
		if n := len(d.Pending()); n != 0 || len(all) != 300 {
			t.Errorf("%d read, %d pending", len(all), n)
		}
	})
}

// TestStaleConnections (F22, F15): every connection is ended by the server, in every place; each call passes at once, over a new one.
func TestStaleConnections(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		o := d.own()
		end := func() {
			d.exec(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'waybill/%' AND datname = current_database()`)
		}
		_, last := d.insert(10, 10)
		page := o.read(0, relay.ReadLimit{Rows: 4, InlineBytes: 100, PageBytes: 1000})
		var got []relay.Message
		calls := map[string]func() error{
			"read": func() (err error) {
				p, err := o.Read(ctxOf(t), o.lease, page.After, relay.ReadLimit{Rows: 4, InlineBytes: 100, PageBytes: 1000})
				page, got = p, append(got, p.Messages...)
				return err
			},
			"fetch": func() error { _, err := o.Fetch(ctxOf(t), o.lease, []relay.ID{last}); return err },
			"claim": func() error { return o.Claim(ctxOf(t), o.lease, last, page.Incarnation) },
			"settle": func() error {
				_, err := o.Settle(ctxOf(t), o.lease, relay.Settlement{Acked: []relay.Run{{Lo: last - 9, Hi: last - 9}}})
				return err
			},
			"held": func() error {
				_, err := o.Held(ctxOf(t), o.lease, []string{"k"}, relay.HeldLimit{Rows: 1, InlineBytes: 1, Bytes: 1})
				return err
			},
			"closed": func() error { _, err := o.Closed(ctxOf(t), o.lease, relay.ClosedQuery{Limit: 100_000}); return err },
			"renew":  func() error { _, err := o.Renew(ctxOf(t), o.lease, relay.Progress{Pending: -1}); return err },
			"arm":    func() error { return o.Arm(ctxOf(t), false) },
		}
		got = append(got, page.Messages...)
		for range 2 {
			for what, call := range calls {
				if err := call(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				end()
				if err := call(); err != nil {
					t.Errorf("%s after its connection was ended: %v", what, err)
				}
			}
		}
		ids := map[relay.ID]int{}
		for i := range got {
			ids[got[i].ID]++
		}
		for id := last - 9; id <= last; id++ {
			if n := ids[id]; n != 1 {
				t.Errorf("id %d was read %d times", id, n)
			}
		}
	})
}

// TestRelayLogin: the whole suite runs under a login that has outbox_relay only; here it is shown that this is so.
func TestRelayLogin(t *testing.T) {
	d := newOutbox(t, 15)
	if one[bool](d, `SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = 'waybill_relay'`) {
		t.Error("the relay's login in these tests is a superuser")
	}
}
