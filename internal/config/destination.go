package config

import "time"

// Destination is one broker. Its name is its key in the file; which other keys it has depends on its kind.
type Destination struct {
	Name     string   `key:"-" form:"name"`
	Kind     string   `key:"kind" required:"true" enum:"kafka|rocketmq|rabbitmq|waybillbroker" help:"which broker it is; waybillbroker is the bundled one in this process and takes no other key"`
	Kafka    Kafka    `key:",inline" of:"kafka"`
	RocketMQ RocketMQ `key:",inline" of:"rocketmq"`
	RabbitMQ RabbitMQ `key:",inline" of:"rabbitmq"`
}

// The kinds of destinations.
const (
	KindKafka         = "kafka"
	KindRocketMQ      = "rocketmq"
	KindRabbitMQ      = "rabbitmq"
	KindWaybillBroker = "waybillbroker"
)

// NewDestination returns a destination of that kind with every default.
func NewDestination(name, kind string) Destination {
	return Destination{Name: name, Kind: kind, Kafka: DefaultKafka(), RocketMQ: DefaultRocketMQ(), RabbitMQ: DefaultRabbitMQ()}
}

func (d *Destination) inherit(*Config) { *d = NewDestination("", "") }

// Servers are the addresses that the destination names; none for the bundled broker.
func (d *Destination) Servers() []string {
	switch d.Kind {
	case KindKafka:
		return d.Kafka.Brokers
	case KindRocketMQ:
		return d.RocketMQ.NameServers
	case KindRabbitMQ:
		return d.RabbitMQ.Hosts
	}
	return nil
}

// Encryption is how its link is encrypted.
func (d *Destination) Encryption() TLS {
	switch d.Kind {
	case KindKafka:
		return d.Kafka.TLS
	case KindRabbitMQ:
		return d.RabbitMQ.TLS
	}
	return TLS{}
}

// Durability says what to do when the broker is configured so that it can lose: warn or require.
func (d *Destination) Durability() string {
	switch d.Kind {
	case KindKafka:
		return d.Kafka.Durability
	case KindRocketMQ:
		return d.RocketMQ.Durability
	case KindRabbitMQ:
		return d.RabbitMQ.Durability
	}
	return ""
}

// missing says why a kind has not a key that others have, where a person would look for it.
var missing = map[[2]string]string{
	{KindRocketMQ, "tls"}: ": its client library has no TLS. Leave tls out, and keep name servers and brokers in a private network or behind tunnels",
}

// Batch bounds what is sent in one call.
type Batch struct {
	MaxMessages int  `key:"max_messages" min:"1" max:"10000" help:"messages of a batch"`
	MaxBytes    Size `key:"max_bytes" min:"1KiB" max:"64MiB" help:"bytes of a batch of two messages or more; keep it below the broker's own limit"`
}

// TLS is how a link is encrypted. The server's certificate is always verified.
type TLS struct {
	Enabled    bool   `key:"enabled" help:"the broker is reached through TLS, 1.2 or newer"`
	CA         string `key:"ca" null:"true" help:"PEM file of the authorities that may sign the broker's certificate; null: the system's"`
	Cert       string `key:"cert" null:"true" help:"PEM file of the client's own certificate, for brokers that ask for one; read again at each connection"`
	Key        string `key:"key" null:"true" help:"PEM file of its key"`
	ServerName string `key:"server_name" null:"true" help:"name in the broker's certificate; null: the host that is connected to"`
}

// Kafka configures a destination of kind kafka.
type Kafka struct {
	Brokers     []string      `key:"brokers" form:"address" needed:"true" help:"host:port of some brokers of the cluster; the others are found"`
	TLS         TLS           `key:"tls" help:"encryption of the connections"`
	SASL        SASL          `key:"sasl" help:"login"`
	Idempotence bool          `key:"idempotence" help:"false only for brokers that refuse InitProducerId: duplicates become possible"`
	Partitioner string        `key:"partitioner" enum:"murmur2|crc32|fnv1a" help:"key to partition as murmur2 (Java), crc32 (librdkafka) or fnv1a (Sarama) does; changing it moves keys"`
	Compression string        `key:"compression" enum:"none|zstd|lz4|snappy|gzip" help:"of each batch"`
	Batch       Batch         `key:"batch" help:"most of one produce request and partition"`
	Timeouts    KafkaTimeouts `key:"timeouts" help:"broker must be below publish"`
	Durability  string        `key:"durability" enum:"warn|require" help:"what to do when the broker is configured so that it can lose: warn, or refuse to start"`
}

// SASL is a login at a Kafka cluster.
type SASL struct {
	Mechanism string `key:"mechanism" enum:"none|plain|scram-sha-256|scram-sha-512" help:"none: no login; plain only with tls"`
	Username  Secret `key:"username" null:"true" help:"read again at each login"`
	Password  Secret `key:"password" null:"true" help:"read again at each login"`
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
		SASL: SASL{Mechanism: "none"}, Idempotence: true, Partitioner: "murmur2", Compression: "none", Durability: "warn",
		Batch:    Batch{MaxMessages: 500, MaxBytes: 900 * KiB},
		Timeouts: KafkaTimeouts{Connect: 5 * time.Second, Broker: 10 * time.Second, Publish: 15 * time.Second},
	}
}
