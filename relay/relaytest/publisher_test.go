package relaytest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

// memoryTarget shows a Broker to the suite.
type memoryTarget struct {
	*Broker
	topics int
}

func (m *memoryTarget) Publisher() relay.Publisher { return m.Broker.Publisher("a") }

func (m *memoryTarget) Unreachable() relay.Publisher {
	b := NewBroker(BrokerConfig{})
	b.Down()
	return b.Publisher("a")
}

func (m *memoryTarget) Topic(lanes int) string {
	m.topics++
	name := fmt.Sprint("topic-", m.topics)
	m.Broker.Topic(name, lanes)
	return name
}

func (m *memoryTarget) Poison(msg *relay.Message) {
	msg.Payload = []byte("poison")
	msg.Size = len(msg.Payload)
}

func (m *memoryTarget) Stored(topic string) (records []Record) {
	for _, r := range m.Records() {
		if r.Lane.Topic == topic {
			records = append(records, r)
		}
	}
	return records
}

func (m *memoryTarget) LoseAnswer()  { m.Next(LoseAnswer()) }
func (m *memoryTarget) LoseRequest() { m.Next(LoseBatch()) }

func TestPublisherInMemory(t *testing.T) {
	for _, config := range []BrokerConfig{
		{Lanes: -1},
		{Lanes: -1, Dedupes: true},
		{Lanes: -1, Dedupes: true, Fences: true, MaxBatch: 100},
		{Lanes: -1, NoOffsets: true},
		{Lanes: -1, NoOffsets: true, MaxBatch: 1},
	} {
		t.Run(fmt.Sprintf("%+v", config), func(t *testing.T) {
			TestPublisher(t, func(*testing.T) Target {
				b := NewBroker(config)
				b.Poison(func(m *relay.Message) bool { return bytes.Equal(m.Payload, []byte("poison")) })
				return &memoryTarget{Broker: b}
			}, PublisherTraits{Capabilities: NewBroker(config).Capabilities(), Loses: true, Keyless: config.MaxBatch == 1})
		})
	}
}
