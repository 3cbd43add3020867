package relay_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// R16, R22, I13, E22: lanes without a leader or without enough replicas for ten minutes do not open the breaker of a destination that answers, the message
// that comes now and then for another topic is sent at once, and nothing is charged.
func TestLanesThatABrokerRefusesLeaveTheOthersAlone(t *testing.T) {
	t.Run("not stored", func(t *testing.T) {
		refuseLanes(t, relay.Outcome{Kind: relay.Unavailable, Scope: relay.ScopeLane, Class: relay.ClassUnreachable, Alive: true})
	})
	t.Run("perhaps stored", func(t *testing.T) {
		refuseLanes(t, relay.Outcome{Kind: relay.Unknown, Class: relay.ClassNotReplicated, Alive: true})
	})
}

func refuseLanes(t *testing.T, refused relay.Outcome) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Dedupes: true})
		var mu sync.Mutex
		opened := 0
		w.opt.Events.Breaker = func(_ string, open bool, _ relay.Outcome) {
			mu.Lock()
			defer mu.Unlock()
			if open {
				opened++
			}
		}
		began := time.Now()
		w.broker.Script(func(call relaytest.Call) relaytest.Answer {
			if call.Lane.Topic == "strict" && time.Since(began) < 10*time.Minute {
				return relaytest.Refuse(refused)
			}
			return relaytest.Answer{}
		})
		run := w.start()
		for i := range 40 {
			w.db.Send("strict", fmt.Sprintf("k%d", i), fmt.Sprint(i))
		}
		for i := range 100 {
			w.db.Send("well", "k", fmt.Sprint(i))
			sent := time.Now()
			w.await("the other topic is sent", time.Minute, func() bool {
				n := 0
				for _, r := range w.broker.Records() {
					if r.Lane.Topic == "well" {
						n++
					}
				}
				return n > i
			})
			if took := time.Since(sent); took > time.Second {
				t.Errorf("message %d took %v", i, took)
			}
			time.Sleep(5 * time.Second)
			if d := run.r.Status().Destinations[0]; i == 50 && (d.BreakerOpen || d.Refused == 0 || d.Fault.Kind != refused.Kind) {
				t.Errorf("in the midst: %+v", d)
			}
		}
		if d := run.r.Status().Destinations[0]; d.Refused == 0 {
			t.Errorf("before it ends: %+v", d)
		}
		w.awaitDrained(30 * time.Minute)
		w.stopAll()
		mu.Lock()
		defer mu.Unlock()
		if opened != 0 || len(w.db.Attempts()) != 0 {
			t.Errorf("the breaker opened %d times, %d attempts were charged", opened, len(w.db.Attempts()))
		}
		relaytest.Check(t, relaytest.Bounds{Q: 1, Placed: true}, w.db, w.broker)
	})
}

// R22, E22: a broker goes, its lanes cannot be reached and open the breaker; then what it led is refused for want of replicas, by brokers that live. The message
// that comes now and then for another topic is the next probe, and closes the breaker: it waits behind none of the refused.
func TestLaneThatNeverFailedIsProbedFirst_R22(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Dedupes: true})
		began := time.Now()
		w.broker.Script(func(call relaytest.Call) relaytest.Answer {
			switch {
			case call.Lane.Topic == "well":
				return relaytest.Answer{}
			case time.Since(began) < 2*time.Second:
				return relaytest.Refuse(relaytest.LaneGone)
			}
			return relaytest.Refuse(relay.Outcome{Kind: relay.Unknown, Class: relay.ClassNotReplicated, Alive: true})
		})
		run := w.start()
		for i := range 40 {
			w.db.Send("strict", fmt.Sprintf("k%d", i), fmt.Sprint(i))
		}
		open := func() bool {
			s := run.r.Status()
			return len(s.Destinations) == 1 && s.Destinations[0].BreakerOpen
		}
		w.await("the breaker is open", time.Minute, open)
		time.Sleep(5 * time.Minute)
		if !open() {
			t.Fatal("answers of lanes that are refused closed the breaker: this test shows nothing")
		}
		w.db.Send("well", "k", "now and then")
		sent := time.Now()
		w.await("the other topic is sent", time.Hour, func() bool { return len(w.broker.Records()) > 0 })
		if took := time.Since(sent); took > 1100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		w.await("the breaker is closed", time.Second, func() bool { return !open() })
		w.broker.Script(nil)
		w.awaitDrained(time.Minute)
		w.stopAll()
		if n := len(w.db.Attempts()); n != 0 {
			t.Errorf("%d attempts were charged", n)
		}
		relaytest.Check(t, relaytest.Bounds{Q: 1, Placed: true}, w.db, w.broker)
	})
}

// R16, E5: after one ambiguous answer, refusals of the same batch cost nothing, however many lanes are acked meanwhile.
func TestRefusalsAfterAnUnknownAnswerCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Dedupes: true})
		moving := relay.Lane{Topic: "t", Index: 0}
		refused := relay.Outcome{Kind: relay.Unknown, Earlier: true, Class: relay.ClassUnreachable, Detail: "the leader moves"}
		w.broker.Script(func(call relaytest.Call) relaytest.Answer {
			switch {
			case call.Lane != moving || call.LaneN > 40:
				return relaytest.Answer{}
			case call.LaneN == 1:
				return relaytest.LoseAnswer()
			}
			return relaytest.Refuse(refused)
		})
		w.start()
		for i := range 4000 {
			w.db.Send("t", fmt.Sprintf("k%d", i%40), fmt.Sprint(i))
			time.Sleep(100 * time.Millisecond)
		}
		w.awaitDrained(30 * time.Minute)
		if n := len(w.db.Attempts()); n != 0 {
			t.Errorf("%d attempts were charged", n)
		}
		w.stopAll()
		v := relaytest.Check(t, relaytest.Bounds{Q: 1, Placed: true}, w.db, w.broker)
		if v.Duplicates != 0 {
			t.Errorf("%d duplicates", v.Duplicates)
		}
	})
}
