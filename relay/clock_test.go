package relay_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// However far the clock of the relay is off, leases and due times go by the database's: a scheduled message leaves when it is due there, and an owner that is
// gone is replaced after its lease.
func TestClockOfTheRelayIsWrong_B1(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, ahead := range []time.Duration{-10 * year, -time.Hour, time.Hour, 10 * year} { // the database's, of ours
		t.Run(ahead.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, relaytest.BrokerConfig{})
				w.db.Jump(ahead)
				w.start()
				due := time.Now().Add(time.Minute) // by our clock, which database time is compared with below
				tx := w.db.Begin()
				tx.Write(relay.Message{Topic: "t", Key: "k", Payload: []byte("later"), DeliverAfter: due.Add(ahead)})
				_ = tx.Commit()
				w.db.Send("t", "k", "now")
				w.awaitDrained(2 * time.Minute)
				sent := w.broker.Records()
				if len(sent) != 2 || string(sent[0].Message.Payload) != "now" || sent[1].At.Before(due) || sent[1].At.After(due.Add(5*time.Second)) {
					t.Errorf("due at %v: %+v", due, sent)
				}
				w.start()
				w.stores[0].Fail(relaytest.OpRenew, 1000, context.DeadlineExceeded)
				gone := time.Now()
				w.await("the other one owns", 2*time.Minute, func() bool { return w.db.Owner().Owner == "relay-2" })
				if took := time.Since(gone); took < 20*time.Second || took > 45*time.Second {
					t.Errorf("the take-over came after %v, the lease is 30 s", took)
				}
				w.db.Send("t", "k", "from the next")
				w.awaitDrained(time.Minute)
				w.stopAll()
				relaytest.Check(t, relaytest.Bounds{Q: 1, Placed: true}, w.db, w.broker)
			})
		})
	}
}

// TestClockOfTheDatabaseJumps_B2 moves the clock by which leases end, forwards and back, under two relays and ambiguous answers. Owners are replaced too early,
// and a quiet time that was set before a jump back lasts until the clock has caught up: nothing is lost and each key keeps its order.
func TestClockOfTheDatabaseJumps_B2(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed int64) {
		rnd := rand.New(rand.NewPCG(uint64(seed), 31))
		config := relaytest.BrokerConfig{Lanes: 1 + rnd.IntN(4), Fences: rnd.IntN(2) == 0, Latency: time.Duration(rnd.IntN(20)) * time.Millisecond, MaxBatch: 1 + rnd.IntN(20)}
		w := newWorld(t, config)
		w.rand = rnd
		w.start()
		w.start()
		rewinds, back := 1, time.Duration(0)
		for n := range 60 {
			time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond)
			for range 1 + rnd.IntN(8) {
				w.db.Send("t", fmt.Sprintf("k%d", rnd.IntN(6)), fmt.Sprint(n))
			}
			switch rnd.IntN(8) {
			case 0:
				w.db.Jump(time.Duration(rnd.Int64N(int64(time.Hour))))
				rewinds++
			case 1:
				d := time.Duration(rnd.Int64N(int64(time.Hour)))
				w.db.Jump(-d)
				back += d
			case 2:
				w.broker.Next(relaytest.LoseAnswer())
				rewinds++
			}
		}
		if !config.Fences { // the clock has caught up, and the next owner begins
			w.db.Jump(back)
			w.stopAll()
			w.start()
		}
		w.awaitDrained(5 * time.Minute)
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Q: config.MaxBatch*5 + 50, Rewinds: rewinds, Placed: true}, w.db, w.broker)
	})
}
