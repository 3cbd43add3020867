package fsm

import (
	"bytes"

	"github.com/waybillmq/waybill/internal/kp"
)

// The fewest bytes that an item of a snapshot takes.
const (
	minSource    = 17
	minPartition = 9
	minEpoch     = 2
	minProducer  = 14
	minCursor    = 21
	minBatch     = 7
	minStored    = 5
)

// RestoreData is the state that [Data.Snapshot] wrote; it keeps nothing of b. Any other bytes are [ErrSnapshot], with a reason: what Apply rests on is checked, and
// no more is allocated than a small multiple of b.
func RestoreData(b []byte) (*Data, error) {
	d, s := NewData(), newDecoder(b, snapshotData)
	d.time = int64(s.u64())
	s.want(d.time >= 0, "its time is negative")
	last := SourceID{}
	for i, n := 0, s.count(minSource); i < n && s.err == nil; i++ {
		id := s.source(i, &last)
		d.epochs[id] = s.uvarint()
	}
	for i, n, last := 0, s.count(minPartition), uint32(0); i < n && s.err == nil; i++ {
		id := s.u32()
		s.want(i == 0 || id > last, "its partitions are not in order")
		d.partitions[id], last = s.partition(d), id
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	for _, p := range d.partitions {
		if kp.Planted(kp.WindowForgotten) {
			clear(p.cursors)
		}
	}
	return d, nil
}

// source is the id of source i of a list, higher than the last one.
func (s *decoder) source(i int, last *SourceID) SourceID {
	id := SourceID(s.id())
	s.want(i == 0 || bytes.Compare(id[:], last[:]) > 0, "its sources are not in order")
	*last = id
	return id
}

func (s *decoder) partition(d *Data) *Partition {
	p := newPartition()
	p.start, p.next = s.number(), s.number()
	s.want(p.start <= p.next, "a partition begins behind its end")
	p.epochs = s.leaderEpochs(p.next)
	for n, last := s.count(minProducer), int64(-1); n > 0 && s.err == nil; n-- {
		id := s.number()
		s.want(id > last, "the producers of a partition are not in order")
		p.producers[id], last = s.producer(p.next, d.time), id
	}
	last := SourceID{}
	for i, n := 0, s.count(minCursor); i < n && s.err == nil; i++ {
		id := s.source(i, &last)
		c := s.cursor(p.next)
		s.want(c.epoch <= d.epochs[id], "a partition knows a higher epoch of a source than the group")
		p.cursors[id] = c
	}
	return p
}

func (s *decoder) leaderEpochs(next int64) []epochStart {
	n := s.count(minEpoch)
	if n > leaderEpochs {
		s.fail("a partition has more than %d leader epochs", leaderEpochs)
		return nil
	}
	epochs := make([]epochStart, n)
	for i := range epochs {
		epochs[i] = epochStart{s.uvarint(), s.upTo(next - 1)}
		s.want(i == 0 || epochs[i].term != epochs[i-1].term && epochs[i].offset > epochs[i-1].offset, "the leader epochs of a partition are not in order")
	}
	return epochs
}

func (s *decoder) producer(next, now int64) *producer {
	p := &producer{epoch: int16(s.u16())}
	p.wrote = now - s.upTo(now)
	n := int(s.u8())
	if n < 1 || n > producerMemory {
		s.fail("a producer has %d batches, not 1 to %d", n, producerMemory)
		return p
	}
	p.known = make([]knownBatch, n)
	for i := range p.known {
		k := knownBatch{int32(s.u32()), int32(s.u32()), s.upTo(next - 1)}
		s.want(k.last >= 0, "a sequence number is negative")
		s.want(i == 0 || k.base > p.known[i-1].base, "the batches of a producer are not in order")
		p.known[i] = k
	}
	return p
}

func (s *decoder) cursor(next int64) *Cursor {
	c := newCursor()
	c.epoch, c.seq, c.floor, c.highest = s.uvarint(), s.uvarint(), s.varint(), s.varint()
	s.want(c.floor >= -1 && c.floor <= next && c.highest >= -1, "the floor or the highest id of a source is out of range")
	end, last := int64(0), int64(0)
	for n := s.count(minBatch); n > 0 && s.err == nil; n-- {
		base := end + s.upTo(next-end)
		b := windowBatch{base: base, ids: make([]int64, s.count(minStored))}
		end = base + int64(len(b.ids))
		s.want(len(b.ids) > 0 && end <= next && end > c.floor, "a batch of a window does not lie between the floor and the end")
		for i := range b.ids {
			last += s.varint()
			b.ids[i] = last
		}
		for i, id := range b.ids {
			_, twice := c.stored[id]
			s.want(!twice && id <= c.highest, "an id is twice in a window, or above the highest")
			c.stored[id] = storedID{base + int64(i), s.u32()}
		}
		c.window = append(c.window, b)
	}
	return c
}
