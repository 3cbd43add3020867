package rabbitmq

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

// Message is what publishing made the record of, as far as the record says: our headers are its fields again, the others its headers, by name. A header of ours
// that does not parse is an error.
func (r *Record) Message(topic string) (relay.Message, error) {
	text := func(name string) string { s, _ := r.Header(name); return s }
	m := relay.Message{MessageID: r.MessageID, Topic: topic, Target: topic, Key: text(headerKey), Type: r.Type, ContentType: r.ContentType,
		Traceparent: text(record.HeaderTraceparent), Tracestate: text(record.HeaderTracestate), Payload: r.Body, Size: len(r.Body)}
	if m.Payload == nil {
		m.Payload = []byte{}
	}
	if _, null := r.Header(headerTombstone); null {
		m.Payload, m.Tombstone = nil, true
	}
	id, err := strconv.ParseInt(text(record.HeaderSeq), 10, 64)
	if err == nil {
		m.ID = relay.ID(id)
		m.CreatedAt, err = time.Parse(time.RFC3339Nano, text(record.HeaderTime))
	}
	if err != nil {
		return m, fmt.Errorf("a message of %q: a header of Waybill's: %w", topic, err)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		switch name {
		case record.HeaderID, record.HeaderSeq, record.HeaderTime, record.HeaderTraceparent, record.HeaderTracestate, headerKey, headerTombstone, "x-delivery-count":
		default:
			v, _ := r.Header(name)
			m.Headers = append(m.Headers, relay.Header{Name: name, Value: v})
		}
	}
	return m, nil
}
