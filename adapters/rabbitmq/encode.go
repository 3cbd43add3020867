package rabbitmq

import (
	"fmt"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

// Header names that only this adapter needs; the others are record's.
const (
	headerKey       = "waybill-key"
	headerTombstone = "waybill-tombstone"
)

const timeFormat = "2006-01-02T15:04:05.000000Z"

// DefaultExchange is the name by which routes call the default exchange, which has none at the broker and hands a message to the queue that the routing key
// names. Names that begin with "amq." are the broker's own.
const DefaultExchange = "amq.default"

// eventPrefix begins the header names of a CloudEvent in binary mode (draft of a CloudEvents binding for AMQP 0-9-1).
const eventPrefix = "ce-"

// address is where a message goes: an exchange, empty = the default one, and a routing key.
func address(m *relay.Message) (exchange, routingKey string) {
	if m.Target == DefaultExchange {
		return "", m.RoutingKey
	}
	return m.Target, m.RoutingKey
}

// target is what the address is called: the exchange, or the queue behind the default exchange.
func target(exchange, routingKey string) string {
	if exchange == "" {
		return routingKey
	}
	return exchange
}

// publishing is the message as the mapping says, the same in every copy.
func publishing(m *relay.Message) amqp.Publishing {
	headers := make(amqp.Table, 6+len(m.Headers))
	headers[record.HeaderID] = m.MessageID
	headers[record.HeaderSeq] = strconv.FormatInt(int64(m.ID), 10)
	headers[record.HeaderTime] = m.CreatedAt.UTC().Format(timeFormat)
	for _, h := range [...]relay.Header{{Name: headerKey, Value: m.Key}, {Name: record.HeaderTraceparent, Value: m.Traceparent}, {Name: record.HeaderTracestate, Value: m.Tracestate}} {
		if h.Value != "" {
			headers[h.Name] = h.Value
		}
	}
	for _, h := range m.Headers {
		headers[h.Name] = h.Value
	}
	if m.Tombstone {
		headers[headerTombstone] = "1"
	}
	return amqp.Publishing{Headers: headers, ContentType: m.ContentType, DeliveryMode: amqp.Persistent, MessageId: m.MessageID, Timestamp: m.CreatedAt,
		Type: m.Type, Body: m.Payload}
}

// headRoom is the part of a header frame that is not a string of ours: frame, class, weight, body size, flags, delivery mode, timestamp, lengths (AMQP 0-9-1,
// 4.2.6.1), generously.
const headRoom = 64

// refusal says why the broker would refuse a message and end its channel, or the whole connection, over it; an empty signal when it takes it.
func refusal(m *relay.Message, routingKey string, p *amqp.Publishing, frameMax, most int) (signal, string) {
	if len(m.Payload) > most {
		return sigTooLarge, fmt.Sprintf("the payload has %d bytes, max_message_bytes is %d", len(m.Payload), most)
	}
	for _, s := range [...]struct{ name, text string }{{"routing key", routingKey}, {"message id", p.MessageId}, {"type", p.Type}, {"content type", p.ContentType}} {
		if len(s.text) > maxShort {
			return sigInvalid, fmt.Sprintf("the %s has %d bytes, AMQP allows %d", s.name, len(s.text), maxShort)
		}
	}
	size := headRoom + len(p.MessageId) + len(p.Type) + len(p.ContentType)
	for name, value := range p.Headers {
		if len(name) > maxShort {
			return sigInvalid, fmt.Sprintf("a header's name has %d bytes, AMQP allows %d", len(name), maxShort)
		}
		size += 6 + len(name) + len(value.(string))
	}
	if frameMax > 0 && size > frameMax {
		return sigTooLarge, fmt.Sprintf("properties and headers have %d bytes, the connection's frame_max is %d", size, frameMax)
	}
	return "", ""
}
