package record

import (
	"fmt"
	"strconv"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Message is what [Encoder.Add] made the record of, as far as the record says: our headers are its fields again, the others its headers. A header of ours that
// does not parse is an error.
func (r *Record) Message(topic string) (relay.Message, error) {
	m := relay.Message{Topic: topic, Target: topic, Key: string(r.Key), Payload: r.Value, Size: len(r.Value), Tombstone: r.Value == nil}
	for _, h := range r.Headers {
		v := string(h.Value)
		var err error
		switch h.Name {
		case HeaderID:
			m.MessageID = v
		case HeaderSeq:
			var id int64
			id, err = strconv.ParseInt(v, 10, 64)
			m.ID = relay.ID(id)
		case HeaderType:
			m.Type = v
		case HeaderContentType:
			m.ContentType = v
		case HeaderTime:
			m.CreatedAt, err = time.Parse(time.RFC3339Nano, v)
		case HeaderTraceparent:
			m.Traceparent = v
		case HeaderTracestate:
			m.Tracestate = v
		default:
			m.Headers = append(m.Headers, relay.Header{Name: h.Name, Value: v})
		}
		if err != nil {
			return m, fmt.Errorf("record at offset %d: header %s: %w", r.Offset, h.Name, err)
		}
	}
	return m, nil
}
