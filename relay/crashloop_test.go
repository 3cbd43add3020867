package relay_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// A relay that ends every few seconds, without settling what it knows last, does not begin to count anew: the attempts of a message that always times out grow
// from life to life until it is dead, and a time that was set for it is kept.
func TestAttemptsOutliveACrashLoop_B7(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Dedupes: true})
		w.opt.Lease, w.opt.WriteTimeout, w.opt.TCPTimeout, w.opt.Quarantine = 3*time.Second, 300*time.Millisecond, 300*time.Millisecond, time.Second
		w.opt.ShutdownTimeout = 10 * time.Millisecond
		w.opt.Routes[0].Retry = relay.Retry{Initial: time.Minute, Cap: time.Minute, MaxAttempts: 6, MaxAge: 24 * time.Hour} // at random, but seldom within one life
		w.broker.Script(func(relaytest.Call) relaytest.Answer {
			return relaytest.Each(func(_ int, m *relay.Message) relay.Outcome {
				if m.Key == "bad" {
					return relay.Outcome{Kind: relay.Unknown, Class: relay.ClassTimeout, Code: "test/TIMEOUT"}
				}
				return relay.Outcome{Kind: relay.Acked}
			})
		})
		bad := w.db.Send("t", "bad", "bad")
		row := func() (r relaytest.HeldRow) {
			for _, h := range w.db.HeldRows() {
				if h.ID == bad {
					return h
				}
			}
			return r
		}
		var last relaytest.HeldRow
		lives, kept := 0, 0
		for ; lives < 200 && last.State != relay.Dead; lives++ {
			w.stores = nil
			r := w.start()
			w.await("it owns", time.Minute, func() bool { return r.r.Status().Owner })
			if now := row(); now.Attempts < last.Attempts || !last.DueAt.IsZero() && last.State == relay.Retrying && !last.Sending && !now.DueAt.Equal(last.DueAt) && time.Now().Before(last.DueAt) {
				t.Fatalf("life %d: %+v became %+v", lives, last, now)
			}
			if time.Now().Before(row().DueAt) {
				kept++
			}
			for i := range 20 { // others are acked: it is the message, not the broker
				w.db.Send("t", fmt.Sprintf("well%d", i), fmt.Sprint(lives))
				time.Sleep(100 * time.Millisecond)
			}
			for _, op := range []relaytest.Op{relaytest.OpSettle, relaytest.OpRelease, relaytest.OpRenew, relaytest.OpHeld} {
				w.stores[0].Block(op) // for ever: it is gone
			}
			w.stopAll()
			last = row()
		}
		if last.State != relay.Dead || last.Attempts < 6 || last.Attempts > 8 { // one that a crash left without an answer counts too, and decides nothing
			t.Errorf("after %d lives: %+v, want it dead after 6 attempts, or a little more", lives, last)
		}
		if lives < 4 || kept == 0 {
			t.Errorf("%d lives, in %d of which it was not due yet: this shows nothing", lives, kept)
		}
	})
}

// The owner ends after each of the batches that one bulk insert becomes, with whatever it had not settled: the rest follows, each key in order, and what is
// there twice is within the bound.
func TestCrashInsideABulkInsert_A15(t *testing.T) {
	for n := 1; n <= 24; n++ {
		t.Run(fmt.Sprint("after batch ", n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const most = 3
				w := newWorld(t, relaytest.BrokerConfig{Lanes: 2, MaxBatch: most, Latency: 5 * time.Millisecond})
				w.opt.ShutdownTimeout = time.Millisecond
				tx := w.db.Begin()
				for i := range 72 {
					tx.Write(relay.Message{Topic: "t", Key: fmt.Sprintf("k%d", i%4), Payload: fmt.Append(nil, i)})
				}
				_ = tx.Commit()
				w.start()
				for len(w.broker.Calls()) < n {
					time.Sleep(100 * time.Microsecond)
				}
				for _, op := range []relaytest.Op{relaytest.OpSettle, relaytest.OpRelease, relaytest.OpRenew} {
					w.stores[0].Block(op) // for ever: it is gone
				}
				w.stopAll()
				w.start()
				w.awaitDrained(2 * time.Minute)
				w.stopAll()
				relaytest.Check(t, relaytest.Bounds{Q: most * (1 + w.opt.SettleBatches), Rewinds: 1, Placed: true}, w.db, w.broker)
			})
		})
	}
}
