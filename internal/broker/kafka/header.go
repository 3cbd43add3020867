package kafka

import (
	"encoding/binary"
	"errors"
)

// headerBytes is the least length of a request: key i16, version i16, correlation i32.
const headerBytes = 8

// errMalformed means that bytes are no request.
var errMalformed = errors.New("bytes that are no request of Kafka's protocol")

// header is what stands before each request.
type header struct {
	key, version int16
	correlation  int32
	client       string
}

// parseHeader reads the header of a request: key, version, correlation, client id (length i16, -1 = none), and for flexible requests tags. The body lies in b.
func parseHeader(b []byte) (h header, body []byte, err error) {
	if len(b) < headerBytes {
		return h, nil, errMalformed
	}
	be := binary.BigEndian
	h = header{key: int16(be.Uint16(b)), version: int16(be.Uint16(b[2:])), correlation: int32(be.Uint32(b[4:]))}
	r := cursor{b: b[headerBytes:]}
	h.client = string(r.take(int(max(0, r.int16()))))
	if a := find(h.key); a != nil && a.flexible(h.version) {
		r.tags()
	}
	if r.bad {
		return h, nil, errMalformed
	}
	return h, r.b, nil
}

// cursor walks over bytes of the protocol without taking memory. Behind the first fault it stays at the end.
type cursor struct {
	b     []byte
	bad   bool
	items int // elements of arrays, and tags
}

func (r *cursor) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.b, r.bad = nil, true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *cursor) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *cursor) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *cursor) uvarint() int {
	n, used := binary.Uvarint(r.b)
	if used <= 0 || n > 1<<31 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[used:]
	return int(n)
}

// tags are a count, and each a number and its bytes.
func (r *cursor) tags() {
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		r.uvarint()
		r.take(r.uvarint())
		r.items++
	}
}

// text is a string that may be missing.
func (r *cursor) text(flexible bool) {
	if flexible {
		r.take(max(0, r.uvarint()-1))
		return
	}
	r.take(int(max(0, r.int16())))
}

// bytes may be missing too.
func (r *cursor) bytes(flexible bool) {
	if flexible {
		r.take(max(0, r.uvarint()-1))
		return
	}
	r.take(int(max(0, r.int32())))
}

func (r *cursor) count(flexible bool) int {
	if flexible {
		return r.uvarint() - 1
	}
	return int(r.int32())
}

// produceItems counts topics, partitions and tags of a Produce request; false when it is cut off. Its records may fill the largest request, and taken for counts
// they would cost hundreds of times as much.
func produceItems(b []byte, version int16) (items int, whole bool) {
	flexible := version >= 9
	r := cursor{b: b}
	if version >= 3 {
		r.text(flexible)
	}
	r.take(6) // acks, timeout
	for topics := r.count(flexible); topics > 0 && !r.bad; topics-- {
		r.items++
		r.text(flexible)
		for partitions := r.count(flexible); partitions > 0 && !r.bad; partitions-- {
			r.items++
			r.take(4)
			r.bytes(flexible)
			if flexible {
				r.tags()
			}
		}
		if flexible {
			r.tags()
		}
	}
	if flexible {
		r.tags()
	}
	return r.items, !r.bad
}
