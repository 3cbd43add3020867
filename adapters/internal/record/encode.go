package record

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/bits"
	"strconv"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Header names that are ours; the outbox refuses them from applications.
const (
	HeaderID          = "waybill-id"
	HeaderSeq         = "waybill-seq"
	HeaderType        = "waybill-type"
	HeaderTime        = "waybill-time"
	HeaderContentType = "content-type"
	HeaderTraceparent = "traceparent"
	HeaderTracestate  = "tracestate"
)

// EventPrefix begins the header names of a CloudEvent in binary mode (CloudEvents 1.0.2, Kafka Protocol Binding, 3.2.3).
const EventPrefix = "ce_"

// Producer is who writes a batch, for brokers that drop repeats.
type Producer struct {
	ID    int64 // -1 = none
	Epoch int16
}

// Nobody is the producer of a batch without one; its first sequence is -1.
var Nobody = Producer{ID: -1, Epoch: -1}

// Layout of a record batch, magic 2 (Kafka documentation, "Record Batch"), behind the 4-byte size of the record set in a produce request.
//
//	 0 base offset (8)    8 length of what follows (4)   12 leader epoch (4)   16 magic (1)   17 CRC-32C of everything from 21 on (4)
//	21 attributes (2)    23 last offset delta (4)        27 first timestamp (8)               35 highest timestamp (8)
//	43 producer id (8)   51 producer epoch (2)           53 first sequence (4)                57 record count (4)      61 records
const (
	SizePrefix = 4
	batchHead  = 61
	crcFrom    = attributesAt
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encoder writes record batches. It belongs to one lane; the zero value is ready.
type Encoder struct {
	second int64    // of the cached text of a time of writing
	text   [19]byte // "2006-01-02T15:04:05"
	timed  bool
}

// Begin starts a batch in buf[:0], behind room for its size, and returns it; records follow by Add, then Finish.
func (e *Encoder) Begin(buf []byte) []byte {
	var head [SizePrefix + batchHead]byte
	return append(buf[:0], head[:]...)
}

// Add appends one record: the message as the mapping says, byte for byte the same in every copy. delta is its index in the batch.
func (e *Encoder) Add(buf []byte, delta int, m *relay.Message) []byte {
	var seqText, timeText [40]byte
	seq := strconv.AppendInt(seqText[:0], int64(m.ID), 10)
	written := e.appendTime(timeText[:0], m.CreatedAt)

	headers := 3 + len(m.Headers)
	size := 1 + 1 + varintSize(int64(delta)) // attributes, timestamp delta 0, offset delta
	if m.Key == "" {
		size++
	} else {
		size += bytesSize(len(m.Key))
	}
	if m.Tombstone {
		size++
	} else {
		size += bytesSize(len(m.Payload))
	}
	size += headerSize(len(HeaderID), len(m.MessageID)) + headerSize(len(HeaderSeq), len(seq)) + headerSize(len(HeaderTime), len(written))
	for _, h := range [...]struct{ name, value string }{
		{HeaderType, m.Type}, {HeaderContentType, m.ContentType}, {HeaderTraceparent, m.Traceparent}, {HeaderTracestate, m.Tracestate},
	} {
		if h.value != "" {
			headers++
			size += headerSize(len(h.name), len(h.value))
		}
	}
	for i := range m.Headers {
		size += headerSize(len(m.Headers[i].Name), len(m.Headers[i].Value))
	}
	size += varintSize(int64(headers))

	buf = appendVarint(buf, int64(size))
	buf = append(buf, 0, 0)
	buf = appendVarint(buf, int64(delta))
	if m.Key == "" {
		buf = append(buf, 1) // zig-zag of -1: null
	} else {
		buf = appendVarint(buf, int64(len(m.Key)))
		buf = append(buf, m.Key...)
	}
	if m.Tombstone {
		buf = append(buf, 1)
	} else {
		buf = appendVarint(buf, int64(len(m.Payload)))
		buf = append(buf, m.Payload...)
	}
	buf = appendVarint(buf, int64(headers))
	buf = appendHeader(buf, HeaderID, m.MessageID)
	buf = appendHeaderBytes(buf, HeaderSeq, seq)
	if m.Type != "" {
		buf = appendHeader(buf, HeaderType, m.Type)
	}
	if m.ContentType != "" {
		buf = appendHeader(buf, HeaderContentType, m.ContentType)
	}
	buf = appendHeaderBytes(buf, HeaderTime, written)
	for i := range m.Headers {
		buf = appendHeader(buf, m.Headers[i].Name, m.Headers[i].Value)
	}
	if m.Traceparent != "" {
		buf = appendHeader(buf, HeaderTraceparent, m.Traceparent)
	}
	if m.Tracestate != "" {
		buf = appendHeader(buf, HeaderTracestate, m.Tracestate)
	}
	return buf
}

// Finish fills in the head, but for the attributes, of a batch of count records, sent at `at`, numbered from sequence `first` of its producer.
func (e *Encoder) Finish(buf []byte, count int, at time.Time, p Producer, first int32) {
	b := buf[SizePrefix:]
	binary.BigEndian.PutUint32(buf, uint32(len(b)))
	binary.BigEndian.PutUint64(b[0:], 0)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], math.MaxUint32) // leader epoch -1: not known to a producer
	b[16] = 2
	binary.BigEndian.PutUint32(b[23:], uint32(count-1))
	binary.BigEndian.PutUint64(b[27:], uint64(at.UnixMilli()))
	binary.BigEndian.PutUint64(b[35:], uint64(at.UnixMilli()))
	binary.BigEndian.PutUint64(b[43:], uint64(p.ID))
	binary.BigEndian.PutUint16(b[51:], uint16(p.Epoch))
	binary.BigEndian.PutUint32(b[53:], uint32(first))
	binary.BigEndian.PutUint32(b[57:], uint32(count))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[crcFrom:], castagnoli))
}

