package relay_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay/relaytest"
)

// Small batches wait for no settlement: the bound on repeats is one of messages, and a batch of one uses up one of them.
func TestTrickleInOneLaneWaitsForNoSettlement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Lanes: 1, Latency: time.Millisecond})
		w.start()
		w.stores[0].Delay(relaytest.OpSettle, 30*time.Millisecond)
		var sent []time.Time
		for i := range 1000 {
			sent = append(sent, time.Now())
			w.db.Send("t", fmt.Sprint("k", i%37), fmt.Sprint(i))
			time.Sleep(time.Millisecond)
		}
		w.awaitDrained(time.Minute)
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Q: 1}, w.db, w.broker)
		worst := time.Duration(0)
		for _, r := range w.broker.Records()[100:] { // the first ones wake the relay
			worst = max(worst, r.At.Sub(sent[r.Message.ID-1]))
		}
		if worst > 10*time.Millisecond {
			t.Errorf("a message took %v from its commit to the broker, with settlements of 30 ms", worst)
		}
	})
}
