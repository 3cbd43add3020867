package relay_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// unroutable is what a broker says of a message that nobody takes in where it goes.
var unroutable = relay.Outcome{Kind: relay.Unavailable, Scope: relay.ScopeKey, Class: relay.ClassUnroutable, Alive: true, Code: "test/NO_ROUTE", Detail: "no queue is bound"}

// returnLost answers as a broker that has no place for keys that begin with "lost", as long as on says so.
func returnLost(on func() bool) relaytest.Script {
	return func(call relaytest.Call) relaytest.Answer {
		if !on() {
			return relaytest.Answer{}
		}
		return relaytest.Each(func(_ int, m *relay.Message) relay.Outcome {
			if strings.HasPrefix(m.Key, "lost") {
				return unroutable
			}
			return relay.Outcome{Kind: relay.Acked}
		})
	}
}

// Messages that nobody takes in for a quarter of an hour do not hold up the other keys of their lanes, do not open the breaker, and arrive in the end.
func TestMessagesThatNobodyTakesInLeaveTheOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{})
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
		w.broker.Script(returnLost(func() bool { return time.Since(began) < 15*time.Minute }))
		w.start()
		well := func() (n int) {
			for _, r := range w.broker.Records() {
				if !strings.HasPrefix(r.Message.Key, "lost") {
					n++
				}
			}
			return n
		}
		for i := range 20 {
			for k := range 20 {
				w.db.Send("t", fmt.Sprint("lost", k), fmt.Sprint(i))
				w.db.Send("t", fmt.Sprint("well", k), fmt.Sprint(i))
			}
			sent := time.Now()
			w.await("the other keys are sent", 2*time.Minute, func() bool { return well() == 20*(i+1) })
			if took := time.Since(sent); took > 30*time.Second {
				t.Errorf("round %d took %v", i, took)
			}
			time.Sleep(30 * time.Second)
		}
		w.awaitDrained(2 * time.Hour)
		w.stopAll()
		mu.Lock()
		defer mu.Unlock()
		if opened != 0 {
			t.Errorf("the breaker opened %d times", opened)
		}
		relaytest.Check(t, relaytest.Bounds{Q: 1, Placed: true}, w.db, w.broker)
	})
}

// Where nothing passes, because the only queue is missing, nobody is charged: it is an outage.
func TestWhenNobodyTakesAnythingInNothingIsCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{})
		began := time.Now()
		w.broker.Script(returnLost(func() bool { return time.Since(began) < 4*time.Minute }))
		w.start()
		for i := range 400 {
			w.db.Send("t", fmt.Sprint("lost", i%20), fmt.Sprint(i))
		}
		w.awaitDrained(time.Hour)
		w.stopAll()
		if n := len(w.db.Attempts()); n != 0 {
			t.Errorf("%d attempts were charged", n)
		}
		relaytest.Check(t, relaytest.Bounds{Q: 1, Placed: true}, w.db, w.broker)
	})
}
