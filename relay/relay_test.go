package relay_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

func TestCommittedMessagesAreSentOnceInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{})
		w.start()
		for i := range 5000 {
			w.db.Send("t", fmt.Sprintf("k%d", i%37), fmt.Sprint(i))
		}
		w.awaitDrained(time.Minute)
		w.stopAll()
		v := relaytest.Check(t, relaytest.Bounds{Q: 1}, w.db, w.broker)
		if v.Stored != 5000 || v.Duplicates != 0 {
			t.Fatalf("stored %d, want 5000 without duplicates: %s", v.Stored, &v)
		}
		if w.db.Owner().Owner != "" && !w.db.Owner().Released {
			t.Errorf("the lease was not released: %+v", w.db.Owner())
		}
	})
}

// R16, D4: an outage of any length spends no attempt, whether the broker refuses or says nothing.
func TestOutageSpendsNoAttempt(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("silent=%v", silent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, relaytest.BrokerConfig{})
				w.start()
				w.db.Send("t", "a", "before")
				w.awaitDrained(time.Minute)
				heal := w.broker.Up
				if silent {
					heal = w.broker.BlackHole()
				} else {
					w.broker.Down()
				}
				for i := range 300 {
					w.db.Send("t", fmt.Sprintf("k%d", i%40), fmt.Sprint(i))
				}
				time.Sleep(2 * time.Hour)
				if n := len(w.db.HeldRows()); n != 0 {
					t.Errorf("%d messages are held after an outage, want none", n)
				}
				if n := len(w.db.Attempts()); n != 0 {
					t.Errorf("the outage spent %d attempts", n)
				}
				heal()
				w.awaitDrained(2 * time.Minute)
				w.stopAll()
				relaytest.Check(t, relaytest.Bounds{Q: 500, Rewinds: 1, Placed: true}, w.db, w.broker)
			})
		})
	}
}

// D2, D3: a poisoned message is dead at the first answer and stops its own key only.
func TestPoisonStopsItsKeyOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{})
		w.start()
		w.broker.Poison(func(m *relay.Message) bool { return string(m.Payload) == "poison" })
		for i := range 200 {
			w.db.Send("t", fmt.Sprintf("k%d", i%10), fmt.Sprint(i))
			if i == 50 {
				w.db.Send("t", "k3", "poison")
			}
		}
		w.await("only k3 held", time.Minute, func() bool { return len(w.db.Pending()) == 0 })
		held := w.db.HeldRows()
		if len(held) != 1+15 || held[0].State != relay.Dead {
			t.Fatalf("held %+v; want the dead one and the 15 behind it", held)
		}
		w.broker.Poison(nil)
		if _, err := w.db.Retry(held[0].ID); err != nil {
			t.Fatal(err)
		}
		w.awaitDrained(time.Minute)
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Q: 1, Placed: true}, w.db, w.broker)
	})
}

// on_dead: skip lets the key go on past its dead message.
func TestSkipDeadGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{})
		w.opt.Routes[0].SkipDead = true
		w.start()
		w.broker.Poison(func(m *relay.Message) bool { return string(m.Payload) == "poison" })
		w.db.Send("t", "k", "1")
		w.db.Send("t", "k", "poison")
		w.db.Send("t", "k", "2")
		w.await("drained but for the dead one", time.Minute, func() bool { return len(w.db.Pending()) == 0 && len(w.db.HeldRows()) == 1 })
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Q: 1}, w.db, w.broker)
	})
}

// E22, I13: a lane without a leader stalls itself only, also when its rows are more than the look-ahead.
func TestDeadLaneStallsItselfOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Lanes: 4})
		w.opt.ReadRows, w.opt.Ahead = 50, 300
		w.start()
		dead := relay.Lane{Topic: "t", Index: 1}
		w.broker.LaneDown(dead, true)
		for i := range 4000 {
			w.db.Send("t", fmt.Sprintf("k%d", i%97), fmt.Sprint(i))
		}
		w.await("the other lanes drained", 3*time.Minute, func() bool {
			n := 0
			for _, r := range w.broker.Records() {
				if r.Lane != dead {
					n++
				}
			}
			return n+len(w.db.Pending()) == 4000 && n > 2000
		})
		w.broker.LaneDown(dead, false)
		w.awaitDrained(5 * time.Minute)
		w.stopAll()
		v := relaytest.Check(t, relaytest.Bounds{Q: 1, Placed: true}, w.db, w.broker)
		if v.Duplicates != 0 {
			t.Errorf("%d duplicates without an ambiguous answer", v.Duplicates)
		}
	})
}

