package relay_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// A broker that answers 50 times slower for ten minutes is no outage: nobody is charged, no breaker opens, the owner stays, nothing is there twice.
func TestSlowBrokerIsNoOutage_E18(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Latency: 20 * time.Millisecond, MaxBatch: 50})
		var opened atomic.Int64
		w.opt.Events.Breaker = func(string, bool, relay.Outcome) { opened.Add(1) }
		w.start()
		w.start()
		began := time.Now()
		for i := range 6000 {
			if i == 100 {
				w.broker.Slow(time.Second)
			}
			w.db.Send("t", fmt.Sprintf("k%d", i%40), fmt.Sprint(i))
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(began); took < 10*time.Minute {
			t.Fatalf("it was slow for %v only", took)
		}
		w.broker.Slow(20 * time.Millisecond)
		w.awaitDrained(time.Minute)
		if n := len(w.db.Attempts()); n != 0 || opened.Load() != 0 || w.db.Owner().Epoch != 1 {
			t.Errorf("%d attempts, the breaker changed %d times, owner %+v", n, opened.Load(), w.db.Owner())
		}
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
	})
}

// Batches that take longer than a lease lasts: renewals go on beside them, their late acks count, and the standby stays one.
func TestBatchLongerThanTheLease_C8(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Latency: 19 * time.Second})
		w.opt.Lease = 16 * time.Second
		w.start()
		w.start()
		for i := range 200 {
			w.db.Send("t", fmt.Sprintf("k%d", i%20), fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		w.awaitDrained(2 * time.Minute)
		if o := w.db.Owner(); o.Epoch != 1 {
			t.Errorf("the owner was replaced: %+v", o)
		}
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
	})
}

// A key with nine tenths of the traffic, close to what its lane can carry: what goes through other lanes is sent as fast as ever.
func TestHotKeyLeavesTheOtherLanesAlone_D13(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Lanes: 8, Latency: 10 * time.Millisecond, MaxBatch: 5}) // 500 a second in a lane
		w.start()
		sent := map[relay.ID]time.Time{}
		for i := range 10_000 {
			key := "hot"
			if i%10 == 0 {
				key = fmt.Sprint("k", i/10%40)
			}
			sent[w.db.Send("t", key, fmt.Sprint(i))] = time.Now()
			time.Sleep(2 * time.Millisecond)
		}
		w.awaitDrained(time.Minute)
		w.stopAll()
		var hot relay.Lane
		for _, r := range w.broker.Records() {
			if r.Message.Key == "hot" {
				hot = r.Lane
			}
		}
		worst, others := time.Duration(0), 0
		for _, r := range w.broker.Records() {
			if r.Lane != hot && r.Message.ID > 100 { // the first ones wake the relay
				others++
				worst = max(worst, r.At.Sub(sent[r.Message.ID]))
			}
		}
		if others < 500 || worst > 100*time.Millisecond {
			t.Errorf("%d messages went through other lanes, the slowest took %v", others, worst)
		}
		relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
	})
}

// A key that gets four times what its lane can carry waits alone: its lane falls behind, and what goes through other lanes is as good as before. The same for a
// topic whose every lane gets too much.
func TestFloodedLanesWaitAlone_D13_E22_K5(t *testing.T) {
	for name, floodedKeys := range map[string]int{"one key": 1, "a topic": 40} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, relaytest.BrokerConfig{Lanes: 4, Latency: 100 * time.Millisecond, MaxBatch: 50}) // 500 a second in a lane
				w.opt.Ahead = 1000
				w.start()
				sent := map[relay.ID]time.Time{}
				for i := range 12_000 { // 4,000 a second for 3 s
					topic, key := "flood", fmt.Sprint("k", i%floodedKeys)
					if i%50 == 0 {
						topic, key = "calm", fmt.Sprint("k", i/50%40)
					}
					if id := w.db.Send(topic, key, fmt.Sprint(i)); topic == "calm" {
						sent[id] = time.Now()
					}
					time.Sleep(250 * time.Microsecond)
				}
				w.awaitDrained(10 * time.Minute)
				w.stopAll()
				var took []time.Duration
				for _, r := range w.broker.Records() {
					if at, calm := sent[r.Message.ID]; calm && r.Message.ID > 100 {
						took = append(took, r.At.Sub(at))
					}
				}
				slices.Sort(took)
				t.Logf("the calm topic: median %v, p99 %v, worst %v of %d", took[len(took)/2], took[len(took)*99/100], took[len(took)-1], len(took))
				if worst := took[len(took)-1]; worst > 1500*time.Millisecond {
					t.Errorf("messages of the calm topic took up to %v", worst)
				}
				relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
			})
		})
	}
}