// appendTime appends t as RFC 3339 in UTC with microseconds, the resolution of the database. The text up to the second is cached: messages of a batch
// were mostly written within the same one.
func (e *Encoder) appendTime(buf []byte, t time.Time) []byte {
	if s := t.Unix(); !e.timed || s != e.second {
		text := t.UTC().AppendFormat(nil, "2006-01-02T15:04:05")
		if len(text) != len(e.text) { // a year of five digits
			return t.UTC().AppendFormat(buf, "2006-01-02T15:04:05.000000Z")
		}
		copy(e.text[:], text)
		e.second, e.timed = s, true
	}
	micros := uint32(t.Nanosecond() / 1000)
	buf = append(buf, e.text[:]...)
	buf = append(buf, '.', '0', '0', '0', '0', '0', '0', 'Z')
	for i := len(buf) - 2; micros > 0; i-- {
		buf[i] = byte('0' + micros%10)
		micros /= 10
	}
	return buf
}

func appendHeader(buf []byte, name, value string) []byte {
	buf = appendVarint(buf, int64(len(name)))
	buf = append(buf, name...)
	buf = appendVarint(buf, int64(len(value)))
	return append(buf, value...)
}

func appendHeaderBytes(buf []byte, name string, value []byte) []byte {
	buf = appendVarint(buf, int64(len(name)))
	buf = append(buf, name...)
	buf = appendVarint(buf, int64(len(value)))
	return append(buf, value...)
}

func headerSize(name, value int) int { return bytesSize(name) + bytesSize(value) }

func bytesSize(n int) int { return varintSize(int64(n)) + n }

// appendVarint is zig-zag, as binary.AppendVarint; varintSize is its length.
func appendVarint(buf []byte, v int64) []byte {
	if v >= 0 && v < 64 {
		return append(buf, byte(v)<<1)
	}
	return binary.AppendVarint(buf, v)
}

func varintSize(v int64) int { return (bits.Len64(uint64(v<<1)^uint64(v>>63)|1) + 6) / 7 }
