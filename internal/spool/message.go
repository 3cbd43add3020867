package spool

import (
	"encoding/binary"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/relay"
)

// Flags of a message.
const (
	flagTombstone uint8 = 1 << iota
	flagFetch           // the payload is not here
)

// message is a record of kind 32 taken apart.
type message struct {
	lane       relay.CacheLane
	generation uuid
	epoch      relay.Epoch
	relay.Message
}

// appendMessage encodes a message behind dst and returns its record, whose body lies there. Index is the id, Term the epoch.
//
//	 0 crc u32 | 4 size of the payload u32
//	 8 uuid of the generation, 16 bytes
//	24 created at: s i64, ns u32 | 36 deliver after: s i64, ns u32
//	48 lane: index i32, destination, topic
//	   message id, topic, key, type, content type, traceparent, tracestate
//	   headers: count uvarint, then name and value of each
//	   payload
//
// A payload that would make the record longer than most is left out, and has to be fetched.
func appendMessage(dst []byte, m *message, most int) ([]byte, commitlog.Record) {
	from := len(dst)
	r := commitlog.Record{Kind: kindMessage, Index: uint64(m.ID), Term: uint64(m.epoch)}
	size := m.Size
	if m.Payload != nil {
		size = len(m.Payload)
	}
	dst = append(dst, 0, 0, 0, 0)
	dst = le.AppendUint32(dst, uint32(size))
	dst = append(dst, m.generation[:]...)
	dst = appendTime(appendTime(dst, m.CreatedAt), m.DeliverAfter)
	dst = appendLane(dst, m.lane)
	for _, s := range m.texts() {
		dst = appendString(dst, *s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.Headers)))
	for _, h := range m.Headers {
		dst = appendString(appendString(dst, h.Name), h.Value)
	}
	switch {
	case m.Tombstone:
		r.Flags = flagTombstone
	case m.NeedsFetch() || len(dst)-from+len(m.Payload) > most && len(m.Payload) > 0:
		r.Flags = flagFetch
	default:
		dst = append(dst, m.Payload...)
	}
	r.Body = dst[from:len(dst):len(dst)]
	return dst, seal(r)
}

// texts are the strings of a message, in the order in which they are stored.
func (m *message) texts() [7]*string {
	return [...]*string{&m.MessageID, &m.Topic, &m.Key, &m.Type, &m.ContentType, &m.Traceparent, &m.Tracestate}
}

// readMessage decodes a record of kind 32. Nothing of the result lies in r.Body.
func readMessage(r *commitlog.Record) (m message, err error) {
	var ok bool
	if m.ID, ok = id(r); !ok || r.Kind != kindMessage || !whole(r) {
		return message{}, errRecord
	}
	in := reader{b: r.Body[4:]}
	m.Size, m.generation, m.epoch = int(in.u32()), in.uuid(), relay.Epoch(r.Term)
	m.CreatedAt, m.DeliverAfter = in.time(), in.time()
	m.lane = in.lane()
	for _, s := range m.texts() {
		*s = in.string()
	}
	headers := in.number()
	if headers > uint64(len(in.b)/2) {
		return message{}, errRecord
	}
	for range headers {
		m.Headers = append(m.Headers, relay.Header{Name: in.string(), Value: in.string()})
	}
	return m, m.readPayload(r.Flags, &in)
}

// readPayload takes what is left as the payload.
func (m *message) readPayload(flags uint8, in *reader) error {
	size := 0
	switch {
	case in.failed:
		return errRecord
	case flags == flagTombstone:
		m.Tombstone = true
		if m.Size != 0 {
			return errRecord
		}
	case flags == flagFetch:
		if m.Size == 0 {
			return errRecord
		}
	case flags == 0:
		size = m.Size
		m.Payload = append([]byte{}, in.b...)
	default:
		return errRecord
	}
	if size != len(in.b) {
		return errRecord
	}
	return nil
}
