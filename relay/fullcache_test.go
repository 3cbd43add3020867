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

// One destination is down and has filled the cache, which both share: the other one goes on, also through an outage of its own, for which no room is left. Then
// everything leaves, each key in order.
func TestOneDestinationFillsTheCache_H10(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Lanes: 2})
		cache := &relaytest.Cache{Room: 100}
		w.cache = func(relay.Lease) (relay.Cache, error) { cache.Begin(); return cache, nil }
		w.opt.ReadRows, w.opt.Ahead, w.opt.ProbeCap = 20, 200, time.Second
		w.opt.Routes = []relay.Route{{Name: "u", Topic: "u", Destination: "e", Retry: relay.DefaultRetry()}, w.opt.Routes[0]}
		var down [2]atomic.Bool
		topics := []string{"t", "u"}
		w.broker.Script(func(call relaytest.Call) relaytest.Answer {
			if down[slices.Index(topics, call.Lane.Topic)].Load() {
				return relaytest.Refuse(relaytest.Unreachable)
			}
			return relaytest.Answer{}
		})
		w.start()
		sent := map[string]int{}
		send := func(topic string, n int) {
			for range n {
				w.db.Send(topic, fmt.Sprint("k", sent[topic]%7), fmt.Sprint(topic, sent[topic]))
				sent[topic]++
			}
		}
		stored := func(topic string) (n int) {
			for _, r := range w.broker.Records() {
				if r.Lane.Topic == topic {
					n++
				}
			}
			return n
		}
		down[0].Store(true)
		send("t", 1000)
		w.await("the cache is full", time.Minute, func() bool { puts, _ := cache.Used(); return puts >= 100 })
		send("u", 300)
		w.await("the other destination goes on", 10*time.Second, func() bool { return stored("u") == 300 })
		down[1].Store(true)
		send("u", 300)
		time.Sleep(30 * time.Second)
		down[1].Store(false)
		send("u", 300)
		w.await("and again after its own outage", 20*time.Second, func() bool { return stored("u") == 900 })
		if n := stored("t"); n != 0 {
			t.Errorf("%d messages were stored by a broker that is down", n)
		}
		down[0].Store(false)
		w.awaitDrained(5 * time.Minute)
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Q: 1, Placed: true}, w.db, w.broker)
	})
}
