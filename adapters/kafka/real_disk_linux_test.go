//go:build disks

package kafka

import (
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// TestDiskFull (E21): the only disk of the broker fills up under load. Kafka takes that folder out of service (56), and itself with its last one; when there is
// room again and it is started, everything is there once, in order.
func TestDiskFull(t *testing.T) {
	disk := testservices.SmallDisk(t, 96<<20)
	c := testservices.KafkaCluster(t, 1, testservices.DataOn(disk.Dir+"/kafka"))
	topic := topicName(t)
	if err := c.CreateTopic(topic, 2, nil); err != nil {
		t.Fatal(err)
	}
	f := drive(t, open(t, c.Brokers, quick), topic, 2, 100)
	f.more(20)
	if err := disk.Fill(512 << 10); err != nil {
		t.Fatal(err)
	}
	eventually(t, "every lane has met it", func() bool { return f.count(relay.Unknown)+f.count(relay.Unavailable) >= 6 })
	if n := f.count(relay.Rejected) + f.count(relay.Config); n > 0 {
		t.Errorf("%d answers blame a message or a person: %v", n, f.codes)
	}
	if err := disk.Free(); err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(); err != nil { // if it still stands: only a start takes the folder into service again
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	f.more(20)
	f.verdict(c.Brokers)
}
