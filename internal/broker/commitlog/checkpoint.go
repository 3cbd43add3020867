package commitlog

import (
	"errors"
	"slices"
)

// CheckpointEnd is the record that completes checkpoint number: whoever opens the log reads nothing older than segment scanFrom. All records of the checkpoint,
// and every one that it does not cover, must stand in scanFrom or behind it, synced before this one is appended. Body is the user's.
func CheckpointEnd(number, scanFrom uint64, body []byte) Record {
	return Record{Kind: KindCheckpointEnd, Index: number, Term: scanFrom, Body: body}
}

// scanFrom is the segment at which reading begins, by the newest segment of all: that of the newest complete checkpoint in it, or the one that its header
// knows of; 0 = there is no checkpoint, all is read. What cannot be read is passed over here: reading forward meets it again and judges it.
func (r *recovery) scanFrom(numbers []uint64) (uint64, error) {
	if len(numbers) == 0 {
		return 0, nil
	}
	newest := numbers[len(numbers)-1]
	f, err := r.cfg.FS.OpenDirect(r.name(newest))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	h, err := r.header(f, newest)
	if err != nil {
		return 0, nil
	}
	from := h.From
	_, err = scan(f, h, func(_ int64, fh frameHeader, frame []byte) error {
		return fh.records(frame, func(_ int, rec Record) error {
			if rec.Kind == KindCheckpointEnd {
				from = rec.Term
			}
			return nil
		})
	})
	return from, err
}

// since leaves out the segments that need not be read. The first one that must be read is there, or it is damage.
func since(numbers []uint64, from uint64) ([]uint64, error) {
	i, there := slices.BinarySearch(numbers, from)
	if !there && from > 0 {
		return nil, &DamageError{Segment: from, Err: errors.New("it is missing, and the newest checkpoint needs it")}
	}
	return numbers[i:], nil
}
