package relay_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// The database is away for longer than the lease is trusted, and the broker comes back meanwhile: what is cached goes to a broker that would refuse a former
// owner, and waits for any other.
func TestDatabaseIsAwayBeyondTheLease_H15(t *testing.T) {
	for _, fences := range []bool{false, true} {
		t.Run(fmt.Sprint("fences ", fences), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, relaytest.BrokerConfig{Lanes: 2, MaxBatch: 5, Fences: fences})
				cache := &relaytest.Cache{}
				w.cache = func(relay.Lease) (relay.Cache, error) { cache.Begin(); return cache, nil }
				w.opt.Ahead, w.opt.ReadRows, w.opt.ProbeCap = 100, 50, time.Second
				run := w.start()
				w.db.Send("t", "k", "before")
				w.awaitDrained(time.Minute)
				w.broker.Down()
				for i := range 400 {
					w.db.Send("t", fmt.Sprintf("k%d", i%7), fmt.Sprint(i))
				}
				w.await("nearly all are cached", time.Minute, func() bool {
					n := 0
					for _, d := range run.r.Status().Destinations {
						n += d.Cached
					}
					return n >= 390
				})
				var back []func()
				for _, op := range []relaytest.Op{relaytest.OpRenew, relaytest.OpRead, relaytest.OpFetch, relaytest.OpClaim, relaytest.OpSettle, relaytest.OpHeld, relaytest.OpClosed} {
					back = append(back, w.stores[0].Block(op))
				}
				time.Sleep(25 * time.Second) // it trusts the lease for 20 s
				w.broker.Up()
				time.Sleep(time.Minute)
				if n := len(w.broker.Records()); fences && n < 300 || !fences && n != 1 {
					t.Errorf("%d messages are at the broker", n)
				}
				for _, f := range back {
					f()
				}
				w.awaitDrained(2 * time.Minute)
				w.stopAll()
				relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
			})
		})
	}
}
