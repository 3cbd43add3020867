package relay_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// A relay ends while a publisher is made: that one is closed too.
func TestStopWhileAPublisherIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Lanes: 1})
		made := 0
		w.wrap = func(p relay.Publisher) relay.Publisher {
			if made++; made == 2 {
				w.relays[0].cancel()
				time.Sleep(5 * time.Minute)
			}
			return p
		}
		run := w.start()
		time.Sleep(time.Second)
		run.r.LanesChanged("d")
		time.Sleep(time.Second)
		w.stopAll()
		if made != 2 {
			t.Errorf("%d publishers were made", made)
		}
	})
}
