package config

import "time"

// Destination is one broker. Its name is its key in the file.
type Destination struct {
	Name  string `key:"-" form:"name"`
	Kind  string `key:"kind" required:"true" enum:"kafka|waybillbroker" help:"which broker it is; waybillbroker is the bundled one in this process and takes no other key"`
	Kafka `key:",inline"`
}

// The kinds of destinations.
const (
	KindKafka         = "kafka"
	KindWaybillBroker = "waybillbroker"
)

// Kafka configures a destination of kind kafka.
type Kafka struct {
	Brokers     []string      `key:"brokers" form:"address" help:"required; host:port of some brokers of the cluster; the others are found"`
	Idempotence bool          `key:"idempotence" help:"false only for brokers that refuse InitProducerId: duplicates become possible"`
	Partitioner string        `key:"partitioner" enum:"murmur2|crc32|fnv1a" help:"key to partition as murmur2 (Java), crc32 (librdkafka) or fnv1a (Sarama) does; changing it moves keys"`
	Batch       Batch         `key:"batch" help:"most of one produce request and partition"`
	Timeouts    KafkaTimeouts `key:"timeouts" help:"broker must be below publish"`
	Durability  string        `key:"durability" enum:"warn|require" help:"what to do when the broker is configured so that it can lose: warn, or refuse to start"`
}

// Batch bounds what is sent in one call.
type Batch struct {
	MaxMessages int  `key:"max_messages" min:"1" max:"10000" help:"messages of a batch"`
	MaxBytes    Size `key:"max_bytes" min:"1KiB" max:"64MiB" help:"bytes of a batch of two messages or more; keep it below the broker's message.max.bytes"`
}

// KafkaTimeouts bound a call to a Kafka cluster.
type KafkaTimeouts struct {
	Connect time.Duration `key:"connect" min:"10ms" max:"5m" help:"until a connection is made"`
	Broker  time.Duration `key:"broker" min:"10ms" max:"5m" help:"how long the broker may wait for its replicas"`
	Publish time.Duration `key:"publish" min:"20ms" max:"5m" help:"until the answer is called unknown"`
}

// DefaultKafka returns the defaults of a destination of kind kafka.
func DefaultKafka() Kafka {
	return Kafka{
		Idempotence: true, Partitioner: "murmur2", Durability: "warn",
		Batch:    Batch{MaxMessages: 500, MaxBytes: 900 * KiB},
		Timeouts: KafkaTimeouts{Connect: 5 * time.Second, Broker: 10 * time.Second, Publish: 15 * time.Second},
	}
}

func (d *Destination) inherit(*Config) { d.Kafka = DefaultKafka() }
