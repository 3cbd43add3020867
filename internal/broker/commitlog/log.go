package commitlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// markerDelay is how long the log is idle after a sync before it writes a marker.
const markerDelay = 20 * time.Millisecond

var (
	// ErrClosed means that the log does not run any more, in order or after an error, which then is in the chain too.
	ErrClosed = errors.New("the commit log is closed")
	// ErrTooLarge means that the records of one Append do not fit into one frame.
	ErrTooLarge = errors.New("too large for the commit log")
	// ErrFull means that the disk has no room for another segment. Nothing was appended; a later try may succeed.
	ErrFull = errors.New("the disk of the commit log is full")
)

// Log is an open log. Append may be called from any goroutine; it returns while [Log.Run] runs.
type Log struct {
	w     writer // used by Run alone
	lock  io.Closer
	wake  chan struct{} // holds one element when a batch waits
	files files

	cold   sync.Mutex // held while segments that nothing is written to are read as a whole, or given up
	unread uint64     // guarded by cold: Open has not read the segments below this one

	mu      sync.Mutex // guards what is below
	room    sync.Cond  // on mu: filling is another one, or the log is closed
	filling *batch     // what will be the next frame
	spare   []byte     // buffer of the frame before
	closed  error      // not nil = nothing can be appended any more
	refused uint64     // how often a full disk has refused what waited
	index   index      // of what is synced
}

// batch is what becomes one frame.
type batch struct {
	buf   []byte // room for the frame header, then the records
	count int

	done    chan struct{} // closed when it is synced, or has failed
	err     error         // the rest is set before done is closed
	segment uint64
	at      int64
}

func newBatch(buf []byte) *batch {
	if cap(buf) < frameHeaderSize {
		buf = make([]byte, 0, 64<<10)
	}
	return &batch{buf: buf[:frameHeaderSize], done: make(chan struct{})}
}

func newLog(cfg Config, s *spares, h segmentHeader) *Log {
	l := &Log{w: writer{cfg: cfg, spares: s, h: h, seq: h.First - 1, crc: h.Seed}, wake: make(chan struct{}, 1), filling: newBatch(nil),
		files: files{fs: cfg.FS, dir: cfg.Dir, open: map[uint64]vfs.File{}}}
	l.room.L = &l.mu
	return l
}

const maxCount = 1<<16 - 1 // records of a frame

// Append writes records, which stand behind each other in one frame: a crash keeps all of them or none. It returns when they are synced, with the place of the
// first, or with an error: [ErrTooLarge] and [ErrFull] leave the log as it was, after [ErrClosed] it is unknown whether the records are on disk. Append keeps no
// slice.
func (l *Log) Append(records ...Record) (Position, error) {
	p, err := l.begin(nil, records)
	if err != nil {
		return Position{}, err
	}
	return p.Wait()
}

// Pending is an append that was begun.
type Pending struct {
	b  *batch
	at int // in the batch
}

// Done is closed when the records are synced, or have failed.
func (p Pending) Done() <-chan struct{} { return p.b.done }

// Wait returns what [Log.Append] does.
func (p Pending) Wait() (Position, error) {
	<-p.b.done
	if p.b.err != nil {
		return Position{}, p.b.err
	}
	return Position{Segment: p.b.segment, At: p.b.at + int64(p.at)}, nil
}

// Begin is an Append that does not wait for the sync. What one goroutine begins stands in the log in this order, without a gap: when a full disk has refused
// something, it has refused everything that was begun behind it, and Begin is ErrFull until it is called with the new number of [Log.Refused].
func (l *Log) Begin(refused uint64, records ...Record) (Pending, error) {
	return l.begin(&refused, records)
}

// Refused counts how often a full disk has refused what waited.
func (l *Log) Refused() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

func (l *Log) begin(refused *uint64, records []Record) (Pending, error) {
	size := 0
	for i := range records {
		size += recordSize(len(records[i].Body))
	}
	if most := l.mostBytes(); size > most || len(records) > maxCount {
		return Pending{}, fmt.Errorf("%d records of %d bytes, the limit is %d records of %d bytes: %w", len(records), size, maxCount, most, ErrTooLarge)
	}
	return l.add(refused, records, size)
}

// MaxBody is how long the body of one record may be in this log, which is less than the constant when its segments are short.
func (l *Log) MaxBody() int { return (l.mostBytes() - recordHeader) / recordAlign * recordAlign }

// mostBytes is the room for records in a frame.
func (l *Log) mostBytes() int {
	return int(min(MaxFrame, l.w.cfg.SegmentBytes-align)) - frameHeaderSize
}

// add puts records into a batch as soon as it has room for all of them.
func (l *Log) add(refused *uint64, records []Record, size int) (Pending, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.closed == nil && (len(l.filling.buf)-frameHeaderSize+size > l.mostBytes() || l.filling.count+len(records) > maxCount) {
		l.room.Wait()
	}
	switch {
	case l.closed != nil:
		return Pending{}, l.closed
	case refused != nil && *refused != l.refused:
		return Pending{}, ErrFull
	}
	b := l.filling
	at := len(b.buf)
	for _, r := range records {
		b.buf = appendRecord(b.buf, r)
	}
	b.count += len(records)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return Pending{b, at}, nil
}

// Run writes what is appended until ctx ends: then it writes what still waits, and marks the log as closed in order. An error of the disk ends it at once, and
// the log for ever.
func (l *Log) Run(ctx context.Context) error {
	filling, stop := context.WithCancel(context.WithoutCancel(ctx))
	var filler sync.WaitGroup
	filler.Go(func() { l.w.spares.keep(filling) })
	defer filler.Wait()
	defer stop()

	idle := time.NewTimer(markerDelay)
	idle.Stop() // Open has just written one
	defer idle.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return l.end(l.finish())
		case <-l.wake:
			err = l.writeWaiting(0)
			idle.Reset(markerDelay)
		case <-idle.C:
			err = l.w.marker()
			if errors.As(err, new(errNoSpare)) {
				err = nil
			}
		}
		if err != nil {
			return l.end(err)
		}
	}
}

// Close gives back a log that was opened and will not run.
func (l *Log) Close() error {
	l.fail(ErrClosed)
	return errors.Join(l.w.file.Close(), l.files.close(), l.lock.Close())
}

// finish writes what still waits as the last frame.
func (l *Log) finish() error {
	l.mu.Lock()
	l.closed = ErrClosed
	l.mu.Unlock()
	return l.writeWaiting(flagClean | flagLast)
}

// fail closes the log for ever, and returns what its users are told.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed == nil || l.closed == ErrClosed {
		l.closed = fmt.Errorf("%w: %w; only a restart opens it again", ErrClosed, err)
	}
	return l.closed
}

// end lets go what waits and gives the files back. Nothing is added any more: closed is set.
func (l *Log) end(err error) error {
	if err != nil {
		l.fail(err)
	}
	l.mu.Lock()
	b := l.filling
	b.err = l.closed
	l.mu.Unlock()
	l.room.Broadcast()
	close(b.done)
	return errors.Join(err, l.w.file.Close(), l.files.close(), l.lock.Close())
}
