package rocketmq

import (
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// TestTwoMasters (E22): the queues of a topic lie on two masters, and one is killed. Its lanes wait: no key moves to a queue of the other one, which goes on. When
// it is back its lanes go on, and each lane is whole and in order.
func TestTwoMasters(t *testing.T) {
	const perMaster, lanes = 3, 6
	r := testservices.RocketMQCluster(t, testservices.WithSecondMaster())
	topic := topicName(t)
	must(t, r.CreateTopic(topic, perMaster))
	p := open(t, r.NameServers, func(c *Config) { c.Topics = []string{topic} })
	if pinned := (*p.pins.Load())[topic]; len(pinned.lanes) != lanes || pinned.lanes[0].queue.broker != "b1" || pinned.lanes[perMaster].queue.broker != "b2" {
		t.Fatalf("the lanes are not those of both masters: %d", len(pinned.lanes))
	}
	f := drive(t, p, topic, lanes, 20)
	f.more(30)
	eventually(t, "something is in flight", func() bool { return f.busy.Load() > 0 })
	must(t, r.Kill(testservices.Master2))
	f.kills++
	acked := func() (first, second int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i, list := range f.acked {
			if i < perMaster {
				first += len(list)
			} else {
				second += len(list)
			}
		}
		return first, second
	}
	before := f.failed()
	eventually(t, "each lane of the second one waits", func() bool { return f.failed() >= before+3*perMaster })
	one, two := acked()
	f.more(300)
	if first, second := acked(); first < one+300*20 || second != two {
		t.Errorf("while the second master is dead: %d, then %d messages on the first, %d, then %d on the second", one, first, two, second)
	}
	if n := f.count(relay.Config) + f.count(relay.Rejected); n > 0 {
		t.Errorf("%d answers blame a message or a person: %v", n, f.codes)
	}
	must(t, r.Start(testservices.Master2))
	eventually(t, "the second one goes on", func() bool { _, now := acked(); return now > two+20*20 })
	f.verdict(readConfig(r.NameServers))
}
