package app

import (
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
)

// C4, C3: the broker sleeps with bytes of an owner in its sockets. The owner is killed, another one takes over and waits out its quiet time, and only then the broker
// wakes up and takes in what both have sent. Nothing is lost, first deliveries are in order, and repeats stay within the published bound.
func TestBrokerSleepsOverATakeOver_C4_C3(t *testing.T) {
	t.Parallel()
	k := testservices.KafkaCluster(t, 1)
	r := newRig(t, testservices.Postgres(t, 18).URL, k)
	r.lease(2*time.Second, 300*time.Millisecond, time.Second)
	r.config.Destinations[0].Kafka.Batch.MaxMessages = 20
	const partitions = 4
	topic := r.topic("orders", partitions, nil)
	l := r.write(200, 30, "", topic)
	a := r.launch("a")
	eventually(t, "a sends", func() bool { return r.sentOf(topic, 0) > 200 })
	b := r.start("b")
	eventually(t, "b stands by", func() bool { return ask[int](r, `SELECT count(*) FROM outbox.relay`) == 2 })
	if err := k.Pause(1); err != nil {
		t.Fatal(err)
	}
	asleep := r.newest()
	eventually(t, "every lane of a has a batch at the broker", func() bool {
		return ask[int64](r, `SELECT count(*) FROM outbox.message_pending p, outbox.claimed c WHERE p.id > $1 AND p.id <= c.last_value`, asleep) > partitions*20
	})
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	r.owned("b")
	eventually(t, "the quiet time is over, and b has tried for a while", func() bool {
		return ask[bool](r, `SELECT clock_timestamp() > quiet_until + interval '3 s' FROM outbox.owner`)
	})
	if n := r.sentOf(topic, asleep); n > partitions*20*4 {
		t.Errorf("%d messages are marked sent although the broker sleeps", n)
	}
	if err := k.Resume(1); err != nil {
		t.Fatal(err)
	}
	l.stop()
	r.drained()
	r.verdict(partitions * 20 * (1 + r.config.Relay.Settle.MaxBatchesPerLane))
	if err := b.stop(); err != nil {
		t.Error(err)
	}
}
