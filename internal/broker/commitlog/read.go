package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"sync"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

var (
	// ErrNotHeld means that the log has no such entry: released, voided, or never appended.
	ErrNotHeld = errors.New("the commit log does not hold this entry")
	// ErrDamaged means that an entry is not where it was written.
	ErrDamaged = errors.New("an entry of the commit log cannot be read any more")
)

// Bounds are the first index of a stream that the log holds and the one after the last; they are equal when it holds none.
func (l *Log) Bounds(stream uint16) (first, next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index.bounds(stream)
}

// Term is the term of an entry.
func (l *Log) Term(stream uint16, index uint64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, term, ok := l.index.find(stream, index)
	if !ok {
		return 0, ErrNotHeld
	}
	return term, nil
}

// Read returns an entry, with a Body of its own: [ErrNotHeld], or [ErrDamaged] when something else stands in its place. The body carries no crc of the log's
// that could be checked without the frame around it; whoever puts bytes in brings their own.
func (l *Log) Read(stream uint16, index uint64) (Record, error) {
	l.mu.Lock()
	p, _, ok := l.index.find(stream, index)
	l.mu.Unlock()
	if !ok {
		return Record{}, ErrNotHeld
	}
	r, err := l.files.record(p)
	if err == nil && (r.Stream != stream || r.Index != index) {
		err = fmt.Errorf("%s at byte %d: %w", segmentName(p.Segment), p.At, ErrDamaged)
	}
	if err != nil {
		return Record{}, fmt.Errorf("read entry %d of stream %d: %w", index, stream, err)
	}
	return r, nil
}

// Position is where an entry stands; false when the log does not hold it, or did not need to read it when it was opened;
// see [Log.Complete].
func (l *Log) Position(stream uint16, index uint64) (Position, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, _, ok := l.index.find(stream, index)
	return p, ok
}

// ReadAt returns the record that stands at p, with a Body of its own, as Read does. p must be one that Append, Position or Open has named.
func (l *Log) ReadAt(p Position) (Record, error) {
	r, err := l.files.record(p)
	if err != nil {
		return Record{}, fmt.Errorf("read the record at byte %d of %s: %w", p.At, segmentName(p.Segment), err)
	}
	return r, nil
}

// files are the segments that are open for reading.
type files struct {
	fs  vfs.FS
	dir string

	mu     sync.Mutex // guards what is below
	open   map[uint64]vfs.File
	closed bool
}

func (f *files) file(segment uint64) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	if file := f.open[segment]; file != nil {
		return file, nil
	}
	file, err := f.fs.Open(path.Join(f.dir, logDir, segmentName(segment)))
	if err == nil {
		f.open[segment] = file
	}
	return file, err
}

// record reads the record at p.
func (f *files) record(p Position) (Record, error) {
	r, err := f.read(p)
	if errors.Is(err, fs.ErrClosed) && f.ended() {
		err = ErrClosed // meanwhile: nothing is wrong with the record
	}
	return r, err
}

func (f *files) ended() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

func (f *files) read(p Position) (Record, error) {
	file, err := f.file(p.Segment)
	if err != nil {
		return Record{}, err
	}
	buf := make([]byte, align) // most records are shorter than a page: one read
	n, err := file.ReadAt(buf, p.At)
	if err != nil && !errors.Is(err, io.EOF) {
		return Record{}, err
	}
	if n < recordHeader {
		return Record{}, ErrDamaged
	}
	body := int64(le.Uint32(buf[4:]))
	if body > MaxBody {
		return Record{}, ErrDamaged
	}
	if whole := recordSize(int(body)); whole > n {
		buf = append(buf[:n], make([]byte, whole-n)...)
		if _, err := file.ReadAt(buf[n:], p.At+int64(n)); err != nil {
			return Record{}, err
		}
	}
	r, _, err := readRecord(buf)
	return r, err
}

// close closes all of them for ever.
func (f *files) close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	return f.forget(math.MaxUint64)
}

// forget closes the files of segments below one.
func (f *files) forget(below uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	for n, file := range f.open {
		if n < below {
			err = errors.Join(err, file.Close())
			delete(f.open, n)
		}
	}
	return err
}
