package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/group"
)

// journal keeps what consumer groups must not forget in a topic of one partition, which clients do not see. A row of changes is one or more record batches of one
// record each, whose value is a flag and bytes:
//
//	flags u8: 1 the first of its row, 2 the last, 4 the row is a snapshot: all before it is void
//	bytes of the row: length uvarint, change; and so on
//
// A row that was not finished counts for nothing. As snapshots come often enough, the topic may lose its oldest batches by size.
type journal struct {
	log      Log
	since    int   // bytes behind the newest snapshot
	snapshot int64 // offset where the newest snapshot begins
}

const (
	journalTopic = hiddenPrefix + "groups"
	journalBytes = 512 << 20 // kept at most: several snapshots of the most that groups may weigh
	journalPiece = 900 << 10 // of a row in one batch: a batch is 1 MiB at most
	journalEvery = 16 << 20  // bytes between snapshots

	rowFirst    = 1
	rowLast     = 2
	rowSnapshot = 4
)

// errJournal means that the groups' own topic does not hold what was written there.
var errJournal = fmt.Errorf("the topic %s does not hold what this program has written there: waybill broker verify says whether it is damaged", journalTopic)

// load gives a coordinator all that is kept.
func (j *journal) load(ctx context.Context, fresh func() *group.Coordinator) (*group.Coordinator, error) {
	err := j.log.CreateTopic(ctx, broker.Topic{Name: journalTopic, Partitions: 1, Retention: -1, Bytes: journalBytes})
	if err != nil && !errors.Is(err, broker.ErrTopicExists) {
		return nil, err
	}
	c := fresh()
	at, high, err := j.log.Bounds(journalTopic, 0)
	j.since, j.snapshot = 0, at
	var row []byte
	inside, begun := false, at
	for at < high && err == nil {
		var batches []broker.StoredBatch
		if batches, err = j.log.Read(ctx, journalTopic, 0, at, scan); err != nil || len(batches) == 0 {
			break
		}
		for _, b := range batches {
			flags, piece, bad := unpack(b.Bytes)
			if bad != nil {
				return nil, bad
			}
			if flags&rowFirst != 0 {
				row, inside, begun = row[:0], true, b.Base
			}
			if at = b.Base + 1; !inside {
				continue // the rest of a row that was trimmed
			}
			row, j.since = append(row, piece...), j.since+len(piece)
			if flags&rowLast == 0 {
				continue
			}
			if flags&rowSnapshot != 0 {
				c, j.since, j.snapshot = fresh(), 0, begun
			}
			if err := replay(c, row); err != nil {
				return nil, err
			}
			inside = false
		}
	}
	return c, err
}

func replay(c *group.Coordinator, row []byte) error {
	for len(row) > 0 {
		n, used := binary.Uvarint(row)
		if used <= 0 || n > uint64(len(row)-used) {
			return errJournal
		}
		x, err := group.DecodeChange(row[used : used+int(n)])
		if err != nil {
			return err
		}
		c.Replay(x)
		row = row[used+int(n):]
	}
	return nil
}

// store makes changes of c durable, if there are any; and now and then a snapshot in their place, which holds them too. After an error some of it may be stored.
func (j *journal) store(ctx context.Context, c *group.Coordinator, changes []group.Change) error {
	if !j.due() {
		if len(changes) == 0 {
			return nil
		}
		return j.write(ctx, changes, 0)
	}
	_, begun, err := j.log.Bounds(journalTopic, 0)
	if err == nil {
		err = j.write(ctx, c.Snapshot(), rowSnapshot)
	}
	if err == nil {
		j.since, j.snapshot = 0, begun
	}
	return err
}

// due says that a snapshot is to be written: there is much behind the newest one, or its beginning was trimmed.
func (j *journal) due() bool {
	start, _, err := j.log.Bounds(journalTopic, 0)
	return j.since > journalEvery || err == nil && start > j.snapshot
}

func (j *journal) write(ctx context.Context, changes []group.Change, flags byte) error {
	var row []byte
	for _, x := range changes {
		b := x.Append(nil)
		row = append(binary.AppendUvarint(row, uint64(len(b))), b...)
	}
	for first := byte(rowFirst); ; first = 0 {
		piece := row[:min(len(row), journalPiece)]
		row = row[len(piece):]
		last := byte(0)
		if len(row) == 0 {
			last = rowLast
		}
		if _, err := j.log.Append(ctx, journalTopic, 0, pack(flags|first|last, piece)); err != nil {
			return err
		}
		j.since += len(piece)
		if last != 0 {
			return nil
		}
	}
}

// pack makes a record batch of one record without key, time and headers.
func pack(flags byte, piece []byte) []byte {
	n := len(piece) + 1
	record := binary.AppendVarint([]byte{0, 0, 0, 1}, int64(n)) // attributes, time, offset, no key
	record = append(append(append(record, flags), piece...), 0)
	b := binary.AppendVarint(make([]byte, batchHeader, batchHeader+len(record)+binary.MaxVarintLen32), int64(len(record)))
	b = append(b, record...)
	be := binary.BigEndian
	be.PutUint32(b[8:], uint32(len(b)-12))
	be.PutUint32(b[batchEpochAt:], 1<<32-1)
	b[batchMagicAt] = 2
	be.PutUint64(b[43:], 1<<64-1) // no producer
	be.PutUint16(b[51:], 1<<16-1)
	be.PutUint32(b[53:], 1<<32-1)
	be.PutUint32(b[batchCountAt:], 1)
	be.PutUint32(b[17:], crc32.Checksum(b[batchAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func unpack(b []byte) (flags byte, piece []byte, err error) {
	if len(b) < batchHeader || binary.BigEndian.Uint32(b[batchCountAt:]) != 1 {
		return 0, nil, errJournal
	}
	r := b[batchHeader:]
	n, used := binary.Varint(r)
	if used <= 0 || n != int64(len(r)-used) || n < 6 || r[used+3] != 1 {
		return 0, nil, errJournal
	}
	r = r[used+4:]
	n, used = binary.Varint(r)
	if used <= 0 || n < 1 || n != int64(len(r)-used-1) {
		return 0, nil, errJournal
	}
	return r[used], r[used+1 : used+int(n)], nil
}
