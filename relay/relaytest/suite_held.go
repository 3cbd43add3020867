package relaytest

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// heldCases: who is taken, people's acts.
var heldCases = map[string]func(*storeCase){
	"only what is due, of open destinations, and never twice": func(c *storeCase) {
		c.own()
		c.send("a", "b", "c", "d")
		ids := c.claimAll()
		elsewhere := retrying(ids[2], 0)
		elsewhere.Destination = "other"
		unrouted := retrying(ids[3], 0)
		unrouted.Destination = ""
		c.settle(relay.Settlement{Hold: []relay.Hold{retrying(ids[0], 0), retrying(ids[1], time.Hour), elsewhere, unrouted}})
		taken := c.take()
		c.equal(takenIDs(taken), []relay.ID{ids[0], ids[3]}, "taken")
		m := taken.Messages[0]
		c.equal([]any{m.State, m.Attempts, m.Destination, m.Passed, string(m.Payload), m.Key}, []any{relay.Retrying, 2, "k", false, "x", "a"}, "first one")
		if m.FailedFor <= 0 || taken.NextDue < 58*time.Minute {
			c.t.Errorf("failed for %v, next due in %v", m.FailedFor, taken.NextDue)
		}
		c.equal(len(c.take().Messages), 0, "taken again")
		other, err := c.store.Held(c.ctx(), c.lease, []string{"other"}, relay.HeldLimit{Rows: 10, InlineBytes: 10, Bytes: 10})
		c.fatal(err, "held")
		c.equal(takenIDs(other), ids[2:3], "taken for the other destination")
		c.equal(other.NextDue < 0, true, "no other is due there")
		c.equal(c.closed(key("a")), []string{fmt.Sprintf("a by %d retrying true", ids[0])}, "closed: one that is being sent has a turn")
	},
	"pauses of people are told until they are taken back": func(c *storeCase) {
		c.own()
		paused := func() (all []string) {
			list, err := c.store.(relay.Pauser).Paused(c.ctx(), c.lease)
			c.fatal(err, "paused")
			for _, p := range list {
				if p.Actor == "" || time.Since(p.At).Abs() > time.Minute {
					c.t.Errorf("%+v: by whom, and since when?", p)
				}
				all = append(all, p.Destination+": "+p.Reason)
			}
			slices.Sort(all)
			return all
		}
		c.equal(paused(), []string(nil), "at first")
		c.fatal(c.out.Pause("k", "why"), "pause")
		c.fatal(c.out.Pause("", "all"), "pause all")
		c.equal(paused(), []string{": all", "k: why"}, "paused")
		if c.out.Pause("k", "again") == nil || c.out.Resume("other") == nil {
			c.t.Error("a second pause, or the end of one that is not, was taken")
		}
		c.equal(acted(c.take()), acts{}, "a pause changes no message")
		c.fatal(c.out.Resume(""), "resume all")
		c.equal(paused(), []string{"k: why"}, "one stays")
		c.fatal(c.out.Resume("k"), "resume")
		c.equal(paused(), []string(nil), "at last")
	},
	"a limit of rows for each destination, and of bytes": func(c *storeCase) {
		c.own()
		tx := c.out.Begin()
		var hold []relay.Hold
		for i := range 6 {
			id := tx.Write(relay.Message{Topic: "t", Key: fmt.Sprint(i), Payload: bytes.Repeat([]byte("x"), 1000)})
			hold = append(hold, retrying(id, 0))
			if i > 3 {
				hold[i].Destination = "other"
			}
		}
		c.fatal(tx.Commit(), "commit")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: hold})
		taken, err := c.store.Held(c.ctx(), c.lease, []string{"k", "other"}, relay.HeldLimit{Rows: 1, InlineBytes: 500, Bytes: 1 << 20})
		c.fatal(err, "held")
		c.equal(len(taken.Messages), 2, "one for each destination")
		c.equal(taken.Messages[0].NeedsFetch(), true, "payload above the inline limit is left out")
		c.equal(taken.NextDue, time.Duration(0), "next due: now")
		taken, err = c.store.Held(c.ctx(), c.lease, []string{"k", "other"}, relay.HeldLimit{Rows: 100, InlineBytes: 1000, Bytes: 2500})
		c.fatal(err, "held")
		c.equal(takenIDs(taken), ids[1:3], "as many as fit, lowest first")
	},
	"a released message waits for every lower one of its key": func(c *storeCase) {
		c.own()
		c.send("a", "a", "a")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{blocked(ids[1]), blocked(ids[2])}})
		c.settle(relay.Settlement{Release: []relay.Key{key("a")}})
		c.settle(relay.Settlement{Hold: []relay.Hold{retrying(ids[0], time.Hour)}}) // a lower one fails meanwhile
		c.equal(len(c.take().Messages), 0, "taken")
		c.equal(c.states(), []string{fmt.Sprintf("%d retrying due", ids[0]), fmt.Sprintf("%d blocked", ids[1]), fmt.Sprintf("%d blocked", ids[2])}, "held")
	},
	"a scheduled message that falls due while its key is closed waits behind it": func(c *storeCase) {
		c.own()
		tx := c.out.Begin()
		tx.Write(relay.Message{Topic: "t", Key: "a", Payload: []byte("x")})
		tx.Write(relay.Message{Topic: "t", Key: "a", Payload: []byte("x"), DeliverAfter: time.Now().Add(-time.Second)})
		c.fatal(tx.Commit(), "commit")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{dead(ids[0]), {ID: ids[1], State: relay.Scheduled, Due: true}}})
		c.equal(len(c.take().Messages), 0, "taken")
		c.equal(c.states(), []string{fmt.Sprintf("%d dead", ids[0]), fmt.Sprintf("%d blocked", ids[1])}, "held")
	},
	"a closed key without a head gets its turn": func(c *storeCase) {
		c.own()
		c.send("a", "a")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{blocked(ids[0]), blocked(ids[1])}})
		c.closed(key("a"))
		c.equal(takenIDs(c.take()), ids, "taken")
	},
	"D5 a retried dead head goes before the blocked ones": func(c *storeCase) {
		c.own()
		c.send("a", "a", "a")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{dead(ids[0]), dead(ids[1]), blocked(ids[2])}})
		c.equal(acted(c.take()), acts{}, "acted")
		changed, err := c.out.Retry(ids...)
		c.fatal(err, "retry")
		c.equal(changed, 2, "changed")
		c.equal(c.states(), []string{fmt.Sprintf("%d retrying due", ids[0]), fmt.Sprintf("%d blocked", ids[1]), fmt.Sprintf("%d blocked", ids[2])}, "held")
		taken := c.take()
		c.equal([]any{takenIDs(taken), taken.Messages[0].Attempts, acted(taken)}, []any{ids[:1], 1, acts{keys: "a"}}, "taken")
		c.equal(acted(c.take()), acts{}, "acted, told once")
		changed, err = c.out.Discard(ids[0])
		c.fatal(err, "discard")
		c.equal(changed, 0, "discard of one that is being sent")
		c.equal(acted(c.take()), acts{}, "an act that changed nothing")
	},
	"M11 skip and discard give the next one its turn": func(c *storeCase) {
		c.own()
		c.send("a", "a", "a", "a")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{dead(ids[0]), dead(ids[1]), blocked(ids[2]), blocked(ids[3])}})
		_, err := c.out.Skip(ids[0])
		c.fatal(err, "skip")
		c.equal(c.closed(), []string{fmt.Sprintf("a by %d dead false", ids[1])}, "closed after skip")
		_, err = c.out.Discard(ids[1])
		c.fatal(err, "discard")
		taken := c.take()
		c.equal([]any{takenIDs(taken), acted(taken)}, []any{ids[2:3], acts{keys: "a"}}, "taken")
		c.settle(relay.Settlement{AckedHeld: ids[2:3], Release: []relay.Key{key("a")}})
		c.equal(takenIDs(c.take()), ids[3:], "taken next")
		c.settle(relay.Settlement{AckedHeld: ids[3:], Release: []relay.Key{key("a")}})
		c.equal(c.states(), []string{fmt.Sprintf("%d dead passed", ids[0])}, "held")
		_, err = c.out.Retry(ids[1])
		c.fatal(err, "retry of a discarded one")
		taken = c.take()
		c.equal(takenIDs(taken), ids[1:2], "taken")
		c.equal(taken.Messages[0].Passed, true, "outside the order")
	},
	"F23 a locked lower row blocks the higher ones of its key": func(c *storeCase) {
		c.own()
		c.send("a", "a", "b")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{blocked(ids[0]), blocked(ids[1]), retrying(ids[2], 0)}})
		c.settle(relay.Settlement{Release: []relay.Key{key("a")}})
		unlock := c.out.Lock(ids[0])
		c.equal(takenIDs(c.take()), ids[2:], "taken beside the lock")
		c.equal(len(c.take().Messages), 0, "taken again")
		unlock()
		c.equal(takenIDs(c.take()), ids[:1], "taken after the lock")
		c.settle(relay.Settlement{AckedHeld: ids[:1], Release: []relay.Key{key("a")}})
		c.equal(takenIDs(c.take()), ids[1:2], "taken at last")
	},
	"a release beside what is blocked anew of its key": func(c *storeCase) {
		c.own()
		c.send("a", "a", "a", "a")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{retrying(ids[0], 0), blocked(ids[1])}})
		c.equal(takenIDs(c.take()), ids[:1], "taken")
		settled := c.settle(relay.Settlement{AckedHeld: ids[:1], Hold: []relay.Hold{blocked(ids[2])}, Release: []relay.Key{key("a")}})
		c.equal(settled.StillHeld, []relay.Key{key("a")}, "still held")
		c.equal(takenIDs(c.take()), ids[1:2], "taken: what is blocked anew comes behind")
		settled = c.settle(relay.Settlement{AckedHeld: ids[1:2], Hold: []relay.Hold{blocked(ids[3])}, Release: []relay.Key{key("a")}})
		c.equal(settled.StillHeld, []relay.Key{key("a")}, "still held")
		c.equal(takenIDs(c.take()), ids[2:3], "taken")
		c.equal(len(c.settle(relay.Settlement{AckedHeld: ids[2:3]}).StillHeld), 0, "nothing was released")
		c.settle(relay.Settlement{Release: []relay.Key{key("a")}})
		c.equal(takenIDs(c.take()), ids[3:], "taken at last")
	},
	"a retrying message is the head, also above a blocked one": func(c *storeCase) {
		c.own()
		c.send("a", "a")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{retrying(ids[1], time.Hour)}})
		c.settle(relay.Settlement{Hold: []relay.Hold{blocked(ids[0])}})
		want := []string{fmt.Sprintf("a by %d retrying true", ids[1])}
		c.equal(c.closed(), want, "closed")
		c.equal(c.closed(key("a")), want, "closed: asked for alone")
	},
	"closed keys come in pages, by the bytes of topic and key": func(c *storeCase) {
		c.own()
		tx := c.out.Begin()
		var want []string
		for _, k := range []relay.Key{{Topic: "T", Key: "z"}, {Topic: "t", Key: ""}, {Topic: "t", Key: "B"}, {Topic: "t", Key: "a"}, {Topic: "t", Key: "a b"}, {Topic: "t", Key: "b"}, {Topic: "t", Key: "é"}, {Topic: "u", Key: "a"}} {
			tx.Write(relay.Message{Topic: k.Topic, Key: k.Key, Payload: []byte("x")})
			if k.Key != "" {
				want = append(want, k.Topic+"/"+k.Key)
			}
		}
		behind := 150 // behind one of them
		for range behind {
			tx.Write(relay.Message{Topic: "t", Key: "a b", Payload: []byte("x")})
		}
		c.fatal(tx.Commit(), "commit")
		var hold []relay.Hold
		for i, id := range c.claimAll() {
			if hold = append(hold, dead(id)); i >= len(want)+1 {
				hold[i] = blocked(id)
			}
		}
		c.settle(relay.Settlement{Hold: hold})
		for _, limit := range []int{1, 2, 3, 7, 100} {
			var got []string
			for q := (relay.ClosedQuery{Limit: limit}); ; {
				heads, err := c.store.Closed(c.ctx(), c.lease, q)
				c.fatal(err, "closed")
				for _, h := range heads {
					got = append(got, h.Key.Topic+"/"+h.Key.Key)
				}
				if len(heads) < limit {
					break
				}
				q.After = heads[limit-1].Key
			}
			c.equal(got, want, fmt.Sprintf("keys in pages of %d", limit))
		}
	},
	"the keys that people acted on are named, once": func(c *storeCase) {
		c.own()
		c.send("a", "a", "b", "c", "")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{dead(ids[0]), dead(ids[1]), dead(ids[2]), dead(ids[3]), dead(ids[4])}})
		c.equal(acted(c.take()), acts{}, "at first")
		_, err := c.out.Discard(ids[0])
		c.fatal(err, "discard")
		c.equal(acted(c.take()), acts{keys: "a"}, "after a discard")
		_, err = c.out.Skip(ids[2])
		c.fatal(err, "skip")
		_, err = c.out.Discard(ids[4])
		c.fatal(err, "discard of one without a key")
		c.equal(acted(c.take()), acts{keys: "b"}, "after a skip and a discard")
		c.equal(acted(c.take()), acts{}, "told once")
	},
	"messages without a key block nobody": func(c *storeCase) {
		c.own()
		c.send("", "", "")
		ids := c.claimAll()
		c.settle(relay.Settlement{Hold: []relay.Hold{dead(ids[0]), retrying(ids[1], 0), retrying(ids[2], 0)}})
		c.equal(len(c.closed()), 0, "closed keys")
		c.equal(takenIDs(c.take()), ids[1:], "taken")
	},
}
