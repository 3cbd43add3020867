package commitlog

import (
	"errors"
	"fmt"
	"path"
	"syscall"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/internal/kp"
)

// writer writes frames, one after the other, each synced before the next. Only one goroutine uses it: Open, and then Run.
type writer struct {
	cfg    Config
	spares *spares
	file   vfs.File
	h      segmentHeader // of the segment in use
	at     int64         // where the next frame begins
	seq    uint64        // of the last frame, which is synced
	crc    uint32        // of that frame
	from   uint64        // scanFrom of the newest checkpoint
}

// errNoSpare means that no segment could be begun, before anything was written; the disk is full, most likely. The log stays as it is.
type errNoSpare struct{ error }

func (e errNoSpare) Unwrap() error { return e.error }

// placed is a frame that was written and is not synced.
type placed struct {
	fh frameHeader
	at int64
}

// write writes a frame whose records stand in b behind room for the header, syncs it, and returns b to be used again. An error that is no errNoSpare is final.
func (w *writer) write(b []byte, count int, flags uint16) (buf []byte, err error) {
	buf, f, err := w.put(b, count, flags)
	if err == nil {
		err = w.sync(f)
	}
	return buf, err
}

// put is the first half of write: nothing of the frame is durable yet.
func (w *writer) put(b []byte, count int, flags uint16) (buf []byte, f placed, err error) {
	fh := frameHeader{Length: uint32(len(b) - frameHeaderSize)}
	if w.at+fh.size() > w.cfg.SegmentBytes {
		if err := w.roll(); err != nil {
			return b, f, err
		}
	}
	fh = frameHeader{Nonce: w.h.Nonce, Seq: w.seq + 1, Synced: w.seq, Count: uint16(count), Flags: flags}
	b = fh.seal(b, w.crc)
	if _, err := w.file.WriteAt(b, w.at); err != nil {
		return b, f, fmt.Errorf("write frame %d of %s: %w", fh.Seq, segmentName(w.h.Number), err)
	}
	return b, placed{fh, w.at}, nil
}

// sync is the second half, before which no other frame may be put.
func (w *writer) sync(f placed) error {
	if !kp.Planted(kp.AckBeforeSync) {
		if err := w.file.Datasync(); err != nil && !kp.Planted(kp.SyncErrorIgnored) {
			return fmt.Errorf("sync frame %d of %s: %w", f.fh.Seq, segmentName(w.h.Number), err)
		}
	}
	w.at, w.seq, w.crc = f.at+f.fh.size(), f.fh.Seq, f.fh.CRC
	return nil
}

// marker writes an empty frame: what is damaged before it cannot pass for a torn write.
func (w *writer) marker() error {
	_, err := w.write(make([]byte, frameHeaderSize, align), 0, flagMarker)
	return err
}

// roll begins the next segment. Its header and its name are durable when it returns: no frame of a segment is ever on a disk that does not know the segment.
func (w *writer) roll() error {
	spare, err := w.spares.take()
	if err != nil {
		return errNoSpare{fmt.Errorf("no room for another segment of %d bytes: %w", w.cfg.SegmentBytes, err)}
	}
	h := w.h
	h.Number, h.Nonce, h.First, h.Seed, h.From = h.Number+1, newNonce(), w.seq+1, w.crc, w.from
	f, err := w.begin(spare, h)
	if err != nil {
		return fmt.Errorf("begin %s: %w", segmentName(h.Number), err)
	}
	if w.file != nil {
		err = w.file.Close()
	}
	w.file, w.h, w.at = f, h, align
	return err
}

// begin makes the segment with header h out of a spare.
func (w *writer) begin(spare string, h segmentHeader) (vfs.File, error) {
	f, err := w.cfg.FS.Open(spare)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteAt(h.encode(), 0)
	if err == nil {
		err = f.Datasync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	folder := path.Join(w.cfg.Dir, logDir)
	name := path.Join(folder, segmentName(h.Number))
	if err := w.cfg.FS.Rename(spare, name); errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		w.spares.back(spare)
		return nil, errNoSpare{err} // the folder has no room for the name: the spare is where it was
	} else if err != nil {
		return nil, err
	}
	if err := w.cfg.FS.SyncDir(folder); err != nil {
		return nil, err
	}
	return w.cfg.FS.Open(name)
}
