package spool

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"time"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/relay"
)

// Kinds of records.
const (
	kindMessage commitlog.Kind = 32
	kindAck     commitlog.Kind = 33
	kindForget  commitlog.Kind = 34
)

// errRecord means that the bytes of a record are not those of its kind.
var errRecord = errors.New("the record cannot be read")

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// uuid is that of a generation.
type uuid [16]byte

func parseUUID(text string) (u uuid, err error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(raw) != len(u) {
		return u, fmt.Errorf("%q is no uuid of a generation", text)
	}
	return uuid(raw), nil
}

// seal writes the crc of a record into the first bytes of its body. It covers index, term, kind and flags too: bytes that stand at the place of another record
// must not pass for it, and the log checks its frames only when it is opened.
func seal(r commitlog.Record) commitlog.Record {
	le.PutUint32(r.Body, sum(&r))
	return r
}

func sum(r *commitlog.Record) uint32 {
	head := [18]byte{byte(r.Kind), r.Flags}
	le.PutUint64(head[2:], r.Index)
	le.PutUint64(head[10:], r.Term)
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, r.Body[4:])
}

// whole says whether a record is the one that was sealed.
func whole(r *commitlog.Record) bool {
	return len(r.Body) >= 4 && (le.Uint32(r.Body) == sum(r) || kp.Planted(kp.CacheCRCUnchecked))
}

// Strings are their length as uvarint and their bytes. Moments are seconds since 1970 as i64 and nanoseconds as u32.

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTime(b []byte, t time.Time) []byte {
	return le.AppendUint32(le.AppendUint64(b, uint64(t.Unix())), uint32(t.Nanosecond()))
}

func appendLane(b []byte, l relay.CacheLane) []byte {
	return appendString(appendString(le.AppendUint32(b, uint32(l.Lane.Index)), l.Destination), l.Lane.Topic)
}

// reader takes a body apart; after the first mistake all it gives is zero.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.failed, r.b = true, nil
	}
	if r.failed {
		return make([]byte, min(n, 16)) // never more than a fixed field
	}
	part := r.b[:n]
	r.b = r.b[n:]
	return part
}

func (r *reader) u32() uint32 { return le.Uint32(r.take(4)) }
func (r *reader) i64() int64  { return int64(le.Uint64(r.take(8))) }

func (r *reader) uuid() uuid { return uuid(r.take(16)) }

// number reads a uvarint in its shortest form.
func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.failed, r.b = true, nil
		return ""
	}
	return string(r.take(int(n)))
}

func (r *reader) time() time.Time {
	sec, ns := r.i64(), r.u32()
	if ns > 999_999_999 || sec < -1<<55 || sec > 1<<55 { // beyond, package time overflows
		r.failed = true
		return time.Time{}
	}
	return time.Unix(sec, int64(ns)).UTC()
}

func (r *reader) lane() relay.CacheLane {
	index := int32(r.u32())
	return relay.CacheLane{Destination: r.string(), Lane: relay.Lane{Topic: r.string(), Index: index}}
}

// id reads the index of a record as one.
func id(r *commitlog.Record) (relay.ID, bool) { return relay.ID(r.Index), r.Index <= math.MaxInt64 }
