package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// StoredBatch is a record batch as it is stored, with its base offset in place.
type StoredBatch struct {
	Base  int64
	Bytes []byte
}

// Bounds are the offset of the oldest record of a partition that is kept, and the one behind the newest that is acknowledged.
func (n *Node) Bounds(topic string, partition int32) (start, high int64, err error) {
	p, err := n.place(topic, partition)
	if err != nil {
		return 0, 0, err
	}
	start, high, ok := n.machine(p).bounds(p.ID)
	if !ok {
		return 0, 0, fmt.Errorf("topic %q, partition %d: %w", topic, partition, ErrUnknownTopic)
	}
	return start, high, nil
}

// Read returns acknowledged batches from an offset on, the first of which may begin before it: at most maxBytes, but at least one when there is any. At the end of
// the partition it returns none. [ErrOffset]: the offset is below the oldest or above the end. Of three nodes the one that leads the partition reads, and others say
// [*NotLeaderError]; [ErrOffset] is said only when a majority knows no better.
func (n *Node) Read(ctx context.Context, topic string, partition int32, from int64, maxBytes int) ([]StoredBatch, error) {
	p, err := n.place(topic, partition)
	if err != nil {
		return nil, err
	}
	if err := n.mustLead(p.Group); err != nil {
		return nil, err
	}
	batches, err := n.read(topic, partition, p, from, maxBytes)
	if n.cfg.Cluster == nil {
		return batches, err
	}
	if errors.Is(err, ErrOffset) {
		switch err := n.host.Confirm(ctx, p.Group); {
		case errors.Is(err, ErrStopped): // another node has it
			return nil, fmt.Errorf("%w: %w", ErrNotLeader, err)
		case err != nil:
			return nil, n.whoLeads(p.Group, err)
		}
		batches, err = n.read(topic, partition, p, from, maxBytes)
	}
	if errors.Is(err, commitlog.ErrClosed) { // another node has it
		return nil, fmt.Errorf("%w: %w", ErrNotLeader, ErrStopped)
	}
	return batches, err
}

// read reads what this node holds.
func (n *Node) read(topic string, partition int32, p fsm.PartitionPlace, from int64, maxBytes int) ([]StoredBatch, error) {
	places, err := n.machine(p).find(p.ID, from, maxBytes)
	if err != nil {
		return nil, fmt.Errorf("topic %q, partition %d, offset %d: %w", topic, partition, from, err)
	}
	batches := make([]StoredBatch, 0, len(places))
	var entry fsm.Entry
	var read commitlog.Position
	for _, x := range places {
		if x.at != read {
			rec, err := n.log.ReadAt(x.at)
			if err != nil {
				return nil, fmt.Errorf("topic %q, partition %d, offset %d: %w", topic, partition, x.base, err)
			}
			if entry, err = fsm.ParseEntry(rec.Body); err != nil {
				return nil, fmt.Errorf("topic %q, partition %d, offset %d: %w", topic, partition, x.base, commitlog.ErrDamaged)
			}
			read = x.at
		}
		b, err := stored(entry, x, p.ID)
		if err != nil {
			return nil, fmt.Errorf("topic %q, partition %d, offset %d: %w", topic, partition, x.base, err)
		}
		batches = append(batches, b)
	}
	return batches, nil
}

// stored takes a batch out of its entry. The batch's own crc is checked before a byte leaves.
func stored(e fsm.Entry, x row, partition uint32) (StoredBatch, error) {
	if int(x.command) >= len(e.Commands) {
		return StoredBatch{}, commitlog.ErrDamaged
	}
	r, err := fsm.ParseAppend(e.Commands[x.command].Body)
	if err != nil || r.Partition != partition {
		return StoredBatch{}, commitlog.ErrDamaged
	}
	if _, err := fsm.ParseBatch(r.Batch); err != nil {
		return StoredBatch{}, commitlog.ErrDamaged
	}
	binary.BigEndian.PutUint64(r.Batch, uint64(x.base)) // before the bytes that the crc covers, in a copy of our own
	return StoredBatch{Base: x.base, Bytes: r.Batch}, nil
}

// find returns where the batches from an offset on lie.
func (m *dataMachine) find(partition uint32, from int64, maxBytes int) ([]row, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p := m.state.Partition(partition)
	switch {
	case p == nil:
		return nil, ErrUnknownTopic
	case from < p.Start() || from > p.HighWatermark():
		return nil, ErrOffset
	case from == p.HighWatermark():
		return nil, nil
	}
	r := m.rows[partition]
	if r == nil || len(r.list) == 0 || from < r.list[0].base {
		return nil, ErrOffset // of a state that another node gave, and that still calls kept what was given up since
	}
	list := r.list
	first, size := r.from(from), 0
	end := first
	for end < len(list) && (end == first || size+int(list[end].size) <= maxBytes) {
		size += int(list[end].size)
		end++
	}
	return append([]row(nil), list[first:end]...), nil
}

// partitions are the open ones.
func (m *dataMachine) partitions() []uint32 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state.Partitions()
}
