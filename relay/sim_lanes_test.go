package relay_test

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// TestSimulationOfOtherLanes runs the engine against a broker that is down most of the time and changes its lanes, while the outbox is read again and again
// from the beginning. Nothing is lost, no key changes its order.
func TestSimulationOfOtherLanes(t *testing.T) {
	eachSeed(t, simulateOtherLanes)
}

func simulateOtherLanes(t *testing.T, seed int64) {
	rnd := rand.New(rand.NewPCG(uint64(seed), 23))
	config := relaytest.BrokerConfig{Lanes: 1 + rnd.IntN(4), Dedupes: rnd.IntN(2) == 0, Fences: rnd.IntN(2) == 0, Latency: time.Duration(rnd.IntN(20)) * time.Millisecond,
		MaxBatch: 1 + rnd.IntN(20)}
	w := newWorld(t, config)
	w.rand = rnd
	w.opt.ReadRows, w.opt.Ahead = 3+rnd.IntN(40), 10+rnd.IntN(100)
	if rnd.IntN(3) == 0 {
		w.opt.InlineBytes = 3 // payloads have 3 to 5 bytes
	}
	w.opt.Routes[0].Retry.MaxAttempts = 1000
	w.opt.Routes[0].Retry.MaxAge = 1000 * time.Hour
	w.opt.Routes[0].Retry.Cap = 5 * time.Second
	w.opt.ProbeCap = time.Second
	w.start()
	if rnd.IntN(3) == 0 {
		w.start()
	}
	rewinds := 1
	var ambiguous atomic.Int64
	w.broker.Script(mischief(rand.New(rand.NewPCG(uint64(seed), 25)), &ambiguous))
	var open []*relaytest.Tx
	for n := range 60 + rnd.IntN(60) {
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
		open = w.business(n, open)
		switch rnd.IntN(20) {
		case 0, 1, 2:
			w.broker.Down()
		case 3, 4:
			w.broker.Up()
		case 5:
			w.broker.LaneDown(relay.Lane{Topic: "t", Index: 0}, rnd.IntN(2) == 0)
		case 6:
			w.relays[0].r.LanesChanged("d")
		case 7:
			w.relays[0].r.Rescan()
		case 8:
			w.stores[0].Fail(relaytest.OpSettle, rnd.IntN(4), context.DeadlineExceeded)
		case 9:
			w.broker.Down()
			w.broker.Up() // for the time of no answer
		default:
			rewinds += w.fault()
		}
	}
	for _, tx := range open {
		_ = tx.Commit()
	}
	w.broker.Script(nil)
	w.broker.Up()
	w.broker.LaneDown(relay.Lane{Topic: "t", Index: 0}, false)
	w.db.Up()
	w.awaitDrained(20 * time.Minute)
	w.stopAll()
	relaytest.Check(t, relaytest.Bounds{Q: config.MaxBatch*5 + 50, Rewinds: rewinds + int(ambiguous.Load()), Placed: true}, w.db, w.broker)
}
