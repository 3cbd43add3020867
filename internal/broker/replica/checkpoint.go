package replica

import (
	"context"
	"errors"
	"hash/crc32"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
)

const (
	partFirst = 1 << 0 // a flag: the state of a group begins
	partTaken = 1 << 1 // a flag: it is that of another node, and no part of a checkpoint
	partBase  = 1 << 2 // a flag: it is a group's base
	partBytes = 1 << 20
)

// wrote notes in which segment the log is.
func (h *Host) wrote(segment uint64) {
	if was := h.segment.Swap(segment); was != 0 && was != segment {
		select {
		case h.rolled <- struct{}{}:
		default:
		}
	}
}

// checkpoints writes one whenever another segment has come into use, so that a restart reads few of them.
func (h *Host) checkpoints(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.rolled:
		}
		switch err := h.Checkpoint(ctx); {
		case err == nil, ctx.Err() != nil:
		case errors.Is(err, commitlog.ErrFull), errors.Is(err, errInstalling): // the next segment is as good
		default:
			h.fail(err)
			return
		}
	}
}

// Checkpoint writes the states of all groups, so that a restart begins to read here. It does not stop the groups.
func (h *Host) Checkpoint(ctx context.Context) error {
	h.checkpointing.Lock()
	defer h.checkpointing.Unlock()
	var states []snapshot
	for _, g := range h.groups {
		answer := make(chan snapshot, 1)
		select {
		case g.asks <- answer:
		case <-ctx.Done():
			return ctx.Err()
		}
		states = append(states, <-answer)
	}
	for i, g := range h.groups {
		g.bring(&states[i])
	}
	c, first, err := h.newCheckpoint(states)
	if err != nil {
		return err
	}
	at, err := first.Wait()
	if err != nil {
		return err
	}
	c.from = at.Segment
	for _, r := range c.parts[1:] {
		if _, err := h.log.Append(r); err != nil {
			return err
		}
	}
	if _, err := h.log.Append(h.endCheckpoint(c)...); err != nil {
		return err
	}
	if keep := h.keepFrom(c); keep > 0 && h.cfg.Recycle != nil {
		h.cfg.Recycle(keep)
	}
	return nil
}

// checkpoint is one on its way: its parts are synced, then its end is written.
type checkpoint struct {
	number uint64
	states []snapshot // by group
	parts  []commitlog.Record
	sum    uint32 // of the parts
	from   uint64 // segment at which reading will begin; at first that of the first part
}

// errInstalling means that a state of another node is on its way, so that no checkpoint can begin.
var errInstalling = errors.New("a state of another node is being taken over")

// newCheckpoint cuts the states of all groups into records, and puts the first of them into the log. The caller holds checkpointing.
//
// A restart reads nothing before that first part. A state of another node that stands there, and is not in the states of the checkpoint, would be lost.
func (h *Host) newCheckpoint(states []snapshot) (*checkpoint, commitlog.Pending, error) {
	h.checkpoint++ // also when it does not come to its end: its parts must not pass for those of another
	c := &checkpoint{number: h.checkpoint, states: states}
	for i, s := range states {
		c.parts = append(c.parts, partRecords(h.groups[i].id, c.number, s, h.partSize, 0)...)
		if s.base != nil {
			c.parts = append(c.parts, partRecords(h.groups[i].id, c.number, *s.base, h.partSize, partBase)...)
		}
	}
	for _, r := range c.parts {
		c.sum = crc32.Update(c.sum, castagnoli, r.Body)
	}
	h.installs.Lock()
	defer h.installs.Unlock()
	for i, g := range h.groups {
		if g.overtaken(&states[i]) {
			return nil, commitlog.Pending{}, errInstalling
		}
	}
	for i, g := range h.groups {
		g.base.Store(states[i].base)
	}
	first, err := h.log.Begin(h.log.Refused(), c.parts[0])
	return c, first, err
}

// partRecords are those of one group; each holds at most so many bytes of the state.
func partRecords(group uint16, number uint64, s snapshot, most int, flags uint8) (list []commitlog.Record) {
	for first := true; first || len(s.state) > 0; first = false {
		n := min(len(s.state), most)
		r := commitlog.Record{Kind: commitlog.KindCheckpointPart, Stream: group, Flags: flags, Index: s.index, Term: s.term,
			Body: append(le.AppendUint64(nil, number), s.state[:n]...)}
		if s.state = s.state[n:]; first {
			r.Flags |= partFirst
		}
		list = append(list, r)
	}
	return list
}

// endCheckpoint are the records that complete a checkpoint whose parts are synced: what a writer has put before the first part is among them, what it puts later
// stands behind. They call committed only what was applied, and so is in the log: the newest commit may be of entries that still wait for the writer.
func (h *Host) endCheckpoint(c *checkpoint) (last []commitlog.Record) {
	for i, g := range h.groups {
		s := c.states[i]
		if at, open := h.log.Position(g.id, s.index+1); open {
			c.from = min(c.from, at.Segment)
		}
		hard := g.hard.Load()
		last = append(last, confRecord(g.id, g.store.conf()), hardRecord(g.id, hard, min(hard.GetCommit(), s.index)))
	}
	return append(last, commitlog.CheckpointEnd(c.number, c.from, le.AppendUint32(nil, c.sum)))
}
