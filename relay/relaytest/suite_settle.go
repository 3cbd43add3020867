package relaytest

import (
	"fmt"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// settleCases: acks, receipts, moves to held, turns, a person's locks.
var settleCases = map[string]func(*storeCase){
	"R17 acked runs leave, and a repeat changes nothing": func(c *storeCase) {
		c.own()
		c.send("a", "b", "c", "d", "e")
		ids := c.claimAll()
		s := relay.Settlement{
			Acked: []relay.Run{{Lo: ids[0], Hi: ids[1]}, {Lo: ids[3], Hi: ids[3]}},
			Receipts: []relay.Receipt{
				{Seq: 1, Destination: "k", Lane: "t/0", IDs: []relay.ID{ids[0], ids[3]}, FirstOffset: 40, Detail: "d"},
				{Seq: 2, Destination: "k", Lane: "t/1", IDs: ids[1:2], FirstOffset: -1},
			},
		}
		for range 3 {
			c.equal(c.settle(s), relay.Settled{}, "settled")
			c.equal(c.out.Pending(), []relay.ID{ids[2], ids[4]}, "pending")
			receipts := c.out.Receipts()
			if len(receipts) != 2 {
				c.t.Fatalf("%d receipts, want 2", len(receipts))
			}
			for i, r := range receipts {
				want := s.Receipts[i]
				c.equal(r.Receipt, want, "receipt")
				c.equal(r.Epoch, c.lease.Epoch, "epoch of the receipt")
			}
		}
	},
	"R18 a run never covers a gap: a row that commits there stays": func(c *storeCase) {
		c.own()
		late := c.out.Begin()
		c.send("a")
		low := late.Write(relay.Message{Topic: "t", Key: "late", Payload: []byte("x")})
		c.send("b")
		ids := c.claimAll()
		c.fatal(late.Commit(), "commit")
		c.settle(relay.Settlement{Acked: []relay.Run{{Lo: ids[0], Hi: ids[0]}, {Lo: ids[1], Hi: ids[1]}}})
		c.equal(c.out.Pending(), []relay.ID{low}, "pending")
		got, _ := c.readAll(c.after)
		c.equal(got, []relay.ID{low}, "read on")
	},
	"receipts of many ids far apart": func(c *storeCase) {
		c.own()
		var ids []relay.ID
		for i := range 40 {
			tx := c.out.Begin()
			if i%3 == 0 {
				for range i * 7 {
					tx.Write(relay.Message{Topic: "gone", Payload: []byte("x")})
				}
				tx.Rollback()
				continue
			}
			ids = append(ids, tx.Write(relay.Message{Topic: "t", Key: fmt.Sprint(i), Payload: []byte("x")}))
			c.fatal(tx.Commit(), "commit")
		}
		c.equal(c.claimAll(), ids, "claimed")
		var s relay.Settlement
		for _, id := range ids {
			s.Acked = append(s.Acked, relay.Run{Lo: id, Hi: id})
		}
		s.Receipts = []relay.Receipt{{Seq: 1, Destination: "k", Lane: "t/0", IDs: ids, FirstOffset: 0}}
		c.settle(s)
		c.equal(len(c.out.Pending()), 0, "pending")
		c.equal(c.out.Receipts()[0].IDs, ids, "ids of the receipt")
	},
	"M3 M4 the lowest failed message of a key is its head, the others wait": func(c *storeCase) {
		c.own()
		c.send("a", "a", "a", "b")
		ids := c.claimAll()
		s := relay.Settlement{Hold: []relay.Hold{retrying(ids[0], time.Hour), blocked(ids[1]), blocked(ids[2]), dead(ids[3])},
			Attempts: []relay.Attempt{{ID: ids[0], N: 1, Instance: "i", Lane: "t/0", Failure: failed, Took: time.Second}}}
		for range 2 {
			c.settle(s)
			c.equal(len(c.out.Pending()), 0, "pending")
			c.equal(c.states(), []string{fmt.Sprintf("%d retrying due", ids[0]), fmt.Sprintf("%d blocked", ids[1]), fmt.Sprintf("%d blocked", ids[2]),
				fmt.Sprintf("%d dead", ids[3])}, "held")
		}
		row := c.out.HeldRows()[0]
		c.equal([]any{row.Key, row.Destination, row.Attempts}, []any{key("a"), "k", 1}, "row")
		c.equal(c.closed(), []string{fmt.Sprintf("a by %d retrying true", ids[0]), fmt.Sprintf("b by %d dead false", ids[3])}, "closed")
		c.equal(c.closed(key("b"), key("z")), []string{fmt.Sprintf("b by %d dead false", ids[3])}, "closed, asked by key")
	},
	"M5 a scheduled message waits until its time and blocks nobody": func(c *storeCase) {
		c.own()
		tx := c.out.Begin()
		due := time.Now().Add(time.Hour).Truncate(time.Millisecond)
		tx.Write(relay.Message{Topic: "t", Key: "a", Payload: []byte("x"), DeliverAfter: due})
		soon := tx.Write(relay.Message{Topic: "t", Key: "a", Payload: []byte("x"), DeliverAfter: time.Now().Add(50 * time.Millisecond)})
		c.fatal(tx.Commit(), "commit")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{{ID: ids[0], State: relay.Scheduled, Due: true}, {ID: ids[1], State: relay.Scheduled, Due: true}}})
		if got := c.out.HeldRows()[0].DueAt; !got.Equal(due) {
			c.t.Errorf("due at %v, want %v", got, due)
		}
		c.equal(len(c.closed()), 0, "closed keys")
		var taken relay.Taken
		c.await("the second one is due", func() bool { taken = c.take(); return len(taken.Messages) > 0 })
		c.equal(takenIDs(taken), []relay.ID{soon}, "taken")
		c.equal(taken.Messages[0].State, relay.Scheduled, "state")
		if taken.NextDue < 58*time.Minute || taken.NextDue > time.Hour {
			c.t.Errorf("the next one is due in %v", taken.NextDue)
		}
		c.settle(relay.Settlement{AckedHeld: []relay.ID{soon}})
		c.equal(len(c.out.HeldRows()), 1, "held rows")
	},
	"M6 an acked head gives the next ones their turn, until none is left": func(c *storeCase) {
		c.own()
		c.send("a", "a", "a", "b")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{retrying(ids[0], 0), blocked(ids[1]), blocked(ids[2]), blocked(ids[3])}})
		c.equal(takenIDs(c.take()), ids[:1], "taken: blocked ones have no turn")
		c.equal(c.settle(relay.Settlement{AckedHeld: ids[:1], Release: []relay.Key{key("a")}}).StillHeld, []relay.Key{key("a")}, "still held")
		taken := c.take()
		c.equal(takenIDs(taken), ids[1:3], "released ones, in id order")
		c.equal([]any{taken.Messages[0].State, taken.Messages[0].Attempts}, []any{relay.Blocked, 1}, "a released one")
		c.equal(c.settle(relay.Settlement{AckedHeld: ids[1:2]}), relay.Settled{}, "ack of the first")
		c.equal(len(c.settle(relay.Settlement{AckedHeld: ids[2:3], Release: []relay.Key{key("a")}}).StillHeld), 0, "still held at the end")
		c.equal(c.states(), []string{fmt.Sprintf("%d blocked", ids[3])}, "held")
	},
	"M7 a head that goes back takes the turn of the released ones back (bug 25)": func(c *storeCase) {
		c.own()
		c.send("a", "a", "a")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{retrying(ids[0], 0), blocked(ids[1]), blocked(ids[2])}})
		c.take()
		c.settle(relay.Settlement{AckedHeld: ids[:1], Release: []relay.Key{key("a")}})
		c.equal(c.states(), []string{fmt.Sprintf("%d blocked due", ids[1]), fmt.Sprintf("%d blocked due", ids[2])}, "released")
		taken, err := c.store.Held(c.ctx(), c.lease, []string{"k"}, relay.HeldLimit{Rows: 1, InlineBytes: 10, Bytes: 10})
		c.fatal(err, "held")
		c.equal(takenIDs(taken), ids[1:2], "taken")
		again := retrying(ids[1], time.Hour)
		again.Attempts = 2
		c.settle(relay.Settlement{Hold: []relay.Hold{again}})
		c.equal(c.states(), []string{fmt.Sprintf("%d retrying due", ids[1]), fmt.Sprintf("%d blocked", ids[2])}, "held")
		c.equal(c.out.HeldRows()[0].Attempts, 2, "attempts")
	},
	"a release never passes another head, nor a key that is empty": func(c *storeCase) {
		c.own()
		c.send("a", "a", "a")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{blocked(ids[0]), dead(ids[1]), blocked(ids[2])}})
		c.equal(c.settle(relay.Settlement{Release: []relay.Key{key("a"), key("none")}}).StillHeld, []relay.Key{key("a")}, "still held")
		c.equal(c.states(), []string{fmt.Sprintf("%d blocked due", ids[0]), fmt.Sprintf("%d dead", ids[1]), fmt.Sprintf("%d blocked", ids[2])}, "held")
	},
	"a dead message that is let pass closes nothing (on_dead: skip)": func(c *storeCase) {
		c.own()
		c.send("a", "a")
		ids := c.claimAll()
		passed := dead(ids[0])
		passed.Passed = true
		c.settle(relay.Settlement{Hold: []relay.Hold{passed}, Acked: run(ids[1], ids[1])})
		c.equal(c.states(), []string{fmt.Sprintf("%d dead passed", ids[0])}, "held")
		c.equal(len(c.closed()), 0, "closed keys")
	},
	"F23 a person's lock holds up the held part only": func(c *storeCase) {
		c.own()
		c.send("a", "a", "b")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{dead(ids[0])}})
		unlock := c.out.Lock(ids[0])
		again := retrying(ids[0], 0)
		s := relay.Settlement{Acked: run(ids[2], ids[2]), Hold: []relay.Hold{again, blocked(ids[1])},
			Receipts: []relay.Receipt{{Seq: 9, Destination: "k", Lane: "t/0", IDs: ids[2:], FirstOffset: 1}}}
		start := time.Now()
		c.equal(c.settle(s).HeldWaits, true, "held waits")
		if took := time.Since(start); took > 5*time.Second {
			c.t.Errorf("a settlement waited %v for a person", took)
		}
		c.equal(c.out.Pending(), ids[1:2], "pending: the acks are written")
		c.equal(len(c.out.Receipts()), 1, "receipts")
		unlock()
		c.equal(c.settle(relay.Settlement{Hold: s.Hold}).HeldWaits, false, "held waits after the lock")
		c.equal(c.states(), []string{fmt.Sprintf("%d retrying due", ids[0]), fmt.Sprintf("%d blocked", ids[1])}, "held")
	},
}
