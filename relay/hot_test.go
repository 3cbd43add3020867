package relay_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// A key goes on soon after its dead message was discarded, also while new messages of it never cease.
func TestBusyKeyGoesOnAfterADiscard(t *testing.T) {
	for _, every := range []time.Duration{time.Millisecond, 5 * time.Millisecond, 50 * time.Millisecond} {
		t.Run(every.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, relaytest.BrokerConfig{Latency: 3 * time.Millisecond, People: true})
				w.broker.Poison(func(m *relay.Message) bool { return strings.HasPrefix(string(m.Payload), "poison") })
				w.start()
				w.stores[0].Delay(relaytest.OpSettle, 8*time.Millisecond)
				w.stores[0].Delay(relaytest.OpClosed, 5*time.Millisecond)
				ended := make(chan struct{})
				defer func() { <-ended }()
				go func() {
					defer close(ended)
					for i := range int(30 * time.Second / every) {
						payload := fmt.Sprint(i)
						if i == 1000/int(every/time.Millisecond) {
							payload = "poison"
						}
						w.db.Send("t", "hot", payload)
						time.Sleep(every)
					}
				}()
				var dead relay.ID
				w.await("dead", 20*time.Second, func() bool {
					for _, h := range w.db.HeldRows() {
						if h.State == relay.Dead {
							dead = h.ID
						}
					}
					return dead != 0
				})
				time.Sleep(2 * time.Second)
				if n, err := w.db.Discard(dead); n != 1 || err != nil {
					t.Fatalf("discard: %d, %v", n, err)
				}
				waiting := map[relay.ID]bool{}
				for _, h := range w.db.HeldRows() {
					waiting[h.ID] = true
				}
				w.await("the key goes on", 5*time.Second, func() bool {
					for _, h := range w.db.HeldRows() {
						if waiting[h.ID] {
							return false
						}
					}
					return len(waiting) > 0
				})
				<-ended
				w.awaitDrained(time.Minute)
				w.stopAll()
				relaytest.Check(t, relaytest.Bounds{Q: 1, Placed: true}, w.db, w.broker)
			})
		})
	}
}
