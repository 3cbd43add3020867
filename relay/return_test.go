package relay_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// K1, K3: a broker is down for an hour under traffic to all its lanes, and comes back. While it is down it gets a few tries and then one probe at a time, further and further
// apart; the one that finds it back is alone, and after it each lane has one batch on its way.
func TestBrokerIsLeftAloneAndReturns_K1_K3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lanes = 16
		w := newWorld(t, relaytest.BrokerConfig{Lanes: lanes, Latency: 20 * time.Millisecond, MaxBatch: 50})
		w.start()
		send := func(n int, every time.Duration) {
			for i := range n {
				w.db.Send("t", fmt.Sprintf("k%d", i%100), fmt.Sprint(i))
				time.Sleep(every)
			}
		}
		send(600, 10*time.Millisecond)
		w.awaitDrained(time.Minute)
		before := len(w.broker.Calls())
		w.broker.Down()
		send(60*10, 100*time.Millisecond)
		first := len(w.broker.Calls()) - before
		send(59*60, time.Second)
		down := w.broker.Calls()[before:]
		w.broker.Up()
		back := time.Now()
		w.awaitDrained(5 * time.Minute)

		t.Logf("%d calls in the first minute, %d in the hour", first, len(down))
		if first > 600/10 || len(down)-first > 59*60/10 {
			t.Errorf("%d calls in the first minute of the outage and %d after it: more than a tenth of what is written meanwhile", first, len(down)-first)
		}
		after := w.broker.Calls()[before+len(down):]
		found := after[0].At.Add(after[0].Took)
		if after[0].At.Before(back) {
			t.Fatalf("the first call after the return began before it")
		}
		if wait := found.Sub(back); wait > w.opt.ProbeCap+time.Second {
			t.Errorf("the broker was back for %v before it was noticed", wait)
		}
		busy, messages := map[relay.Lane]time.Time{}, 0
		for i, c := range after {
			if i > 0 && c.At.Before(found) {
				t.Errorf("call %d went out at %v, before the probe was answered", i, c.At.Sub(back))
			}
			if c.At.Before(busy[c.Lane]) {
				t.Errorf("lane %v had two batches on their way", c.Lane)
			}
			busy[c.Lane] = c.At.Add(c.Took)
			if c.At.Before(found.Add(time.Second)) {
				messages += len(c.IDs)
			}
		}
		t.Logf("it was noticed after %v; %d messages in the first second", found.Sub(back), messages)
		if most := lanes * 50 * int(time.Second/(20*time.Millisecond)); messages > most {
			t.Errorf("%d messages in the first second, more than %d lanes carry", messages, lanes)
		}
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
	})
}
