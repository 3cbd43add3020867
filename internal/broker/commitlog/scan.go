package commitlog

import (
	"errors"
	"fmt"
	"io"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/internal/kp"
)

// tail is how the frames of a segment end.
type tail int

const (
	tailClean   tail = iota // nothing of a further frame stands there
	tailTorn                // a frame that was begun and not finished: never acknowledged, unless the drive lost what it had synced
	tailDamaged             // a frame that was synced cannot be read any more
)

// ending is where the good frames of a segment end, and how.
type ending struct {
	tail tail
	at   int64  // where the next frame would begin
	seq  uint64 // of the last good frame, or of the last one before the segment
	crc  uint32 // of that frame
	why  error  // of damage
}

// scan reads the frames of a segment in order, calls each for every whole one, and judges what follows the last of them. Only one frame was ever in doubt, the
// one behind the last good one; so a sign of any frame behind that one proves that it had been synced, and that it is damaged now:
//
//   - a later page of the segment begins a frame with its nonce and a higher seq, or
//   - the disk does not give the bytes.
//
// Otherwise it was torn by a crash if its place shows the nonce or the seq that it would have, and else nothing was written there. The error is that of each.
func scan(f vfs.File, h segmentHeader, each func(at int64, fh frameHeader, frame []byte) error) (ending, error) {
	size, err := f.Size()
	if err != nil {
		return ending{}, err
	}
	w := window{file: f, ahead: int(min(size, readAhead))}
	e := ending{at: align, seq: h.First - 1, crc: h.Seed}
	for {
		fh, frame, err := w.frame(e.at, h.Nonce, e.seq+1, e.crc)
		switch {
		case err != nil:
			e.tail, e.why = tailDamaged, fmt.Errorf("read frame %d: %w", e.seq+1, err)
			return e, nil
		case frame == nil:
			return e, w.judge(&e, h.Nonce)
		}
		if each != nil {
			if err := each(e.at, fh, frame); err != nil {
				return e, err
			}
		}
		e.at, e.seq, e.crc = e.at+fh.size(), fh.Seq, fh.CRC
	}
}

// judge sets the tail of e, behind which no whole frame follows.
func (w *window) judge(e *ending, nonce uint64) error {
	page, err := w.bytes(e.at, align)
	if err != nil || len(page) < frameHeaderSize {
		return nil // the segment is full
	}
	if le.Uint64(page[8:]) == nonce || le.Uint64(page[16:]) == e.seq+1 {
		e.tail = tailTorn
	}
	for at := e.at + align; ; at += align {
		page, err := w.bytes(at, align)
		if err != nil {
			return nil // an unreadable page behind the end: nothing says that a frame was there
		}
		if len(page) < frameHeaderSize {
			return nil
		}
		if fh, ok := decodeFrameHeader(page); ok && fh.Nonce == nonce && fh.Seq > e.seq+1 {
			e.tail, e.why = tailDamaged, fmt.Errorf("frame %d cannot be read, but frame %d stands behind it", e.seq+1, fh.Seq)
			return nil
		}
	}
}

// readAhead is the most that is read at once without need.
const readAhead = 1 << 20

// window reads a file in large pieces.
type window struct {
	file  vfs.File
	ahead int // bytes to read at once
	from  int64
	buf   []byte
}

// bytes returns n bytes at a place, fewer at the end of the file. They are valid until the next call.
func (w *window) bytes(at int64, n int) ([]byte, error) {
	if at < w.from || at+int64(n) > w.from+int64(len(w.buf)) {
		err := w.fill(at, max(n, w.ahead))
		if err != nil && n < w.ahead {
			err = w.fill(at, n) // what is bad may lie behind what was asked for
		}
		if err != nil {
			return nil, err
		}
	}
	lo := at - w.from
	return w.buf[lo:min(lo+int64(n), int64(len(w.buf)))], nil
}

func (w *window) fill(at int64, n int) error {
	if cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	got, err := w.file.ReadAt(w.buf[:n], at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil {
		got = 0
	}
	w.from, w.buf = at, w.buf[:got]
	return err
}

// frame returns the whole frame at a place, or nil when none with this nonce, seq and seed stands there. An error is one of the disk.
func (w *window) frame(at int64, nonce, seq uint64, seed uint32) (fh frameHeader, frame []byte, err error) {
	page, err := w.bytes(at, frameHeaderSize)
	if err != nil {
		return fh, nil, err
	}
	fh, ok := decodeFrameHeader(page)
	if !ok || (fh.Nonce != nonce || fh.Seq != seq) && !kp.Planted(kp.StaleBytes) {
		return fh, nil, nil
	}
	frame, err = w.bytes(at, int(fh.size()))
	if err != nil || !fh.whole(frame, seed) && !kp.Planted(kp.TornTailTaken) && !kp.Planted(kp.StaleBytes) {
		return fh, nil, err
	}
	return fh, frame, nil
}
