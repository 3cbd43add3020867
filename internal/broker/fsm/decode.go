package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrSnapshot means that bytes are no snapshot which this version of the program has written.
var ErrSnapshot = errors.New("not a snapshot that this version of the program can read")

const (
	snapshotVersion = 1

	snapshotData = 1 // kinds
	snapshotMeta = 2
)

// decoder reads a snapshot from its front. After the first fault every read gives zero, and err stays.
type decoder struct {
	b   []byte
	err error
}

// newDecoder stands behind the first two bytes: version u8, kind u8.
func newDecoder(b []byte, kind byte) *decoder {
	d := &decoder{b: b}
	if version := d.u8(); d.err == nil && version != snapshotVersion {
		d.fail("it has version %d, known is %d", version, snapshotVersion)
	}
	d.want(d.u8() == kind, "it is of another group's kind")
	return d
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(format, args...))
	}
	d.b = nil
}

// want fails with a sentence unless something holds.
func (d *decoder) want(holds bool, otherwise string) {
	if !holds {
		d.fail("%s", otherwise)
	}
}

// end is the error of the whole; bytes that are left are one.
func (d *decoder) end() error {
	d.want(len(d.b) == 0, "it goes on behind its end")
	return d.err
}

// take gives the next n bytes, which lie in the snapshot.
func (d *decoder) take(n int) []byte {
	if len(d.b) < n {
		d.fail("it is cut off")
		return make([]byte, n)
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) u8() uint8    { return d.take(1)[0] }
func (d *decoder) u16() uint16  { return le.Uint16(d.take(2)) }
func (d *decoder) u32() uint32  { return le.Uint32(d.take(4)) }
func (d *decoder) u64() uint64  { return le.Uint64(d.take(8)) }
func (d *decoder) id() [16]byte { return [16]byte(d.take(16)) }

// uvarint takes the shortest form only, so that a state has one form.
func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.fail("a number is cut off, too large or longer than need be")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// varint is a zigzag number, as [binary.AppendVarint] writes it.
func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// upTo is a uvarint from 0 to limit.
func (d *decoder) upTo(limit int64) int64 {
	v := d.uvarint()
	if limit < 0 || v > uint64(limit) {
		d.fail("a number is higher than it can be")
		return 0
	}
	return int64(v)
}

// number is a uvarint that is an int64.
func (d *decoder) number() int64 { return d.upTo(math.MaxInt64) }

// count is a uvarint: how many items of at least size bytes follow. So many items as it lets pass can be allocated.
func (d *decoder) count(size int) int { return int(d.upTo(int64(len(d.b) / size))) }
