package record

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

// Record is one record of a batch.
type Record struct {
	Offset  int64
	At      time.Time // to the millisecond
	Key     []byte    // nil = null
	Value   []byte    // nil = null, a tombstone
	Headers []Header
}

// Header is a header as bytes: other producers may write what is not text.
type Header struct {
	Name  string
	Value []byte
}

// ErrBatch means that bytes are no whole, uncompressed record batch of version 2.
var ErrBatch = errors.New("not a whole, uncompressed Kafka record batch of version 2")

// Decode gives f every record of one batch, which fills b. Keys, values and headers lie in b. It ends with the first error of f.
func Decode(b []byte, f func(Record) error) error {
	be := binary.BigEndian
	if len(b) < batchHead || int64(be.Uint32(b[8:])) != int64(len(b)-12) || b[16] != 2 || be.Uint32(b[17:]) != crc32.Checksum(b[crcFrom:], castagnoli) || b[22]&7 != 0 {
		return ErrBatch
	}
	base, first := int64(be.Uint64(b)), int64(be.Uint64(b[27:]))
	d := decoder{b: b[batchHead:]}
	for n := int32(be.Uint32(b[57:])); n > 0; n-- {
		r := decoder{b: d.bytes(d.varint())}
		r.bytes(1) // attributes
		at := r.varint()
		rec := Record{Offset: base + r.varint(), At: time.UnixMilli(first + at)}
		rec.Key = r.bytes(r.varint())
		rec.Value = r.bytes(r.varint())
		count := r.varint()
		if count < 0 || count > int64(len(r.b)) {
			return ErrBatch
		}
		for range count {
			name := r.bytes(r.varint())
			rec.Headers = append(rec.Headers, Header{Name: string(name), Value: r.bytes(r.varint())})
		}
		if d.bad || r.bad || len(r.b) > 0 {
			return ErrBatch
		}
		if err := f(rec); err != nil {
			return err
		}
	}
	if len(d.b) > 0 {
		return ErrBatch
	}
	return nil
}

// decoder takes bytes off a slice; once something is missing it is bad and gives nothing.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// bytes returns the next n bytes, nil for -1.
func (d *decoder) bytes(n int64) []byte {
	if n == -1 {
		return nil
	}
	if n < 0 || n > int64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}
