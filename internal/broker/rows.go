package broker

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// row says where one batch of a partition lies: in a command of an entry of the log.
type row struct {
	base    int64 // offset of its first record
	at      commitlog.Position
	command uint16
	time    int64 // ms, of its entry
	size    int32 // bytes of the command
}

// rows are the batches of a partition that are kept, in the order of their offsets. The machine's lock guards them.
type rows struct {
	list    []row
	bytes   int64
	waiters map[waiter]struct{} // told of the next change; nil = nobody waits
}

func (r *rows) add(x row) {
	r.list = append(r.list, x)
	r.bytes += int64(x.size)
	r.wake()
}

// wake lets those go on that wait for more.
func (r *rows) wake() {
	for w := range r.waiters {
		select {
		case w <- struct{}{}:
		default: // told by another partition
		}
	}
	r.waiters = nil
}

// wait has w told of the next change.
func (r *rows) wait(w waiter) {
	if r.waiters == nil {
		r.waiters = map[waiter]struct{}{}
	}
	r.waiters[w] = struct{}{}
}

// trim forgets the batches that lie below start as a whole.
func (r *rows) trim(start int64) {
	n := 0
	for n+1 < len(r.list) && r.list[n+1].base <= start {
		r.bytes -= int64(r.list[n].size)
		n++
	}
	r.list = slices.Delete(r.list, 0, n)
}

// from is the index of the batch that holds an offset, or of the first one behind it.
func (r *rows) from(offset int64) int {
	i, exact := slices.BinarySearchFunc(r.list, offset, func(x row, offset int64) int { return cmp.Compare(x.base, offset) })
	if !exact && i > 0 {
		i--
	}
	return i
}

// appendRows: the count of partitions; each its id, the count of its rows, and per row base, segment, place, command, time, size, as varints of the difference
// to the row before.
func appendRows(dst []byte, all map[uint32]*rows) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(all)))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		list := all[id].list
		dst = binary.AppendUvarint(dst, uint64(id))
		dst = binary.AppendUvarint(dst, uint64(len(list)))
		var was row
		for _, x := range list {
			for _, d := range [...]int64{x.base - was.base, int64(x.at.Segment - was.at.Segment), x.at.At - was.at.At, int64(x.command) - int64(was.command), x.time - was.time, int64(x.size) - int64(was.size)} {
				dst = binary.AppendVarint(dst, d)
			}
			was = x
		}
	}
	return dst
}

func parseRows(b []byte) (map[uint32]*rows, error) {
	bad := false
	number := func() uint64 {
		n, used := binary.Uvarint(b)
		if used <= 0 {
			bad, used = true, len(b)
		}
		b = b[used:]
		return n
	}
	difference := func() int64 {
		n, used := binary.Varint(b)
		if used <= 0 {
			bad, used = true, len(b)
		}
		b = b[used:]
		return n
	}
	all := map[uint32]*rows{}
	for n := number(); n > 0 && !bad; n-- {
		id, count := number(), number()
		if count > uint64(len(b)) { // a row takes six bytes at least
			return nil, fsm.ErrSnapshot
		}
		r := &rows{list: make([]row, 0, count)}
		var x row
		for range count {
			x.base += difference()
			x.at.Segment += uint64(difference())
			x.at.At += difference()
			x.command += uint16(difference())
			x.time += difference()
			x.size += int32(difference())
			r.list = append(r.list, x)
			r.bytes += int64(x.size)
		}
		all[uint32(id)] = r
	}
	if bad || len(b) > 0 {
		return nil, fsm.ErrSnapshot
	}
	return all, nil
}
