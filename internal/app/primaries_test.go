package app

import (
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
)

// C12, P5: a standby is promoted while the old primary lives on, and both have writers and a relay: both grant the lease. Each sends everything that is written to it. Ids
// that both have drawn are messages with ids of their own, so nothing is taken for a repeat, and what the later one has marked sent was sent by it or is the same.
func TestTwoPrimariesLive_C12(t *testing.T) {
	t.Parallel()
	k := testservices.Kafka(t)
	_, standby, address := promotable(t, testservices.Async)
	old := newRig(t, address, k)                         // the first of its hosts takes writes all the time
	old.lease(5*time.Second, time.Second, 2*time.Second) // the standby has its row, too
	topic := old.topic("orders", 4, nil)
	old.start("a")
	before := old.write(150, 40, "", topic)
	eventually(t, "it is sent", func() bool { return old.sentOf(topic, 0) > 300 })
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	young := newRig(t, standby.URL("orders"), k)
	young.topics[topic] = k
	young.start("b")
	after := young.write(150, 40, "", topic)
	const messages = `SELECT array_agg(g.generation || '-' || id) FROM outbox.message_log, LATERAL (SELECT outbox_id AS generation FROM outbox.generations WHERE from_id <= id
		ORDER BY from_id DESC LIMIT 1) g`
	for _, r := range []*rig{old, young} {
		eventually(t, "each has its owner", func() bool { return r.owner() != "" })
		above := r.newest()
		eventually(t, "each sends what is written to it", func() bool { return r.sentOf(topic, above) > 300 })
	}
	if a, b := old.owner(), young.owner(); a != "a" || b != "b" {
		t.Fatalf("the owners are %q and %q: nothing is shown", a, b)
	}
	before.stop()
	after.stop()
	old.drained()
	young.drained()
	ids := map[*rig]map[string]bool{old: {}, young: {}}
	for r, of := range ids {
		for _, id := range ask[[]string](r, messages) {
			of[id] = true
		}
	}
	both := 0
	for r, other := range map[*rig]*rig{old: young, young: old} {
		r.takenBack = map[string]bool{} // known to the other one alone
		for id := range ids[other] {
			if !ids[r][id] {
				r.takenBack[id] = true
			} else {
				both++
			}
		}
		if len(r.takenBack) < 300 {
			t.Fatalf("%d messages are known to one primary alone: nothing is shown", len(r.takenBack))
		}
	}
	t.Logf("%d messages are known to both primaries", both/2)
	old.verdict(settledInTheLastMoments)
	young.verdict(settledInTheLastMoments)
}
