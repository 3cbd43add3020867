package relay_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// A dead message closes its key in its topic alone; without a key it closes nothing; and the bytes of a key decide, not how it is read.
func TestWhatADeadMessageCloses_D12_L7(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const composed, decomposed = "\u00e9", "e\u0301"
		w := newWorld(t, relaytest.BrokerConfig{Lanes: 1})
		w.broker.Poison(func(m *relay.Message) bool { return string(m.Payload) == "poison" })
		w.start()
		for _, key := range []string{"k", composed, ""} {
			w.db.Send("t", key, "poison")
		}
		w.await("three are dead", time.Minute, func() bool { return len(w.db.HeldRows()) == 3 && len(w.db.Pending()) == 0 })
		want := map[string]int{}
		for i := range 20 {
			for _, at := range []relay.Key{{Topic: "u", Key: "k"}, {Topic: "t", Key: decomposed}, {Topic: "t"}, {Topic: "u"}, {Topic: "u", Key: composed}} {
				w.db.Send(at.Topic, at.Key, fmt.Sprint(i))
				want[fmt.Sprint(at)]++
			}
			w.db.Send("t", "k", fmt.Sprint(i))
			w.db.Send("t", composed, fmt.Sprint(i))
		}
		w.await("all but the closed keys are sent", time.Minute, func() bool { return len(w.db.Pending()) == 0 })
		got := map[string]int{}
		for _, r := range w.broker.Records() {
			got[fmt.Sprint(relay.Key{Topic: r.Message.Topic, Key: r.Message.Key})]++
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || len(w.db.HeldRows()) != 3+2*20 {
			t.Errorf("sent %v, want %v; %d are held", got, want, len(w.db.HeldRows()))
		}
		w.broker.Poison(nil)
		for _, h := range w.db.HeldRows() {
			if h.State == relay.Dead {
				if _, err := w.db.Retry(h.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.awaitDrained(time.Minute)
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
	})
}
