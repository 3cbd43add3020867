package replica

import (
	"context"
	"errors"
	"hash/crc32"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
)

const (
	partFirst = 1 << 0 // a flag: the state of a group begins
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
		case errors.Is(err, commitlog.ErrFull): // the next segment is as good
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
	h.checkpoint++ // also when it does not come to its end: its parts must not pass for those of another
	number, sum, from := h.checkpoint, uint32(0), uint64(0)
	for _, g := range h.groups {
		answer := make(chan snapshot, 1)
		select {
		case g.asks <- answer:
		case <-ctx.Done():
			return ctx.Err()
		}
		s := <-answer
		for first := true; first || len(s.state) > 0; first = false {
			n := min(len(s.state), partBytes, h.log.MaxBody()-8)
			r := commitlog.Record{Kind: commitlog.KindCheckpointPart, Stream: g.id, Index: s.index, Term: s.term, Body: append(le.AppendUint64(nil, number), s.state[:n]...)}
			if s.state = s.state[n:]; first {
				r.Flags = partFirst
			}
			sum = crc32.Update(sum, castagnoli, r.Body)
			at, err := h.log.Append(r)
			if err != nil {
				return err
			}
			if from == 0 {
				from = at.Segment
			}
		}
		if at, open := h.log.Position(g.id, s.index+1); open {
			from = min(from, at.Segment)
		}
	}
	var last []commitlog.Record
	for _, g := range h.groups { // read after the first part was written: what a writer has put before it is among them, what it puts later stands behind
		last = append(last, confRecord(g.id, g.store.members), hardRecord(g.id, g.hard.Load()))
	}
	if _, err := h.log.Append(append(last, commitlog.CheckpointEnd(number, from, le.AppendUint32(nil, sum)))...); err != nil {
		return err
	}
	if h.cfg.Recycle != nil {
		h.cfg.Recycle(from)
	}
	return nil
}
