package fsm

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// batchHeader is the length of the header of a Kafka record batch, version 2.
const batchHeader = 61

// ErrBatch means that bytes are no whole record batch of version 2.
var ErrBatch = errors.New("not a whole Kafka record batch of version 2")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is what the header of a Kafka record batch says. Big endian, as on Kafka's wire:
//
//	 0 base offset i64 | 8 length i32 of what follows | 12 leader epoch i32 | 16 magic i8 = 2
//	17 crc u32 of bytes 21 to the end, Castagnoli | 21 attributes i16 | 23 last offset delta i32
//	27 base timestamp i64 | 35 max timestamp i64 | 43 producer id i64 | 51 epoch i16 | 53 base sequence i32 | 57 count i32
type Batch struct {
	Count        int32
	MaxTimestamp int64
	Producer     ProducerBatch // ID -1 = not idempotent
}

// ParseBatch reads the header of a batch that fills b, and checks its length, its crc and that it is one batch without a gap in its offsets. It does not look
// into the records.
func ParseBatch(b []byte) (Batch, error) {
	batch, err := parseBatchHeader(b)
	if err == nil && binary.BigEndian.Uint32(b[17:]) != crc32.Checksum(b[21:], castagnoli) {
		err = ErrBatch
	}
	return batch, err
}

// parseBatchHeader is ParseBatch without the crc, which whoever proposes a batch has checked: an entry has a crc of its own.
func parseBatchHeader(b []byte) (Batch, error) {
	be := binary.BigEndian
	if len(b) < batchHeader || int64(be.Uint32(b[8:])) != int64(len(b)-12) || b[16] != 2 {
		return Batch{}, ErrBatch
	}
	count := int32(be.Uint32(b[57:]))
	if count < 1 || int32(be.Uint32(b[23:])) != count-1 {
		return Batch{}, ErrBatch
	}
	return Batch{Count: count, MaxTimestamp: int64(be.Uint64(b[35:])),
		Producer: ProducerBatch{ID: int64(be.Uint64(b[43:])), Epoch: int16(be.Uint16(b[51:])), First: int32(be.Uint32(b[53:])), Count: count}}, nil
}
