package postgres_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

// The lease is renewed in time while everything that reads hangs behind somebody's lock on the messages.
func TestRenewBesideBusyPools_C7(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		o := d.own()
		_, last := d.insert(10, 10)
		page := o.read(0, someRows)
		locker := d.connect()
		if _, err := locker.Exec(ctxOf(t), `BEGIN; LOCK TABLE outbox.message_log, outbox.message_held IN ACCESS EXCLUSIVE MODE`); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var busy sync.WaitGroup
		for _, call := range []func() error{
			func() error { _, err := o.Fetch(ctx, o.lease, []relay.ID{last}); return err },
			func() error { _, err := o.Closed(ctx, o.lease, relay.ClosedQuery{Limit: 100}); return err },
			func() error { _, err := o.Store.Read(ctx, o.lease, 0, someRows); return err },
		} {
			busy.Go(func() {
				for ctx.Err() == nil {
					if call() == nil {
						t.Error("a read passed the lock: this shows nothing")
						return
					}
				}
			})
		}
		waits := func() int64 {
			return one[int64](d, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() AND application_name LIKE 'waybill/%'`)
		}
		until(t, "the reader waits for the lock, and others for the reader", func() bool { return waits() > 0 })
		for range 20 {
			began := time.Now()
			if _, err := o.Renew(ctxOf(t), o.lease, relay.Progress{Pending: -1}); err != nil {
				t.Errorf("renew: %v", err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("a renewal took %v", took)
			}
			if err := o.Claim(ctxOf(t), o.lease, last, page.Incarnation); err != nil {
				t.Errorf("claim: %v", err)
			}
		}
		if waits() == 0 {
			t.Error("nobody waited any more: this shows nothing")
		}
		cancel()
		busy.Wait()
		if _, err := locker.Exec(ctxOf(t), `ROLLBACK`); err != nil {
			t.Fatal(err)
		}
	})
}

// Time-outs that somebody set for the whole database, much too short ones, end no statement of the relay, also while its sessions wait for each other. What the
// server ends all the same is made again.
func TestTimeoutsOfTheServer_F5(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		name := pgx.Identifier{one[string](d, `SELECT current_database()::text`)}.Sanitize()
		_, last := d.insert(200, 10)
		owner, limits := d.connect(), []string{`statement_timeout = '1ms'`, `lock_timeout = '1ms'`, `idle_in_transaction_session_timeout = '1ms'`, `idle_session_timeout = '50ms'`}
		if major >= 17 {
			limits = append(limits, `transaction_timeout = '100ms'`)
		}
		for _, set := range limits {
			d.exec(`ALTER DATABASE ` + name + ` SET ` + set)
		}
		o := d.own()
		all, page := o.readAll(0, relay.ReadLimit{Rows: 50, InlineBytes: 100, PageBytes: 10_000})
		if len(all) != 200 {
			t.Fatalf("%d read", len(all))
		}
		for i := range 10 {
			time.Sleep(100 * time.Millisecond) // the time-out for idle sessions is the fault
			if err := o.Claim(ctxOf(t), o.lease, last, page.Incarnation); err != nil {
				t.Errorf("claim: %v", err)
			}
			done := all[20*i : 20*i+20]
			o.settle(relay.Settlement{Acked: runsOf(done[1:]), Hold: []relay.Hold{{ID: done[0].ID, State: relay.Retrying, Due: true, Attempts: 1, Destination: "k"}}})
			if _, err := o.Renew(ctxOf(t), o.lease, relay.Progress{Pending: -1}); err != nil {
				t.Errorf("renew: %v", err)
			}
			if got := ids(o.take("k")); len(got) != 1 || got[0] != done[0].ID {
				t.Errorf("taken %v, want %d", got, done[0].ID)
			}
			o.settle(relay.Settlement{AckedHeld: []relay.ID{done[0].ID}})
		}
		if _, err := owner.Exec(ctxOf(t), `BEGIN; SELECT FROM outbox.owner FOR UPDATE`); err != nil {
			t.Fatal(err)
		}
		calls := map[string]func() error{
			"claim": func() error { return o.Claim(ctxOf(t), o.lease, last, page.Incarnation) },
			"settle": func() error {
				_, err := o.Settle(ctxOf(t), o.lease, relay.Settlement{Acked: runsOf(all[:1])})
				return err
			},
			"renew": func() error { _, err := o.Renew(ctxOf(t), o.lease, relay.Progress{Pending: -1}); return err },
		}
		answers := map[string]chan error{}
		for what, call := range calls {
			answer := make(chan error, 1)
			answers[what] = answer
			go func() { answer <- call() }()
		}
		until(t, "all wait for the owner row", func() bool {
			return one[int64](d, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`) == int64(len(calls))
		})
		if _, err := owner.Exec(ctxOf(t), `SELECT pg_sleep(0.3); COMMIT`); err != nil {
			t.Fatal(err)
		}
		for what, answer := range answers {
			if err := <-answer; err != nil {
				t.Errorf("%s behind the owner row: %v", what, err)
			}
		}
		d.exec(`ALTER DATABASE ` + name + ` RESET ALL`)
		if n := len(d.Pending()) + len(d.HeldRows()); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}
