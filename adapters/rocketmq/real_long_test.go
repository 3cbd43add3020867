package rocketmq

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
)

// TestManyMessagesWhileTheBrokerRestarts: 100,000 messages while the master is killed or stopped every few seconds: 0 lost, order kept, copies within their bound,
// counted by reading everything back.
func TestManyMessagesWhileTheBrokerRestarts(t *testing.T) {
	const lanes, size, perLane = 8, 50, 12_500
	r := testservices.RocketMQCluster(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, lanes))
	f := drive(t, open(t, r.NameServers, nil), topic, lanes, size, perLane)
	const batches = lanes * perLane / size
	restarts := int64(0)
	for steps := int64(6); restarts < steps; restarts++ {
		least := batches * (restarts + 1) / (steps + 2) // spread over the run
		eventually(t, "more batches", func() bool { return f.acks.Load() >= least })
		if f.busy.Load() == 0 {
			t.Error("nothing was in flight: this restart proves nothing")
		}
		end := r.Kill
		if restarts%3 == 2 {
			end = r.Stop
		}
		must(t, end(testservices.Master))
		must(t, r.Start(testservices.Master))
	}
	var finished atomic.Bool
	go func() { f.tasks.Wait(); finished.Store(true) }()
	for begun := time.Now(); !finished.Load() && time.Since(begun) < 3*patience; {
		<-time.After(10 * time.Millisecond)
	}
	if got := f.acks.Load(); got != batches {
		t.Errorf("%d of %d batches acked", got, batches)
	}
	f.verdict(readConfig(r.NameServers))
	t.Logf("%d restarts", restarts)
}
