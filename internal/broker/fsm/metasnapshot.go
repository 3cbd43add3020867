package fsm

import (
	"encoding/binary"
	"math"
)

// The fewest bytes that an item of a snapshot of the metadata takes.
const (
	minTopic = 23
	minPlace = 2
)

// Snapshot appends the state to dst. A state has one form: nodes that applied the same entries write the same bytes.
//
// Little endian; a number without a type is a uvarint, with s a zigzag varint, each in its shortest form. There is no checksum: who stores it adds one.
//
//	 0 version u8 = 1 | 1 kind u8 = 2 | 2 data groups u16 | 4 cluster, 16 bytes
//	20 last partition id given | blocks of producer ids given
//	   count, topics by name: length of the name u8, name | uuid, 16 bytes | retention, ms s | retention, bytes s
//	     count, partitions: id less the one before it in the topic, 0 before the first | group
func (m *Meta) Snapshot(dst []byte) []byte {
	dst = append(dst, snapshotVersion, snapshotMeta)
	dst = le.AppendUint16(dst, m.groups)
	dst = append(dst, m.cluster[:]...)
	dst = binary.AppendUvarint(dst, uint64(m.placed))
	dst = binary.AppendUvarint(dst, m.blocks)
	dst = binary.AppendUvarint(dst, uint64(len(m.topics)))
	for _, t := range m.Topics() {
		dst = append(dst, byte(len(t.Name)))
		dst = append(dst, t.Name...)
		dst = append(dst, t.UUID[:]...)
		dst = binary.AppendVarint(dst, t.RetentionMS)
		dst = binary.AppendVarint(dst, t.RetentionBytes)
		dst = binary.AppendUvarint(dst, uint64(len(t.Partitions)))
		last := uint32(0)
		for _, p := range t.Partitions {
			dst = binary.AppendUvarint(dst, uint64(p.ID-last))
			dst = binary.AppendUvarint(dst, uint64(p.Group))
			last = p.ID
		}
	}
	return dst
}

// RestoreMeta is the state that [Meta.Snapshot] wrote; it keeps nothing of b. Any other bytes are [ErrSnapshot], with a reason: what Apply rests on is checked, and
// no more is allocated than a small multiple of b. Limits are not: a snapshot of before they were lowered stays readable.
func RestoreMeta(b []byte) (*Meta, error) {
	m, s := NewMeta(), newDecoder(b, snapshotMeta)
	m.groups, m.cluster = s.u16(), UUID(s.id())
	m.placed, m.blocks = uint32(s.upTo(math.MaxUint32)), uint64(s.upTo(maxBlocks))
	n := s.count(minTopic)
	s.want((m.groups == 0) == (m.cluster == UUID{}), "it has a cluster without groups, or groups without a cluster")
	s.want(m.groups > 0 || m.placed == 0 && m.blocks == 0 && n == 0, "it has ids or topics before the cluster began")
	uuids, ids := map[UUID]bool{}, map[uint32]bool{}
	last := ""
	for ; n > 0 && s.err == nil; n-- {
		t := s.topic(m, ids)
		s.want(t.Name > last, "its topics are not in order")
		s.want(t.UUID != UUID{} && !uuids[t.UUID], "two topics have one uuid, or one has none")
		last, uuids[t.UUID] = t.Name, true
		m.topics[t.Name] = t
		m.partitions += len(t.Partitions)
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	return m, nil
}

// topic notes its partitions in ids.
func (s *decoder) topic(m *Meta, ids map[uint32]bool) Topic {
	t := Topic{Name: string(s.take(int(s.u8()))), UUID: s.id(), RetentionMS: s.varint(), RetentionBytes: s.varint()}
	s.want(checkTopicName(t.Name) == nil, "a name is none of a topic")
	s.want(checkRetention(t.RetentionMS, t.RetentionBytes) == nil, "a retention is out of range")
	t.Partitions = make([]PartitionPlace, s.count(minPlace))
	s.want(len(t.Partitions) > 0, "a topic has no partition")
	last := uint32(0)
	for i := range t.Partitions {
		id := last + uint32(s.upTo(int64(m.placed-last)))
		group := uint16(s.upTo(int64(m.groups)))
		s.want(id > last && !ids[id], "a partition id is not in order, or there twice")
		s.want(group > 0, "a partition has no group")
		t.Partitions[i] = PartitionPlace{id, group}
		ids[id], last = true, id
	}
	return t
}
