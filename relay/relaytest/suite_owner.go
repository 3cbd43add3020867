package relaytest

import (
	"context"
	"errors"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// ownerCases: lease, epoch, fence, quiet time.
var ownerCases = map[string]func(*storeCase){
	"R1 one owner": func(c *storeCase) {
		c.own()
		if c.lease.Epoch < 1 || c.lease.Owner != "a" || c.lease.Term != terms.Lease || len(c.lease.Generations) == 0 || c.lease.Generations[0].UUID == "" {
			c.t.Errorf("lease %+v", c.lease)
		}
		if c.lease.Takeover || c.lease.Quiet != 0 {
			c.t.Errorf("a first owner takes over nothing and waits for nobody: %+v", c.lease)
		}
		if age := time.Since(c.lease.Asked); age < 0 || age > patience {
			c.t.Errorf("Asked is %v ago", age)
		}
		_, err := c.out.Store().Acquire(c.ctx(), relay.Terms{Owner: "b", Lease: time.Second})
		c.wants(err, relay.ErrOwned, "second acquire")
	},
	"R7 release hands over at once": func(c *storeCase) {
		c.own()
		c.fatal(c.store.Release(c.ctx(), c.lease), "release")
		c.fatal(c.store.Release(c.ctx(), c.lease), "release once more")
		other := c.out.Store()
		lease, err := other.Acquire(c.ctx(), relay.Terms{Owner: "b", Lease: time.Minute, Quarantine: time.Minute})
		c.fatal(err, "acquire after release")
		if lease.Epoch <= c.lease.Epoch || lease.Takeover || lease.Quiet != 0 {
			c.t.Errorf("after release: %+v, before: %+v", lease, c.lease)
		}
		c.wants(c.store.Release(c.ctx(), c.lease), relay.ErrFenced, "release when somebody else owns the outbox")
		_, err = other.Renew(c.ctx(), lease, relay.Progress{Pending: -1})
		c.fatal(err, "renew after the release by the one before")
	},
	"R1 an expired lease is taken over, with a quiet time that no later owner ends (C10)": func(c *storeCase) {
		short := relay.Terms{Owner: "a", Lease: 50 * time.Millisecond, Quarantine: time.Hour}
		lease, err := c.store.Acquire(c.ctx(), short)
		c.fatal(err, "acquire")
		b, next := c.out.Store(), relay.Lease{}
		c.await("lease of a ends", func() bool {
			next, err = b.Acquire(c.ctx(), relay.Terms{Owner: "b", Lease: time.Minute, Quarantine: time.Hour})
			return err == nil
		})
		if quiet := next.Quiet - time.Since(next.Asked); next.Epoch <= lease.Epoch || !next.Takeover || quiet <= 59*time.Minute || quiet > time.Hour {
			c.t.Errorf("taken over: %+v", next)
		}
		c.fatal(b.Release(c.ctx(), next), "release")
		third, err := c.out.Store().Acquire(c.ctx(), relay.Terms{Owner: "c", Lease: time.Minute, Quarantine: time.Second})
		c.fatal(err, "third acquire")
		if third.Takeover || third.Quiet <= 59*time.Minute {
			c.t.Errorf("a hand-over inside the quiet time ended it: %+v", third)
		}
	},
	"R3 renewing keeps the lease": func(c *storeCase) {
		lease, err := c.store.Acquire(c.ctx(), relay.Terms{Owner: "a", Lease: 2 * time.Second})
		c.fatal(err, "acquire")
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
			lease, err = c.store.Renew(c.ctx(), lease, relay.Progress{LowWater: 1, ReadUpTo: 2, Pending: 3, OldestAt: time.Now()})
			c.fatal(err, "renew")
			_, err = c.out.Store().Acquire(c.ctx(), relay.Terms{Owner: "b", Lease: time.Second})
			c.wants(err, relay.ErrOwned, "acquire beside a renewed lease")
			_ = sleep(context.Background(), 200*time.Millisecond)
		}
	},
	"R5 every write of an older epoch is refused (C2)": func(c *storeCase) {
		lease, err := c.store.Acquire(c.ctx(), relay.Terms{Owner: "a", Lease: 300 * time.Millisecond})
		c.fatal(err, "acquire")
		c.lease = lease
		c.send("k1", "k1")
		ids := c.claimAll()
		c.await("b takes over", func() bool {
			_, err := c.out.Store().Acquire(c.ctx(), relay.Terms{Owner: "b", Lease: time.Minute})
			return err == nil
		})
		_, err = c.store.Renew(c.ctx(), lease, relay.Progress{Pending: -1})
		c.wants(err, relay.ErrFenced, "renew")
		_, err = c.store.Settle(c.ctx(), lease, relay.Settlement{Acked: run(ids[0], ids[0]), Hold: []relay.Hold{retrying(ids[1], 0)},
			Receipts: []relay.Receipt{{Seq: 1, Destination: "k", Lane: "t/0", IDs: ids[:1]}}})
		c.wants(err, relay.ErrFenced, "settle")
		_, err = c.store.Held(c.ctx(), lease, []string{"k"}, relay.HeldLimit{Rows: 1, InlineBytes: 1, Bytes: 1})
		c.wants(err, relay.ErrFenced, "held")
		_, err = c.store.Closed(c.ctx(), lease, relay.ClosedQuery{Limit: 10})
		c.wants(err, relay.ErrFenced, "closed")
		c.wants(c.store.Claim(c.ctx(), lease, ids[1], relay.Incarnation{1}), relay.ErrFenced, "claim")
		_, err = c.store.Read(c.ctx(), lease, 0, relay.ReadLimit{Rows: 1, InlineBytes: 1, PageBytes: 1})
		c.wants(err, relay.ErrFenced, "read")
		c.wants(c.store.Release(c.ctx(), lease), relay.ErrFenced, "release")
		c.equal(c.out.Pending(), ids, "pending")
		c.equal(len(c.out.HeldRows())+len(c.out.Receipts()), 0, "held rows and receipts")
	},
	"C6 an owner of the same name is another one": func(c *storeCase) {
		old, err := c.store.Acquire(c.ctx(), relay.Terms{Owner: "a", Lease: 300 * time.Millisecond})
		c.fatal(err, "acquire")
		next, store := relay.Lease{}, c.out.Store()
		c.await("the lease ends", func() bool {
			next, err = store.Acquire(c.ctx(), relay.Terms{Owner: "a", Lease: 300 * time.Millisecond})
			return err == nil
		})
		_, err = c.store.Renew(c.ctx(), old, relay.Progress{Pending: -1})
		c.wants(err, relay.ErrFenced, "renew by the one before")
		c.wants(c.store.Release(c.ctx(), old), relay.ErrFenced, "release by the one before")
		_ = sleep(context.Background(), 400*time.Millisecond) // the newer lease has ended, too, and nobody has taken it
		_, err = c.store.Renew(c.ctx(), old, relay.Progress{Pending: -1})
		c.wants(err, relay.ErrFenced, "renew by the one before, when nobody holds the outbox")
		_, err = store.Renew(c.ctx(), next, relay.Progress{Pending: -1})
		c.fatal(err, "late renewal of the newer one: nobody else owned the outbox")
	},
	"R12 the highest claim is remembered for the next owner": func(c *storeCase) {
		c.own()
		ids := c.send("a", "b", "c")
		page := c.readPage(0, relay.ReadLimit{})
		c.wants(c.store.Claim(c.ctx(), c.lease, ids[2], relay.Incarnation{1, 2, 3}), relay.ErrReborn, "claim in an incarnation that is not")
		c.fatal(c.store.Claim(c.ctx(), c.lease, ids[1], page.Incarnation), "claim")
		c.fatal(c.store.Claim(c.ctx(), c.lease, ids[0], page.Incarnation), "claim of a lower id")
		c.fatal(c.store.Release(c.ctx(), c.lease), "release")
		next, err := c.out.Store().Acquire(c.ctx(), terms)
		c.fatal(err, "acquire")
		c.equal(next.Claimed, ids[1], "claimed")
	},
	"an ended context changes nothing": func(c *storeCase) {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := c.store.Acquire(ended, terms); err == nil {
			c.t.Error("acquire with an ended context succeeded")
		}
		c.own()
		c.send("a")
		ids := c.claimAll()
		if _, err := c.store.Settle(ended, c.lease, relay.Settlement{Acked: run(ids[0], ids[0])}); err == nil {
			c.t.Error("settle with an ended context succeeded")
		}
		c.equal(c.out.Pending(), ids, "pending")
		c.settle(relay.Settlement{Acked: run(ids[0], ids[0])}) // and the store still works
		c.equal(len(c.out.Pending()), 0, "pending after settling")
	},
	"a new owner finds nothing marked as being sent, and unknown destinations to be routed again": func(c *storeCase) {
		c.own()
		c.send("a", "b")
		ids := c.claimAll()
		gone := retrying(ids[1], 0)
		gone.Destination = "other"
		c.settle(relay.Settlement{Hold: []relay.Hold{retrying(ids[0], 0), gone}})
		c.equal(takenIDs(c.take()), ids[:1], "taken")
		c.fatal(c.store.Release(c.ctx(), c.lease), "release")
		store := c.out.Store()
		lease, err := store.Acquire(c.ctx(), relay.Terms{Owner: "b", Lease: time.Minute, Configured: []string{"k"}})
		c.fatal(err, "acquire")
		c.store, c.lease = store, lease
		taken := c.take()
		c.equal(takenIDs(taken), ids, "taken by the next owner")
		c.equal([]string{taken.Messages[0].Destination, taken.Messages[1].Destination}, []string{"k", ""}, "destinations")
		c.equal([]int{taken.Messages[0].Attempts, taken.Messages[1].Attempts}, []int{3, 2}, "attempts")
	},
}

