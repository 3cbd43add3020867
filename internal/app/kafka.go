package app

import (
	"time"

	"github.com/waybillmq/waybill/adapters/kafka"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// describeKafka maps a destination of kind kafka.
func describeKafka(c *config.Config, d *config.Destination, h hooks) relay.Destination {
	from, k := &d.Kafka, kafkaServers(d)
	k.ClientID, k.Topics = "waybill/"+c.Name, targetTopics(c, d.Name)
	k.Idempotence, k.Partitioner = from.Idempotence, kafka.Partitioner(from.Partitioner)
	k.Compression = kafka.Compression(from.Compression)
	k.Batch = kafka.Batch{MaxMessages: from.Batch.MaxMessages, MaxBytes: int(from.Batch.MaxBytes)}
	k.WriteTimeout, k.TCPUserTimeout = c.Relay.WriteTimeout, c.Relay.TCPUserTimeout
	k.Trust, k.OnLanesChanged = h.trusted, h.lanesChanged
	return relay.Destination{
		Capabilities: k.Capabilities(), PublishTimeout: k.Timeouts.Publish + 2*time.Second,
		New: func() (relay.Publisher, error) {
			var err error
			if k.TLS, err = tlsConfig(from.TLS); err != nil {
				return nil, err
			}
			return kafka.New(k)
		},
	}
}

// kafkaServers is how its servers are reached, but for TLS, whose files may change.
func kafkaServers(d *config.Destination) kafka.Config {
	from, k := &d.Kafka, kafka.DefaultConfig()
	k.Brokers, k.SASL = from.Brokers, kafka.SASL{Mechanism: kafka.Mechanism(from.SASL.Mechanism)}
	k.Login = login(from.SASL.Username, from.SASL.Password)
	k.Timeouts = kafka.Timeouts{Connect: from.Timeouts.Connect, Broker: from.Timeouts.Broker, Publish: from.Timeouts.Publish}
	return k
}

// kafkaConnection is all that reading back needs.
func kafkaConnection(d *config.Destination) (k kafka.Config, err error) {
	k = kafkaServers(d)
	k.TLS, err = tlsConfig(d.Kafka.TLS)
	return k, err
}
