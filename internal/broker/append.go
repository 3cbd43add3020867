package broker

import (
	"context"
	"fmt"

	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// Source is who appends exactly once, and what it knows of the past.
type Source = fsm.Source

// SourceID names a source.
type SourceID = fsm.SourceID

// CursorState is what a partition remembers of a source.
type CursorState = fsm.CursorState

// Ack says where a batch lies.
type Ack struct {
	Base    int64   // offset of the first record of a producer's batch
	Offsets []int64 // of a source's messages: offsets[i] belongs to ids[i]
	Repeat  bool    // it was stored before; nothing was stored now
}

// Append stores one record batch of Kafka's format, version 2, with base offset 0, and returns when it is acknowledged. Before [ErrNotLeader], [ErrTooLarge],
// [ErrUnknownTopic] and refusals of the batch nothing was stored; after [ErrFlushTimeout], [ErrReplicationTimeout], [ErrLeadershipLost], [ErrStopped] and the error of ctx it may be. It keeps no slice.
func (n *Node) Append(ctx context.Context, topic string, partition int32, batch []byte) (Ack, error) {
	return n.append(ctx, topic, partition, fsm.AppendRequest{Batch: batch})
}

// AppendFrom is Append for a source: ids and sums name and check its messages, one for each record. The same message is stored once, unless replay asks for it
// again. Besides the errors of Append: [ErrFenced], [ErrStale], [ErrRewound], [ErrWindowFull] and [*PartialError]; nothing was stored then.
func (n *Node) AppendFrom(ctx context.Context, s Source, topic string, partition int32, batch []byte, ids []int64, sums []uint32, replay bool) (Ack, error) {
	return n.append(ctx, topic, partition, fsm.AppendRequest{Source: &s, IDs: ids, Sums: sums, Replay: replay, Batch: batch})
}

func (n *Node) append(ctx context.Context, topic string, partition int32, r fsm.AppendRequest) (Ack, error) {
	if len(r.Batch) > MaxMessage {
		return Ack{}, fmt.Errorf("a batch of %d bytes, the limit is %d: %w", len(r.Batch), MaxMessage, ErrTooLarge)
	}
	if _, err := fsm.ParseBatch(r.Batch); err != nil {
		return Ack{}, err // refused here, so that the log holds none that is damaged from the start
	}
	if err := n.Ready(ctx); err != nil {
		return Ack{}, fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	p, err := n.place(topic, partition)
	if err != nil {
		return Ack{}, err
	}
	r.Partition = p.ID
	size := int64(len(r.Batch) + 12*len(r.IDs) + 64)
	if err := n.room.Acquire(ctx, size); err != nil {
		return Ack{}, fmt.Errorf("%w: %d bytes wait for the disk: %w", ErrNotLeader, int64(inFlight), err)
	}
	defer n.room.Release(size)
	res, err := n.propose(ctx, p.Group, fsm.Command{Type: fsm.CommandAppend, Append: &r})
	if err != nil {
		return Ack{}, err
	}
	return Ack{Base: res.Base, Offsets: res.Offsets, Repeat: res.Repeat}, nil
}

// Fence refuses, from when it returns, everything of a source under a lower epoch. [ErrFenced]: a higher one has spoken.
func (n *Node) Fence(ctx context.Context, id SourceID, epoch uint64) error {
	if err := n.Ready(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	for group := uint16(1); group <= DataGroups; group++ {
		if err := n.FenceGroup(ctx, group, id, epoch); err != nil {
			return err
		}
	}
	return nil
}

// FenceGroup is Fence for the partitions of one data group. Each is to be fenced, at the node that leads it, before anything is sent. [ErrUnknownGroup]: it is none.
func (n *Node) FenceGroup(ctx context.Context, group uint16, id SourceID, epoch uint64) error {
	if group == 0 {
		return fmt.Errorf("group 0 holds no records, those are 1 to %d: %w", DataGroups, ErrUnknownGroup)
	}
	if err := known(group); err != nil {
		return err
	}
	body := le.AppendUint64(id[:len(id):len(id)], epoch)
	_, err := n.propose(ctx, group, fsm.Command{Type: fsm.CommandFence, Body: body})
	return err
}

// SourceState returns what a partition remembers of a source, and refuses everything that was sent to it under this epoch before.
func (n *Node) SourceState(ctx context.Context, id SourceID, epoch uint64, topic string, partition int32) (CursorState, error) {
	if err := n.Ready(ctx); err != nil {
		return CursorState{}, fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	p, err := n.place(topic, partition)
	if err != nil {
		return CursorState{}, err
	}
	body := le.AppendUint64(append(le.AppendUint32(nil, p.ID), id[:]...), epoch)
	res, err := n.propose(ctx, p.Group, fsm.Command{Type: fsm.CommandState, Body: body})
	if err != nil {
		return CursorState{}, err
	}
	return *res.Cursor, nil
}