// crashCases: the server is killed while the relay lives.
var crashCases = map[string]func(*storeCase){
	"A9 R12 what was read before a crash is never claimed after it": func(c *storeCase) {
		c.own()
		c.send("a")
		before := c.readPage(0, relay.ReadLimit{})
		c.out.(Crasher).Crash()
		c.awaitErr(relay.ErrReborn, "claim after the crash", func() error { return c.store.Claim(c.ctx(), c.lease, before.After, before.Incarnation) })
		c.awaitErr(relay.ErrReborn, "read on after the crash", func() error {
			_, err := c.store.Read(c.ctx(), c.lease, before.After, relay.ReadLimit{Rows: 10, InlineBytes: 10, PageBytes: 10})
			return err
		})
		after := c.readPage(0, relay.ReadLimit{})
		if after.Incarnation == before.Incarnation {
			c.t.Error("the server incarnation survived the crash")
		}
		c.wants(c.store.Claim(c.ctx(), c.lease, after.After, before.Incarnation), relay.ErrReborn, "claim of the old page once the outbox was revived (bug 23)")
		c.fatal(c.store.Claim(c.ctx(), c.lease, after.After, after.Incarnation), "claim of the new page")
	},
	"A9 R12 what was claimed survives a crash": func(c *storeCase) {
		c.own()
		var ids []relay.ID
		for range 3 {
			tx := c.out.Begin()
			ids = append(ids, tx.Write(relay.Message{Topic: "t", Key: "k", Payload: []byte("x")}))
			c.fatal(tx.CommitAsync(), "commit")
		}
		c.equal(c.claimAll(), ids, "claimed")
		c.out.(Crasher).Crash()
		c.equal(c.out.Pending(), ids, "pending after the crash")
	},
	"R18 what was settled is settled again before anything is read after a crash": func(c *storeCase) {
		c.own()
		c.send("a", "a", "a")
		ids := c.claimAll()
		receipt := relay.Receipt{Seq: 1, Destination: "k", Lane: "t/0", IDs: ids[:2], FirstOffset: 7}
		c.settle(relay.Settlement{Acked: run(ids[0], ids[1]), Receipts: []relay.Receipt{receipt}})
		c.out.(Crasher).Crash()
		var page relay.Page
		c.await("reads again", func() bool {
			p, err := c.store.Read(c.ctx(), c.lease, 0, relay.ReadLimit{Rows: 10, InlineBytes: 10, PageBytes: 10})
			page = p
			return err == nil
		})
		c.equal(idsOf(page.Messages), ids[2:], "read after the crash")
		c.equal(len(c.out.Receipts()), 1, "receipts")
	},
	"R18 after a crash the closed keys are told when what was settled is settled again": func(c *storeCase) {
		c.own()
		c.send("a", "a")
		ids := c.claimAll()
		before := c.readPage(0, relay.ReadLimit{})
		c.settle(relay.Settlement{Hold: []relay.Hold{retrying(ids[0], 0), blocked(ids[1])}})
		c.equal(takenIDs(c.take()), ids[:1], "taken")
		c.settle(relay.Settlement{AckedHeld: ids[:1]})
		c.out.(Crasher).Crash()
		var heads []relay.Head
		c.await("tells the closed keys", func() (ok bool) {
			h, err := c.store.Closed(c.ctx(), c.lease, relay.ClosedQuery{Limit: 10})
			heads = h
			return err == nil
		})
		c.equal(heads, []relay.Head{{Key: key("a"), ID: ids[1], State: relay.Blocked, Due: true}}, "closed: its head was acked, so the next one has its turn")
		_, err := c.store.Read(c.ctx(), c.lease, before.After, relay.ReadLimit{Rows: 10, InlineBytes: 10, PageBytes: 10})
		c.wants(err, relay.ErrReborn, "read on after the crash")
		c.readPage(0, relay.ReadLimit{})
		c.equal(takenIDs(c.take()), ids[1:], "taken after the crash")
	},
	"a crash takes no lease away": func(c *storeCase) {
		c.own()
		c.out.(Crasher).Crash()
		c.await("renews", func() bool {
			_, err := c.store.Renew(c.ctx(), c.lease, relay.Progress{Pending: -1})
			return err == nil
		})
		_, err := c.out.Store().Acquire(c.ctx(), relay.Terms{Owner: "b", Lease: time.Second})
		c.wants(err, relay.ErrOwned, "acquire beside it")
	},
}

