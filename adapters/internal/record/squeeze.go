package record

import "encoding/binary"

// Codec numbers of a batch's attributes (Kafka documentation, "Record Batch").
const (
	CodecGzip   = 1
	CodecSnappy = 2
	CodecLZ4    = 3
	CodecZstd   = 4
)

const attributesAt = 21

// Squeeze puts into dst[:0] the batch in buf, which has all its records and is not finished, with the records as pack makes them; Finish follows. pack appends
// to what it gets. What is not smaller stays as it is: then it returns buf and false, so that no batch is larger than without compression.
func (e *Encoder) Squeeze(dst, buf []byte, codec int, pack func(dst, records []byte) ([]byte, error)) (batch []byte, smaller bool) {
	const head = SizePrefix + batchHead
	out, err := pack(e.Begin(dst), buf[head:])
	if err != nil || len(out) >= len(buf) {
		return buf, false
	}
	binary.BigEndian.PutUint16(out[SizePrefix+attributesAt:], uint16(codec))
	return out, true
}
