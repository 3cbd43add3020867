package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// Limits of the format.
const (
	MaxFrame = 8 << 20                                   // bytes of a frame, with header and padding
	MaxBody  = MaxFrame - frameHeaderSize - recordHeader // bytes of a record's body

	version         = 1
	align           = vfs.Block // frames and the segment header begin on it
	frameHeaderSize = 40
	recordHeader    = 24
	recordAlign     = 8
)

var (
	segmentMagic = [4]byte{'W', 'B', 'L', 'G'}
	frameMagic   = [4]byte{'W', 'B', 'F', '1'}
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
	le           = binary.LittleEndian
)

// UUID names a node's incarnation or a cluster.
type UUID [16]byte

// Kind says what a record is. The log itself uses none of them; they are here because all users share one space of numbers.
type Kind uint8

// Kinds below 32 are the broker's, from 32 on the degraded cache's. A first index (index, term) says that what its stream held is void, and that the entries behind
// it follow.
const (
	KindEntry          Kind = 1
	KindHardState      Kind = 2
	KindMembership     Kind = 3
	KindCheckpointPart Kind = 4
	KindCheckpointEnd  Kind = 5
	KindFirstIndex     Kind = 6
	KindRepairedEntry  Kind = 7
	KindSuspect        Kind = 8
)

// Record is what is appended and read.
type Record struct {
	Kind   Kind
	Flags  uint8
	Stream uint16 // a raft group, or a lane of the cache
	Index  uint64
	Term   uint64
	Body   []byte
}

// recordSize is the length of a record in a frame: header, body, padding to 8.
func recordSize(body int) int {
	return (recordHeader + body + recordAlign - 1) / recordAlign * recordAlign
}

// appendRecord encodes r behind dst:
//
//	0 kind u8 | 1 flags u8 | 2 stream u16 | 4 body length u32 | 8 index u64 | 16 term u64 | 24 body, zeros up to a multiple of 8
func appendRecord(dst []byte, r Record) []byte {
	dst = append(dst, byte(r.Kind), r.Flags)
	dst = le.AppendUint16(dst, r.Stream)
	dst = le.AppendUint32(dst, uint32(len(r.Body)))
	dst = le.AppendUint64(dst, r.Index)
	dst = le.AppendUint64(dst, r.Term)
	dst = append(dst, r.Body...)
	return append(dst, make([]byte, recordSize(len(r.Body))-recordHeader-len(r.Body))...)
}

var errRecord = errors.New("a record does not end inside its frame")

// readRecord decodes the first record of b, whose Body lies in b, and returns its length.
func readRecord(b []byte) (r Record, n int, err error) {
	if len(b) < recordHeader {
		return Record{}, 0, errRecord
	}
	body := int(le.Uint32(b[4:]))
	if body > MaxBody || recordSize(body) > len(b) {
		return Record{}, 0, errRecord
	}
	r = Record{Kind: Kind(b[0]), Flags: b[1], Stream: le.Uint16(b[2:]), Index: le.Uint64(b[8:]), Term: le.Uint64(b[16:]),
		Body: b[recordHeader : recordHeader+body : recordHeader+body]}
	return r, recordSize(body), nil
}

// segmentHeader is the first page of a segment:
//
//	 0 magic "WBLG" | 4 version u32 = 1
//	 8 crc of bytes 12 to 4095 | 12 alignment u32
//	16 number u64 | 24 nonce u64: random, never 0
//	32 node incarnation | 48 cluster
//	64 opens u64: starts of this log so far
//	72 first frame seq u64 | 80 last crc of the segment before u32
//	88 segment at which reading begins, of the newest checkpoint before; 0 = none was written
type segmentHeader struct {
	Number  uint64
	Nonce   uint64
	Node    UUID
	Cluster UUID
	Opens   uint64
	First   uint64 // seq of its first frame
	Seed    uint32 // crc of the last frame before, with which its first frame's begins
	From    uint64 // scanFrom of the newest checkpoint before; 0 = none
}

func (h *segmentHeader) encode() []byte {
	b := make([]byte, align)
	copy(b, segmentMagic[:])
	le.PutUint32(b[4:], version)
	le.PutUint32(b[12:], align)
	le.PutUint64(b[16:], h.Number)
	le.PutUint64(b[24:], h.Nonce)
	copy(b[32:], h.Node[:])
	copy(b[48:], h.Cluster[:])
	le.PutUint64(b[64:], h.Opens)
	le.PutUint64(b[72:], h.First)
	le.PutUint32(b[80:], h.Seed)
	le.PutUint64(b[88:], h.From)
	le.PutUint32(b[8:], crc32.Checksum(b[12:], castagnoli))
	return b
}

