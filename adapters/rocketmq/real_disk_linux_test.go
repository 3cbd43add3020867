//go:build disks

package rocketmq

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// TestDiskFull (E21): the disk of the only master is nearly full. It looks every 10 s, and refuses then; that is unknown, blames no message, and ends by itself when
// there is room again.
func TestDiskFull(t *testing.T) {
	disk := testservices.SmallDisk(t, 128<<20)
	store := disk.Dir + "/store"
	r := testservices.RocketMQCluster(t, testservices.BrokerSetting("storePathRootDir", store), testservices.BrokerSetting("storePathCommitLog", store+"/commitlog"))
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 1))
	p := open(t, r.NameServers, func(c *Config) { c.Topics = []string{topic} })
	next, doubts := 0, 0
	send := func() relay.Outcome { // as slowly as leaves room for what the broker takes until it looks
		next++
		m := ids(topic, "k", next)
		for {
			o := publish(t, p, m)[0]
			if o.Kind == relay.Acked || o.Code == "rocketmq/SERVICE_NOT_AVAILABLE" {
				if o.Kind != relay.Acked {
					next--
				}
				return o
			}
			if doubts++; o.Kind != relay.Unknown && o.Kind != relay.Unavailable {
				t.Fatalf("%+v", o)
			}
		}
	}
	if o := send(); o.Kind != relay.Acked {
		t.Fatalf("%+v", o)
	}
	must(t, disk.Fill(700<<10)) // above 99 %
	var refused relay.Outcome
	eventually(t, "the broker refuses", func() bool { refused = send(); <-time.After(20 * time.Millisecond); return refused.Kind != relay.Acked })
	if refused.Kind != relay.Unknown || !refused.Alive || refused.Class != relay.ClassUnreachable {
		t.Errorf("%+v", refused)
	}
	must(t, disk.Free())
	eventually(t, "it takes messages again", func() bool { return send().Kind == relay.Acked })
	var want []string
	for id := range next {
		want = append(want, fmt.Sprint(id+1))
	}
	all := seqs(t, readConfig(r.NameServers), topic)[0]
	if got := slices.Compact(slices.Clone(all)); !slices.Equal(got, want) || len(all) > len(want)+doubts {
		t.Errorf("stored %v, want 1 to %d, and %d copies at most", all, next, doubts)
	}
	t.Logf("%d messages, %d copies", next, len(all)-len(want))
}
