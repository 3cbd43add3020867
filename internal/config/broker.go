package config

import "time"

// Broker configures the bundled broker.
type Broker struct {
	Enabled        bool          `key:"enabled" restart:"true" help:"run it in this process"`
	Dir            string        `key:"dir" restart:"true" help:"its folder, made when it is missing; one process uses it at a time"`
	SegmentSize    Size          `key:"segment_size" min:"1MiB" max:"1GiB" restart:"true" help:"of a file of its log; three or more lie on the disk"`
	FlushTimeout   time.Duration `key:"flush_timeout" min:"100ms" max:"1m" restart:"true" help:"how long an append waits for the disk until its outcome is called unknown"`
	RetentionBytes OrNone[Size]  `key:"retention_bytes" min:"16MiB" max:"1024GiB" restart:"true" help:"most bytes of all topics together; the oldest records go first"`
	Topics         BrokerTopics  `key:"topics" restart:"true" help:"its topics"`
}

// BrokerTopics are the topics of the bundled broker.
type BrokerTopics struct {
	Create       []string              `key:"create" restart:"true" help:"names of topics that are made when they are missing; a topic that is not there is never made by a message"`
	Partitions   int                   `key:"partitions" min:"1" max:"10000" restart:"true" help:"of a topic when it is made"`
	RetentionAge OrNone[time.Duration] `key:"retention_age" min:"1m" max:"3650d" restart:"true" help:"how long the records of a topic stay; taken when it is made"`
}

// DefaultBroker returns the defaults of the bundled broker.
func DefaultBroker() Broker {
	return Broker{Dir: "/var/lib/waybill/broker", SegmentSize: 128 * MiB, FlushTimeout: 5 * time.Second, RetentionBytes: None[Size](),
		Topics: BrokerTopics{Create: []string{}, Partitions: 12, RetentionAge: Some(7 * 24 * time.Hour)}}
}