// promoteCases: another server history begins under a running owner.
var promoteCases = map[string]func(*storeCase){
	"R8 Z23 C12 a promotion ends the lease, and a new generation begins": func(c *storeCase) {
		c.own()
		c.send("a", "b")
		ids := c.claimAll()
		c.out.(Promoter).Promote()
		c.awaitErr(relay.ErrMoved, "renew", func() error {
			_, err := c.store.Renew(c.ctx(), c.lease, relay.Progress{Pending: -1})
			return err
		})
		_, err := c.store.Settle(c.ctx(), c.lease, relay.Settlement{Acked: run(ids[0], ids[0])})
		c.wants(err, relay.ErrMoved, "settle")
		c.equal(c.out.Pending(), ids, "pending")
		was := c.lease
		_ = c.store.Release(c.ctx(), c.lease)
		c.await("acquires anew", func() bool {
			lease, err := c.store.Acquire(c.ctx(), terms)
			c.lease = lease
			return err == nil
		})
		n := len(c.lease.Generations)
		if n != len(was.Generations)+1 || c.lease.Generations[n-1].From != ids[1]+1 || c.lease.Epoch < was.Epoch+1_000_000 {
			c.t.Errorf("after the promotion: %+v, before: %+v", c.lease, was)
		}
		next := c.send("a")
		first := c.readPage(0, relay.ReadLimit{})
		c.equal(idsOf(first.Messages), append(ids, next...), "read")
		if old, young := first.Messages[1].MessageID, first.Messages[2].MessageID; old[:36] == young[:36] || old[:36] != was.Generations[0].UUID {
			c.t.Errorf("message ids %s and %s", old, young)
		}
	},
}

// awaitErr calls until the error is want: right after a restart a stale connection may give others.
func (c *storeCase) awaitErr(want error, what string, call func() error) {
	c.t.Helper()
	c.await(what+": "+want.Error(), func() bool {
		err := call()
		if err == nil {
			c.t.Fatalf("%s succeeded, want %v", what, want)
		}
		return errors.Is(err, want)
	})
}
