package relay_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// K1, K3: a broker is down for an hour under traffic to all its lanes, and comes back. While it is down it gets a few tries and then one probe at a time, further and further
// apart; the one that finds it back is alone, each answer lets in one more lane, and then each lane has one batch on its way.
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
		full := time.Duration(0) // until every lane was in
		busy, messages := map[relay.Lane]time.Time{}, 0
		var answers []time.Time
		for i, c := range after {
			if i > 0 && c.At.Before(found) {
				t.Errorf("call %d went out at %v, before the probe was answered", i, c.At.Sub(back))
			}
			if c.At.Before(busy[c.Lane]) {
				t.Errorf("lane %v had two batches on their way", c.Lane)
			}
			busy[c.Lane] = c.At.Add(c.Took)
			heard := 0
			for _, at := range answers {
				if !at.After(c.At) {
					heard++
				}
			}
			if most := 1 + heard + int(c.At.Sub(found)/(250*time.Millisecond)); i > 0 && len(busy) > most {
				t.Errorf("%d lanes send after %d answers, %v behind the probe", len(busy), heard, c.At.Sub(found))
			}
			answers = append(answers, c.At.Add(c.Took))
			if len(busy) == lanes && full == 0 {
				full = c.At.Sub(found)
			}
			if c.At.Before(found.Add(time.Second)) {
				messages += len(c.IDs)
			}
		}
		t.Logf("it was noticed after %v; %d lanes sent %v later; %d messages in the first second", found.Sub(back), len(busy), full, messages)
		if full > 6*20*time.Millisecond {
			t.Errorf("%d lanes were let in only after %v: with answers of 20 ms it takes five of them", len(busy), full)
		}
		if most := lanes * 50 * int(time.Second/(20*time.Millisecond)); messages > most {
			t.Errorf("%d messages in the first second, more than %d lanes carry", messages, lanes)
		}
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
	})
}

// K1: a broker that comes back takes one batch and falls silent. What has left meanwhile is unknown, and repeats where the broker knows no copies: a few batches, and
// not one of each lane.
func TestBrokerThatTakesOneBatchAndFallsSilentGetsFew_K1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lanes = 64
		w := newWorld(t, relaytest.BrokerConfig{Lanes: lanes, Latency: 20 * time.Millisecond, MaxBatch: 50})
		run := w.start()
		fill := func() {
			for i := range 10 * lanes {
				w.db.Send("t", fmt.Sprintf("k%d", i), fmt.Sprint(i))
			}
		}
		fill()
		w.awaitDrained(time.Minute)
		w.broker.Down()
		fill()
		w.await("its breaker opens", time.Minute, func() bool { return run.r.Status().Destinations[0].BreakerOpen })
		before := len(w.broker.Calls())
		var silent atomic.Bool
		w.broker.Script(func(c relaytest.Call) relaytest.Answer {
			if silent.Swap(true) {
				return relaytest.Hang()
			}
			return relaytest.Ack()
		})
		w.broker.Up()
		w.await("it takes one batch", time.Minute, silent.Load)
		time.Sleep(time.Second)
		unanswered := len(w.broker.Calls()) - before - 1
		t.Logf("%d batches went out in the second in which it was silent", unanswered)
		// The lane that it answered, the one that this let in, and one for each quarter of the second.
		if unanswered < 1 || unanswered > 2+4 {
			t.Errorf("%d batches went to a broker that had taken one a second ago", unanswered)
		}
		w.broker.Script(nil)
		w.awaitDrained(10 * time.Minute)
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
	})
}
