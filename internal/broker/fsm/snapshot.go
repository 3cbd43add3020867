package fsm

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
)

// Snapshot appends the state to dst. A state has one form: nodes that applied the same entries write the same bytes, however often one of them did so before.
// Snapshot forgets the producers that are silent for so long that Apply takes them for unknown; it may not be called beside Apply or a read.
//
// Little endian; a number without a type is a uvarint, with s a zigzag varint, each in its shortest form. There is no checksum: who stores it adds one.
//
//	 0 version u8 = 1 | 1 kind u8 = 1 | 2 time, ms u64
//	10 count, sources by id: id, 16 bytes | epoch
//	   count, partitions by id: id u32 | start | next
//	     count, leader epochs, oldest first: term | first offset
//	     count, producers by id: id | epoch u16 | ms since it wrote | count u8, batches, oldest first: first u32 | last u32 | base
//	     count, cursors by source: source, 16 bytes | epoch | seq | floor s | highest id s
//	       count, batches of the window, oldest first: offsets between the batch before and this one | count
//	         ids s, each less the one before it in the window, 0 before the first | sums u32
func (d *Data) Snapshot(dst []byte) []byte {
	dst = append(dst, snapshotVersion, snapshotData)
	dst = le.AppendUint64(dst, uint64(d.time))
	dst = binary.AppendUvarint(dst, uint64(len(d.epochs)))
	for _, id := range sortedSources(d.epochs) {
		dst = append(dst, id[:]...)
		dst = binary.AppendUvarint(dst, d.epochs[id])
	}
	dst = binary.AppendUvarint(dst, uint64(len(d.partitions)))
	for _, id := range slices.Sorted(maps.Keys(d.partitions)) {
		dst = le.AppendUint32(dst, id)
		dst = d.partitions[id].snapshot(dst, d.time)
	}
	return dst
}

func sortedSources[V any](m map[SourceID]V) []SourceID {
	return slices.SortedFunc(maps.Keys(m), func(a, b SourceID) int { return bytes.Compare(a[:], b[:]) })
}

func (p *Partition) snapshot(dst []byte, now int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(p.start))
	dst = binary.AppendUvarint(dst, uint64(p.next))
	dst = binary.AppendUvarint(dst, uint64(len(p.epochs)))
	for _, e := range p.epochs {
		dst = binary.AppendUvarint(dst, e.term)
		dst = binary.AppendUvarint(dst, uint64(e.offset))
	}
	dst = p.producers.snapshot(dst, now)
	dst = binary.AppendUvarint(dst, uint64(len(p.cursors)))
	for _, id := range sortedSources(p.cursors) {
		dst = append(dst, id[:]...)
		dst = p.cursors[id].snapshot(dst)
	}
	return dst
}

func (p producers) snapshot(dst []byte, now int64) []byte {
	p.forget(now)
	dst = binary.AppendUvarint(dst, uint64(len(p)))
	for _, id := range slices.Sorted(maps.Keys(p)) {
		known := p[id]
		dst = binary.AppendUvarint(dst, uint64(id))
		dst = le.AppendUint16(dst, uint16(known.epoch))
		dst = binary.AppendUvarint(dst, uint64(now-known.wrote))
		dst = append(dst, byte(len(known.known)))
		for _, k := range known.known {
			dst = le.AppendUint32(dst, uint32(k.first))
			dst = le.AppendUint32(dst, uint32(k.last))
			dst = binary.AppendUvarint(dst, uint64(k.base))
		}
	}
	return dst
}

func (c *Cursor) snapshot(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, c.epoch)
	dst = binary.AppendUvarint(dst, c.seq)
	dst = binary.AppendVarint(dst, c.floor)
	dst = binary.AppendVarint(dst, c.highest)
	dst = binary.AppendUvarint(dst, uint64(len(c.window)))
	end, last := int64(0), int64(0)
	for _, b := range c.window {
		dst = binary.AppendUvarint(dst, uint64(b.base-end))
		dst = binary.AppendUvarint(dst, uint64(len(b.ids)))
		for _, id := range b.ids {
			dst = binary.AppendVarint(dst, id-last) // may wrap; the sum wraps back
			last = id
		}
		for _, id := range b.ids {
			dst = le.AppendUint32(dst, c.stored[id].sum)
		}
		end = b.base + int64(len(b.ids))
	}
	return dst
}
