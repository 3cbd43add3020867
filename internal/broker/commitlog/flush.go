package commitlog

import (
	"errors"
	"runtime"
)

// Flush is a frame of what waited, on its way to the disk.
type Flush struct {
	log *Log
	b   *batch
	buf []byte
	placed
}

// Write is the first half of what [Log.Run] does for each frame: it puts what waits on the disk and syncs nothing. It is for whoever decides the moments of a
// disk instead of Run, as a simulation does, and must not be called beside Run, nor before the frame before is synced. A nil flush: nothing waits, or a full disk
// has refused it. An error has closed the log for ever.
func (l *Log) Write() (*Flush, error) {
	f, err := l.put(0)
	if err != nil || f.b == nil {
		return nil, err
	}
	return &f, nil
}

// Sync is the second half: when it returns, the appends of the frame are durable, and those who wait for them know. An error has closed the log for ever.
func (f *Flush) Sync() error {
	f.b.err = f.log.w.sync(f.placed)
	return f.log.settle(f.b, f.buf)
}

// writeWaiting makes the batch that waits a frame.
func (l *Log) writeWaiting(flags uint16) error {
	runtime.Gosched() // who is about to append comes along: frames are up to four times as full, and one who is alone waits for nobody
	f, err := l.put(flags)
	if err != nil || f.b == nil {
		return err
	}
	return f.Sync()
}

// put writes the batch that waits; it is none when nothing does. A full disk fails its appends, and those that came meanwhile: nothing may stand behind what is missing.
func (l *Log) put(flags uint16) (Flush, error) {
	l.mu.Lock()
	b := l.filling
	if b.count == 0 && flags == 0 { // it went with the one before
		l.mu.Unlock()
		return Flush{}, nil
	}
	l.filling, l.spare = newBatch(l.spare), nil
	l.mu.Unlock()
	l.room.Broadcast()

	buf, f, err := l.w.put(b.buf, b.count, flags)
	b.segment, b.at, b.err = l.w.h.Number, f.at, err
	switch {
	case err == nil:
		return Flush{l, b, buf, f}, nil
	case errors.As(err, new(errNoSpare)):
		l.refuse(b, errors.Join(ErrFull, err))
		return Flush{}, nil
	}
	return Flush{}, l.settle(b, buf)
}

// settle tells those who wait for a batch what became of it, which is set.
func (l *Log) settle(b *batch, buf []byte) error {
	err := b.err
	if err != nil {
		b.err = l.fail(err)
	}
	l.mu.Lock()
	if err == nil {
		l.note(buf, b)
	}
	b.buf, l.spare = nil, buf
	l.mu.Unlock()
	close(b.done)
	return err
}

// refuse fails a batch and the one behind it.
func (l *Log) refuse(b *batch, err error) {
	l.mu.Lock()
	behind := l.filling
	l.filling = newBatch(b.buf)
	l.refused++
	b.err, behind.err = err, err
	b.buf, behind.buf = nil, nil
	l.mu.Unlock()
	l.room.Broadcast()
	close(b.done)
	close(behind.done)
}

// note puts the records of a frame that was just synced into the index.
func (l *Log) note(frame []byte, b *batch) {
	at := frameHeaderSize
	for range b.count {
		r, n, err := readRecord(frame[at:])
		if err != nil {
			panic("commitlog: a frame that was just written does not parse") // a bug of this package, nothing of the disk
		}
		l.index.put(r, Position{Segment: b.segment, At: b.at + int64(at)})
		if r.Kind == KindCheckpointEnd {
			l.w.from = r.Term
		}
		at += n
	}
}
