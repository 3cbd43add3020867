package rocketmq

import (
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
)

// TestManyMessagesWhileTheBrokerRestarts: 100,000 messages while the master is killed or stopped every few seconds: 0 lost, order kept, copies within their bound,
// counted by reading everything back.
func TestManyMessagesWhileTheBrokerRestarts(t *testing.T) {
	const lanes, size, batches = 8, 50, 2000
	r := testservices.RocketMQCluster(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, lanes))
	f := drive(t, open(t, r.NameServers, nil), topic, lanes, size)
	const restarts = 6
	for i := range restarts {
		f.more(batches / (restarts + 1))
		eventually(t, "a batch in flight", func() bool { return f.busy.Load() > 0 })
		if i%3 == 2 {
			must(t, r.Stop(testservices.Master))
		} else {
			f.kill(r)
		}
		must(t, r.Start(testservices.Master))
	}
	f.more(max(1, batches-f.acks.Load()))
	f.verdict(readConfig(r.NameServers))
}
