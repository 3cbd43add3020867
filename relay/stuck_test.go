package relay_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// The batches that were on their way to a broker when it went fill the look-ahead alone. They can go nowhere; another destination goes on all the same.
func TestStuckBatchesLeaveRoomForOthers_E22(t *testing.T) {
	for name, room := range map[string]int{"without a cache": -1, "with a cache": 1 << 20, "with a cache that is full": 50} {
		for answer, refused := range map[string]relay.Outcome{"nothing was stored": relaytest.Unreachable, "it may be stored": {Kind: relay.Unknown, Scope: relay.ScopeDestination, Class: relay.ClassTimeout, Code: "test/TIMEOUT"}} {
			t.Run(name+", "+answer, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, relaytest.BrokerConfig{Lanes: 2, Dedupes: true})
					if room >= 0 {
						cache := &relaytest.Cache{Room: room}
						w.cache = func(relay.Lease) (relay.Cache, error) { cache.Begin(); return cache, nil }
					}
					w.opt.ReadRows, w.opt.Ahead = 200, 200 // one page is all of it, and fits into two batches
					w.opt.Routes = []relay.Route{{Name: "u", Topic: "u", Destination: "e", Retry: relay.DefaultRetry()}, w.opt.Routes[0]}
					w.broker.Script(func(call relaytest.Call) relaytest.Answer {
						if call.Lane.Topic == "t" {
							return relaytest.Refuse(refused)
						}
						return relaytest.Answer{}
					})
					tx := w.db.Begin()
					for i := range 1000 {
						tx.Publish("t", fmt.Sprint("k", i%7), fmt.Sprint(i))
					}
					if err := tx.Commit(); err != nil {
						t.Fatal(err)
					}
					r := w.start()
					defer w.stopAll()
					w.await("the batches are stuck", time.Minute, func() bool {
						for _, d := range r.r.Status().Destinations {
							if d.BreakerOpen && d.InFlight == 200 {
								return true
							}
						}
						return false
					})
					for i := range 300 {
						w.db.Send("u", fmt.Sprint("k", i%7), fmt.Sprint(i))
					}
					w.await("the other destination goes on", 10*time.Second, func() bool { return len(w.broker.Records()) == 300 })
				})
			})
		}
	}
}
