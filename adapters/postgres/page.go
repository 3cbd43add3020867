package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
	"unsafe"

	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/relay"
)

// Columns of a log row, in the order of every statement that returns one.
const (
	colID = iota
	colCreatedAt
	colDeliverAfter
	colTopic
	colKey
	colType
	colContentType
	colMessageID
	colTraceparent
	colTracestate
	colHeaders
	colSize
	colPayload
	colCount
)

const (
	narrowChunk  = 64 << 10 // bytes of strings allocated at once
	payloadChunk = 1 << 20  // bytes of payloads allocated at once
	maxInterned  = 4096     // distinct topics, types and content types kept; beyond it the table starts anew
)

// decoder turns binary rows into messages. Bytes are copied once, out of the connection's buffer into chunks that many messages share: nothing is allocated
// for a single row, unless it has headers. A chunk lives as long as the last message that points into it. Not safe for concurrent use.
type decoder struct {
	generations []relay.Generation
	narrow      []byte // what is left of the chunk
	wide        []byte
	names       map[string]string
}

func newDecoder(g []relay.Generation) *decoder {
	return &decoder{generations: g, names: map[string]string{}}
}

// message fills m from row, whose columns are those above, in binary.
func (d *decoder) message(m *relay.Message, row [][]byte) error {
	if len(row) < colCount || len(row[colID]) != 8 || len(row[colCreatedAt]) != 8 || row[colTopic] == nil {
		return fmt.Errorf("%w: a log row came in another shape", errLocal)
	}
	m.ID = relay.ID(binary.BigEndian.Uint64(row[colID]))
	m.CreatedAt, m.DeliverAfter = moment(row[colCreatedAt]), moment(row[colDeliverAfter])
	m.Topic, m.Type, m.ContentType = d.name(row[colTopic]), d.name(row[colType]), d.name(row[colContentType])
	m.Key, m.Traceparent, m.Tracestate = d.text(row[colKey]), d.text(row[colTraceparent]), d.text(row[colTracestate])
	if m.MessageID = d.text(row[colMessageID]); row[colMessageID] == nil {
		m.MessageID = d.ownID(m.ID)
		if kp.Planted(kp.NewMessageID) {
			m.MessageID += "-" + strconv.FormatUint(rand.Uint64(), 16)
		}
	}
	if row[colHeaders] != nil {
		m.Headers = headers(row[colHeaders])
	}
	if row[colSize] == nil {
		m.Tombstone = true
		return nil
	}
	m.Size = int(int32(binary.BigEndian.Uint32(row[colSize])))
	if row[colPayload] != nil {
		m.Payload = d.payload(row[colPayload])
	}
	return nil
}

// moment reads a timestamptz: microseconds since 2000. Infinity becomes the end or the start of PostgreSQL's own range; null and -infinity are the zero time.
func moment(b []byte) time.Time {
	if len(b) != 8 {
		return time.Time{}
	}
	switch us := int64(binary.BigEndian.Uint64(b)); us {
	case math.MinInt64:
		return time.Time{}
	case math.MaxInt64:
		return time.Date(294276, 12, 31, 23, 59, 59, 0, time.UTC)
	default:
		return time.Unix(946684800+floorDiv(us, 1e6), (us-floorDiv(us, 1e6)*1e6)*1000).UTC()
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// name returns a string that many messages share.
func (d *decoder) name(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	if len(d.names) >= maxInterned {
		clear(d.names)
	}
	s := string(b)
	d.names[s] = s
	return s
}

// text copies b into the chunk of strings. The bytes are never written again, which is what makes a string of them.
func (d *decoder) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > cap(d.narrow)-len(d.narrow) {
		d.narrow = make([]byte, 0, max(narrowChunk, len(b)))
	}
	at := len(d.narrow)
	d.narrow = append(d.narrow, b...)
	return unsafe.String(&d.narrow[at], len(b))
}

// ownID is the message id of a row to which the application gave none: <uuid of the generation of its id>-<id>.
func (d *decoder) ownID(id relay.ID) string {
	uuid := ""
	for _, g := range d.generations {
		if g.From > id {
			break
		}
		uuid = g.UUID
	}
	var buf [64]byte
	b := append(buf[:0], uuid...)
	b = append(b, '-')
	return d.text(strconv.AppendInt(b, int64(id), 10))
}

func (d *decoder) payload(b []byte) []byte {
	if len(b) == 0 {
		return []byte{} // not nil: empty is not a tombstone
	}
	if len(b) > payloadChunk/4 { // a large one lives and dies alone
		return append([]byte(nil), b...)
	}
	if len(b) > cap(d.wide)-len(d.wide) {
		d.wide = make([]byte, 0, payloadChunk)
	}
	at := len(d.wide)
	d.wide = append(d.wide, b...)
	return d.wide[at:len(d.wide):len(d.wide)]
}

// headers reads a jsonb object, in jsonb's own order, which is the same in every copy. publish lets only flat objects of strings through; what a plain INSERT
// wrote instead is carried as JSON text, because a strange header must not stop a message.
func headers(b []byte) []relay.Header {
	if len(b) > 0 && b[0] == 1 { // version of the binary form
		b = b[1:]
	}
	var out []relay.Header
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return []relay.Header{{Name: "headers", Value: string(b)}}
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			break // cannot happen: the server checked it
		}
		var raw json.RawMessage
		if dec.Decode(&raw) != nil {
			break
		}
		var value string
		if json.Unmarshal(raw, &value) != nil || string(raw) == "null" {
			value = string(raw)
		}
		out = append(out, relay.Header{Name: fmt.Sprint(name), Value: value})
	}
	return out
}
