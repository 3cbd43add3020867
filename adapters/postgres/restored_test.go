package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

// restored is an outbox whose server was put back to an older state in its own place after an owner had gone on: ids up to 10 were claimed before, and up to last after.
func restored(t *testing.T, major int, killed bool) (d *crashable, o *owned, last relay.ID) {
	t.Helper()
	d = newCrashable(t, major)
	o = d.own()
	down := d.server.Stop
	if killed {
		down = d.server.Kill9
	}
	write := func(n int) {
		t.Helper()
		var first relay.ID
		first, last = d.insert(n, 10)
		page := o.read(first-1, someRows)
		if err := o.Claim(ctxOf(t), o.lease, last, page.Incarnation); err != nil {
			t.Fatal(err)
		}
		o.settle(relay.Settlement{Acked: []relay.Run{{Lo: first, Hi: last}}})
	}
	steps := func(all ...func() error) {
		t.Helper()
		for _, step := range all {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(10)
	steps(down, d.server.Backup, d.server.Start)
	until(t, "the owner goes on", func() bool { _, err := o.Read(ctxOf(t), o.lease, 0, someRows); return err == nil })
	write(20)
	steps(down, d.server.Restore, d.server.Start)
	return d, o, last
}

// F16, P5: an older state of the database is restored in its own place: server and timeline are the same, and ids that were sent are drawn again for other messages. The
// owner that lived through it, and one that remembers what was claimed, begin a new generation of message ids; acks and settlements of the lost rows count no more.
func TestOlderStateIsRestoredInItsPlace_F16(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		for name, killed := range map[string]bool{"of a stopped server": false, "of a running one": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				d, o, last := restored(t, major, killed)
				var err error
				until(t, "the owner is told", func() bool {
					_, err = o.Renew(ctxOf(t), o.lease, relay.Progress{Pending: -1})
					return errors.Is(err, relay.ErrMoved)
				})
				if _, err := o.Settle(ctxOf(t), o.lease, relay.Settlement{Acked: []relay.Run{{Lo: 11, Hi: last}}}); !errors.Is(err, relay.ErrMoved) {
					t.Errorf("acks of lost rows: %v, want ErrMoved", err)
				}
				if err := o.Release(ctxOf(t), o.lease); err != nil {
					t.Fatal(err)
				}
				remembered := o.Known()
				if remembered.Claimed != last || remembered.Epoch != o.lease.Epoch {
					t.Errorf("the store remembers %+v", remembered)
				}
				again := func(who string, s *postgres.Store) relay.Lease {
					t.Helper()
					lease, err := s.Acquire(ctxOf(t), relay.Terms{Owner: who, Lease: time.Minute})
					if err != nil {
						t.Fatal(err)
					}
					g := lease.Generations
					if len(g) != 2 || g[1].From != 11 || g[0] != o.lease.Generations[0] || lease.Epoch < o.lease.Epoch+1_000_000 {
						t.Errorf("%s: epoch %d, generations %v", who, lease.Epoch, g)
					}
					if err := s.Release(ctxOf(t), lease); err != nil {
						t.Fatal(err)
					}
					return lease
				}
				first := again("the same process", o.Store)
				other := d.open()
				other.Remember(remembered)
				if second := again("one that remembers", other); second.Epoch != first.Epoch+1 || second.Generations[1] != first.Generations[1] {
					t.Errorf("one that remembers the former generation began another one: epoch %d, %v after epoch %d, %v", second.Epoch, second.Generations, first.Epoch, first.Generations)
				}
			})
		}
	})
}

// F16: who comes new and remembers what was claimed sees it at once; who has nothing to remember, or remembers another outbox, goes on as if nothing had happened.
func TestWhoRemembersSeesTheRestore_F16(t *testing.T) {
	d, o, _ := restored(t, majors(t)[0], false)
	was := o.Known()
	if err := d.open().Release(ctxOf(t), o.lease); err != nil { // the row of the former state still names it
		t.Fatal(err)
	}
	foreign, lower := was, was
	foreign.Outbox = "3f2a8c1e-5b7d-4e9f-8a6c-1d2e3f4a5b6c"
	lower.Claimed = 10
	for _, c := range []struct {
		name        string
		remembers   relay.Known
		generations int
	}{{"nothing", relay.Known{}, 1}, {"another outbox", foreign, 1}, {"what is here", lower, 1}, {"more than is here", was, 2}} {
		s := d.open()
		s.Remember(c.remembers)
		lease, err := s.Acquire(ctxOf(t), relay.Terms{Owner: c.name, Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if len(lease.Generations) != c.generations {
			t.Errorf("who remembers %s: generations %v", c.name, lease.Generations)
		}
		if err := s.Release(ctxOf(t), lease); err != nil {
			t.Fatal(err)
		}
	}
	if why := one[string](d.database, `SELECT reason FROM outbox.generations ORDER BY from_id DESC LIMIT 1`); why != "id 30 was claimed under epoch 1, and this state knows ids up to 10: an older state of the database was restored in its place" {
		t.Errorf("the reason is %q", why)
	}
}