// A standby takes over at once after a clean stop, and after the lease when the owner vanished.
func TestStandbyTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{})
		first := w.start()
		w.db.Send("t", "k", "1")
		w.awaitDrained(time.Minute)
		w.start()
		first.stop(t)
		w.relays = w.relays[1:]
		w.db.Send("t", "k", "2")
		began := time.Now()
		w.awaitDrained(20 * time.Second)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the hand-over took %s, want one look of the standby", took)
		}
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Q: 1, Placed: true}, w.db, w.broker)
	})
}

// A batch whose payloads cannot be fetched holds up neither new lanes nor a stop.
func TestFailedFetchHoldsUpNothing(t *testing.T) {
	for _, then := range []struct {
		name string
		do   func(w *world, run *running)
	}{
		{"new lanes", func(w *world, run *running) {
			run.r.LanesChanged("d")
			w.awaitDrained(5 * time.Second)
		}},
		{"stop", func(_ *world, run *running) { run.cancel() }},
	} {
		t.Run(then.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, relaytest.BrokerConfig{})
				w.opt.InlineBytes = 1
				run := w.start()
				w.stores[0].Delay(relaytest.OpFetch, time.Second)
				w.stores[0].Fail(relaytest.OpFetch, 1, context.DeadlineExceeded)
				w.db.Send("t", "k", "longer than inline")
				w.await("fetching", time.Second, func() bool { return w.stores[0].Calls(relaytest.OpFetch) == 1 })
				began := time.Now()
				then.do(w, run)
				w.stopAll()
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				w.start()
				w.awaitDrained(time.Minute)
				w.stopAll()
				relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
			})
		})
	}
}

// exact records what an Exact publisher is told.
type exact struct {
	relay.Publisher
	t       *testing.T
	mu      sync.Mutex
	sources int
	settled map[relay.ID]bool
}

func (e *exact) Source(generations []relay.Generation) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sources++; len(generations) == 0 {
		e.t.Error("no generation")
	}
}

func (e *exact) Settled(ids []relay.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range ids {
		e.settled[id] = true
	}
}

// An exact publisher is told of every message that is marked sent, but not before a crash can no longer take it back.
func TestExactPublisherHearsWhatIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{})
		e := &exact{t: t, settled: map[relay.ID]bool{}}
		w.wrap = func(p relay.Publisher) relay.Publisher { e.Publisher = p; return e }
		w.start()
		for i := range 500 {
			tx := w.db.Begin() // asynchronously, or the application's commits would make the settlements durable
			tx.Publish("t", fmt.Sprint("k", i%7), fmt.Sprint(i))
			_ = tx.CommitAsync()
			if i%100 == 92 {
				w.stores[0].Fail(relaytest.OpClaim, 3, context.DeadlineExceeded)
			}
			if i%100 == 99 {
				e.mu.Lock()
				w.db.Crash()
				for _, id := range w.db.Pending() {
					if e.settled[id] {
						t.Errorf("message %d was told as settled, and a crash took that back", id)
					}
				}
				w.db.Up()
				e.mu.Unlock()
			}
			time.Sleep(7 * time.Millisecond)
		}
		w.awaitDrained(time.Minute)
		w.db.Send("t", "", "the claim of this one makes all before it durable")
		w.awaitDrained(time.Minute)
		w.stopAll()
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.sources != 1 || len(e.settled) < 100 {
			t.Errorf("the source was named %d times, %d messages were told as settled", e.sources, len(e.settled))
		}
	})
}
