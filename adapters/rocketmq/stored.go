package rocketmq

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

// Record is one message of a queue as it lies at the broker.
type Record struct {
	Lane       int32  // index of its queue among those of the topic, sorted by broker and id: the lane of a publisher that is opened now
	Broker     string // name of the broker
	Queue      int32  // queue id there
	Offset     int64  // in the queue
	Body       []byte
	Properties []relay.Header // in the order of the broker, which is not ours
	At         time.Time      // when the broker stored it
	Torn       bool           // its properties end in zeros. Unless a header does, the broker died while it wrote them: it was never confirmed, and 4.9 recovers it
}

// Property returns the first property of that name.
func (r *Record) Property(name string) (string, bool) {
	for _, p := range r.Properties {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// Message is what a publisher made the record of, as far as the record says: our properties are its fields again, those of RocketMQ are left out, the others are its
// headers, in the order of the broker. A property of ours that does not parse is an error.
func (r *Record) Message(topic string) (relay.Message, error) {
	m := relay.Message{Topic: topic, Target: topic, Payload: r.Body, Size: len(r.Body)}
	for _, p := range r.Properties {
		var err error
		switch p.Name {
		case record.HeaderID:
			m.MessageID = p.Value
		case record.HeaderSeq:
			var id int64
			id, err = strconv.ParseInt(p.Value, 10, 64)
			m.ID = relay.ID(id)
		case propSharding:
			m.Key = p.Value
		case propTags, record.HeaderType:
			m.Type = p.Value
		case record.HeaderContentType:
			m.ContentType = p.Value
		case record.HeaderTime:
			m.CreatedAt, err = time.Parse(time.RFC3339Nano, p.Value)
		case record.HeaderTraceparent:
			m.Traceparent = p.Value
		case record.HeaderTracestate:
			m.Tracestate = p.Value
		case propTombstone:
			m.Tombstone, m.Payload, m.Size = true, nil, 0
		default:
			if name, ok := header(p.Name); ok {
				m.Headers = append(m.Headers, relay.Header{Name: name, Value: p.Value})
			}
		}
		if err != nil {
			return m, fmt.Errorf("message at offset %d: property %s: %w", r.Offset, p.Name, err)
		}
	}
	return m, nil
}

// errStored means that bytes are no stored messages.
var errStored = errors.New("not messages as RocketMQ stores them")

// Flags of a stored message (MessageSysFlag of 4.9).
const (
	flagCompressed  = 1
	flagBornHostV6  = 1 << 4
	flagStoreHostV6 = 1 << 5
)

// decodeStored gives f each message of a pull's body (MessageDecoder of 4.9). Bodies lie in b.
//
//	 0 length (4)   4 magic (4)   8 crc of the body (4)   12 queue id (4)   16 flag (4)   20 queue offset (8)   28 offset in the commit log (8)
//	36 system flag (4)   40 born time (8)   born host (8 or 20)   store time (8)   store host (8 or 20)   reconsumed (4)   transaction (8)
//	body length (4)   body   topic length (1)   topic   property length (2)   properties
func decodeStored(b []byte, f func(Record) error) error {
	be := binary.BigEndian
	for len(b) > 0 {
		if len(b) < 48 || be.Uint32(b) > uint32(len(b)) || be.Uint32(b) < 48 {
			return errStored
		}
		d := cutter{b: b[:be.Uint32(b)]}
		b = b[len(d.b):]
		d.take(12)
		r := Record{Queue: int32(d.uint32())}
		d.take(4)
		r.Offset = int64(d.uint64())
		d.take(8)
		flags := d.uint32()
		d.take(8 + hostSize(flags&flagBornHostV6))
		r.At = time.UnixMilli(int64(d.uint64()))
		d.take(hostSize(flags&flagStoreHostV6) + 12)
		r.Body = d.take(int(d.uint32()))
		d.take(int(d.byte()))
		properties := string(d.take(int(d.uint16())))
		r.Torn = strings.HasSuffix(properties, "\x00")
		parseProperties(properties, func(name, value string) {
			r.Properties = append(r.Properties, relay.Header{Name: name, Value: value})
		})
		if d.bad || len(d.b) > 0 {
			return errStored
		}
		if flags&flagCompressed != 0 {
			return fmt.Errorf("the message at offset %d is compressed: another producer wrote it", r.Offset)
		}
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}

func hostSize(v6 uint32) int {
	if v6 != 0 {
		return 20
	}
	return 8
}

// cutter takes bytes off a slice; once something is missing it is bad and gives nothing.
type cutter struct {
	b   []byte
	bad bool
}

func (c *cutter) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cutter) byte() byte {
	if v := c.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (c *cutter) uint16() uint16 {
	if v := c.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (c *cutter) uint32() uint32 {
	if v := c.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (c *cutter) uint64() uint64 {
	if v := c.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}