// errHeader means that a segment has no readable header.
var errHeader = errors.New("the header of the segment cannot be read")

// ErrVersion means that a newer program wrote the log.
var ErrVersion = errors.New("written by a newer version of the program")

func decodeSegmentHeader(b []byte) (h segmentHeader, err error) {
	if len(b) < align || [4]byte(b) != segmentMagic || le.Uint32(b[8:]) != crc32.Checksum(b[12:align], castagnoli) {
		return h, errHeader
	}
	if v := le.Uint32(b[4:]); v != version {
		return h, fmt.Errorf("format %d: %w", v, ErrVersion)
	}
	h = segmentHeader{Number: le.Uint64(b[16:]), Nonce: le.Uint64(b[24:]), Node: UUID(b[32:48]), Cluster: UUID(b[48:64]), Opens: le.Uint64(b[64:]),
		First: le.Uint64(b[72:]), Seed: le.Uint32(b[80:]), From: le.Uint64(b[88:])}
	if h.Nonce == 0 || le.Uint32(b[12:]) != align {
		return h, errHeader
	}
	return h, nil
}

// Flags of a frame.
const (
	flagMarker uint16 = 1 << iota // empty: from here on damage before it cannot pass for a torn write
	flagClean                     // the log was closed in order behind it
	flagLast                      // the last frame of its segment
)

// frameHeader is the head of a frame, which ends with zeros up to a page:
//
//	 0 magic "WBF1" | 4 crc u32 of bytes 8 to the end of the records, seeded with the crc of the frame before
//	 8 nonce u64 of the segment | 16 seq u64: one more than the frame before
//	24 synced u64: the highest seq whose sync had returned
//	32 length of the records u32 | 36 their count u16 | 38 flags u16
//	40 records
type frameHeader struct {
	CRC    uint32
	Nonce  uint64
	Seq    uint64
	Synced uint64
	Length uint32
	Count  uint16
	Flags  uint16
}

// size of the whole frame with header and padding.
func (h *frameHeader) size() int64 {
	return (frameHeaderSize + int64(h.Length) + align - 1) / align * align
}

// seal completes a frame whose records stand in b behind room for the header: it fills the header and pads to a page.
func (h *frameHeader) seal(b []byte, seed uint32) []byte {
	h.Length = uint32(len(b) - frameHeaderSize)
	copy(b, frameMagic[:])
	le.PutUint64(b[8:], h.Nonce)
	le.PutUint64(b[16:], h.Seq)
	le.PutUint64(b[24:], h.Synced)
	le.PutUint32(b[32:], h.Length)
	le.PutUint16(b[36:], h.Count)
	le.PutUint16(b[38:], h.Flags)
	h.CRC = crc32.Update(seed, castagnoli, b[8:])
	le.PutUint32(b[4:], h.CRC)
	return append(b, make([]byte, h.size()-int64(len(b)))...)
}

// decodeFrameHeader reads a header and says whether one stands there at all; nothing is proven by it.
func decodeFrameHeader(b []byte) (h frameHeader, ok bool) {
	if len(b) < frameHeaderSize || [4]byte(b) != frameMagic {
		return h, false
	}
	h = frameHeader{CRC: le.Uint32(b[4:]), Nonce: le.Uint64(b[8:]), Seq: le.Uint64(b[16:]), Synced: le.Uint64(b[24:]), Length: le.Uint32(b[32:]),
		Count: le.Uint16(b[36:]), Flags: le.Uint16(b[38:])}
	return h, h.size() <= MaxFrame
}

// whole says whether b holds the frame with this header undamaged, coming after one with crc seed.
func (h *frameHeader) whole(b []byte, seed uint32) bool {
	end := frameHeaderSize + int64(h.Length)
	return int64(len(b)) >= end && crc32.Update(seed, castagnoli, b[8:end]) == h.CRC
}

// records calls each for every record of a whole frame, which begins at b.
func (h *frameHeader) records(b []byte, each func(at int, r Record) error) error {
	at, end := frameHeaderSize, frameHeaderSize+int(h.Length)
	for range h.Count {
		r, n, err := readRecord(b[at:end])
		if err == nil {
			err = each(at, r)
		}
		if err != nil {
			return err
		}
		at += n
	}
	if at != end {
		return errRecord
	}
	return nil
}
