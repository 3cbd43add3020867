package relay_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// calls is how often the broker was asked to store something.
func (w *world) calls() int { return len(w.broker.Calls()) }

// A person's pause is obeyed within two seconds, spends no attempt however long it lasts, and holds for the next owner before its first byte.
func TestPauseByAPerson(t *testing.T) {
	for _, name := range []string{"d", ""} {
		t.Run("of "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, relaytest.BrokerConfig{Lanes: 4})
				w.opt.Ahead, w.opt.ReadRows = 300, 50 // fewer than are written meanwhile
				first := w.start()
				send := func(n int) {
					for i := range n {
						w.db.Send("t", fmt.Sprintf("k%d", i%40), fmt.Sprint(i))
					}
				}
				send(500)
				w.awaitDrained(time.Minute)
				if err := w.db.Pause(name, "rebalance"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				before := w.calls()
				send(1000)
				time.Sleep(3 * time.Hour)
				if st := first.r.Status().Destinations[0]; st.Stopped == nil || st.Stopped.Reason != "rebalance" || st.Stopped.Actor != "a" {
					t.Errorf("the relay does not say who paused it and why: %+v", st)
				}
				first.stop(t)
				w.relays = nil
				w.start()
				time.Sleep(time.Hour)
				if n := w.calls() - before; n != 0 {
					t.Errorf("%d batches were sent while it was paused", n)
				}
				if n, waits := len(w.db.Attempts()), len(w.db.Pending()); n != 0 || waits != 1000 || len(w.db.HeldRows()) != 0 {
					t.Errorf("%d attempts, %d pending, held %v", n, waits, w.db.HeldRows())
				}
				resumed := time.Now()
				if err := w.db.Resume(name); err != nil {
					t.Fatal(err)
				}
				w.awaitDrained(time.Minute)
				if took := time.Since(resumed); took > 3*time.Second {
					t.Errorf("it took %s to go on", took)
				}
				w.stopAll()
				relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
			})
		})
	}
}

// A batch that is on its way when a person pauses ends; what it leaves unanswered is not asked for again before the resume, and then unchanged.
func TestPauseLetsAnOpenBatchEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Dedupes: true})
		run := w.start()
		heal := w.broker.BlackHole()
		w.db.Send("t", "a", "1")
		w.await("the batch is on its way", time.Minute, func() bool {
			st := run.r.Status().Destinations
			return len(st) == 1 && st[0].InFlight == 1
		})
		if err := w.db.Pause("d", "r"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		before := w.calls()
		time.Sleep(time.Hour)
		if n := w.calls(); n != before {
			t.Errorf("%d more batches while it was paused", n-before)
		}
		if n := len(w.db.Attempts()); n != 0 {
			t.Errorf("%d attempts", n)
		}
		heal()
		if err := w.db.Resume("d"); err != nil {
			t.Fatal(err)
		}
		w.awaitDrained(time.Minute)
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Placed: true, Rewinds: 1, Q: 1}, w.db, w.broker)
	})
}

// An owner that stops while something of a paused destination may be stored does not wait for it, and does not give the outbox back: the next one waits.
func TestPausedOwnerStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Dedupes: true})
		run := w.start()
		w.broker.Script(func(relaytest.Call) relaytest.Answer { return relaytest.LoseAnswer() })
		w.db.Send("t", "a", "1")
		w.await("an answer is lost", time.Minute, func() bool { return w.calls() > 0 })
		if err := w.db.Pause("d", "r"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		began := time.Now()
		run.stop(t)
		w.relays = nil
		if took := time.Since(began); took > time.Second || w.db.Owner().Released {
			t.Errorf("it stopped after %s, the owner row is %+v", took, w.db.Owner())
		}
		w.broker.Script(nil)
		if err := w.db.Resume("d"); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.awaitDrained(5 * time.Minute)
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Placed: true, Rewinds: 1, Q: 10}, w.db, w.broker)
	})
}

// What was taken out of held for a destination is given back when a person pauses it, with its attempts: only then can people act on it.
func TestPauseGivesHeldMessagesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{})
		w.start()
		w.broker.Script(func(relaytest.Call) relaytest.Answer { return relaytest.Refuse(relaytest.LaneGone) })
		for i := range 5 {
			tx := w.db.Begin()
			tx.Write(relay.Message{Topic: "t", Key: fmt.Sprintf("k%d", i), Payload: []byte("x"), DeliverAfter: time.Now().Add(time.Second)})
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		sending := func() (n int) {
			for _, h := range w.db.HeldRows() {
				if h.Sending {
					n++
				}
			}
			return n
		}
		w.await("they wait in their lane", time.Minute, func() bool { return sending() == 5 })
		if err := w.db.Pause("d", "r"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if n := sending(); n != 0 {
			t.Errorf("%d are still being sent", n)
		}
		time.Sleep(time.Hour)
		for _, h := range w.db.HeldRows() {
			if h.Sending || h.Attempts != 0 {
				t.Errorf("after an hour: %+v", h)
			}
		}
		if changed, err := w.db.Discard(1); changed != 1 || err != nil {
			t.Errorf("a person cannot act on it: %d, %v", changed, err)
		}
		w.broker.Script(nil)
		if err := w.db.Resume("d"); err != nil {
			t.Fatal(err)
		}
		w.awaitDrained(time.Minute)
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
	})
}
