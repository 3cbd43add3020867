package commitlog

import (
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// Config says where a log lies and how it is cut.
type Config struct {
	FS  vfs.FS
	Dir string // exists; one log, and nothing else, lies in it
	// SegmentBytes is the length of a segment, a multiple of 4096; the default is 128 MiB. A record longer than a segment less two pages is refused.
	SegmentBytes int64
	// Spares is how many segments are kept ready beside the one in use, and how many more that were given up may wait for their use; the default is 2.
	Spares int
	// Node and Cluster are written into every segment; a segment of others is refused.
	Node, Cluster UUID
}

const defaultSegment = 128 << 20

func (c *Config) complete() error {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = defaultSegment
	}
	if c.Spares == 0 {
		c.Spares = 2
	}
	if c.SegmentBytes%align != 0 || c.SegmentBytes < 4*align {
		return fmt.Errorf("commit log: a segment of %d bytes: it must be a multiple of %d, and four times that at least", c.SegmentBytes, align)
	}
	return nil
}

// Position is where a record stands.
type Position struct {
	Segment uint64
	At      int64 // of the record's first byte
}

// Found is what Open found.
type Found struct {
	Opens    uint64       // starts of this log, with this one
	Segments int          // that were read
	Records  int          // in them
	Last     uint64       // seq of the last good frame
	Clean    bool         // the log was closed in order
	Torn     int64        // bytes of an unfinished frame, now in quarantine
	Damage   *DamageError // of OpenRead: what was given stands before it
}

// DamageError says that synced frames cannot be read any more. Nothing was changed on disk.
type DamageError struct {
	Segment     uint64
	At          int64  // where the first bad frame begins
	First, Last uint64 // seqs of the frames that are lost; Last is 0 when it cannot be told
	Err         error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("commit log: segment %s is damaged at byte %d: %v; what stood there was acknowledged and is lost on this disk", segmentName(e.Segment), e.At, e.Err)
}

func (e *DamageError) Unwrap() error { return e.Err }

// ErrForeign means that the log is of another node or cluster.
var ErrForeign = errors.New("the log belongs to another node or cluster")

// Open locks the folder, reads the log from where its newest checkpoint says, or the whole of it, gives each its records in the order in which they were
// appended, and begins a new segment, so that nothing is ever
// written behind bytes of another life. A torn frame at the end, which nobody was told of, is cut off and kept in quarantine. Damage is a [*DamageError], a
// folder in use an error that is [vfs.ErrLocked]. each must not keep r.Body.
//
// Open starts no goroutine: the log works while [Log.Run] runs.
func Open(cfg Config, each func(p Position, r Record) error) (_ *Log, found Found, err error) {
	if err := cfg.complete(); err != nil {
		return nil, found, err
	}
	for _, dir := range []string{logDir, spareDir, quarantineDir} {
		if err := cfg.FS.MakeDir(path.Join(cfg.Dir, dir)); err != nil {
			return nil, found, err
		}
	}
	lock, err := cfg.FS.Lock(path.Join(cfg.Dir, lockFile))
	if err != nil {
		return nil, found, fmt.Errorf("commit log in %s: %w", cfg.Dir, err)
	}
	if err := cfg.FS.SyncDir(cfg.Dir); err != nil {
		return nil, found, errors.Join(err, lock.Close())
	}
	l, found, err := open(cfg, each)
	if err != nil {
		return nil, found, errors.Join(err, lock.Close())
	}
	l.lock = lock
	return l, found, nil
}

func open(cfg Config, each func(p Position, r Record) error) (*Log, Found, error) {
	r := recovery{cfg: cfg, each: each, index: index{streams: map[uint16]*stream{}}}
	if err := r.read(); err != nil {
		return nil, r.found, err
	}
	s, err := openSpares(cfg.FS, cfg.Dir, cfg.SegmentBytes, cfg.Spares)
	if err != nil {
		return nil, r.found, err
	}
	l := newLog(cfg, s, segmentHeader{Number: r.last.Number, Node: cfg.Node, Cluster: cfg.Cluster, Opens: r.found.Opens, First: r.end.seq + 1, Seed: r.end.crc})
	l.index, l.w.from, l.unread = r.index, r.from, r.from
	if err := l.w.roll(); err != nil {
		return nil, r.found, err
	}
	if err := l.w.marker(); err != nil { // a segment whose beginning is durable: what was torn before it is not in doubt any more
		return nil, r.found, errors.Join(err, l.w.file.Close())
	}
	if err := r.cut(); err != nil {
		return nil, r.found, errors.Join(err, l.w.file.Close())
	}
	return l, r.found, nil
}

// recovery reads a log that is not open.
type recovery struct {
	cfg   Config
	quiet bool // change nothing, not even what is cached
	each  func(p Position, r Record) error
	frame func() // of every frame; nil = nobody counts
	found Found
	index index
	from  uint64 // reading begins there

	last segmentHeader // of the newest segment; zero when there is none
	end  ending        // of that segment
}

// read scans all segments. It changes nothing but for the file of a segment that was never begun.
func (r *recovery) read() error {
	numbers, err := segments(r.cfg.FS, r.cfg.Dir)
	if err != nil {
		return err
	}
	r.found.Opens = 1
	if !r.quiet {
		if err := r.flush(numbers); err != nil {
			return err
		}
	}
	if r.from, err = r.scanFrom(numbers); err != nil {
		return err
	}
	needed, err := since(numbers, r.from)
	if err != nil {
		return err
	}
	for i, n := range needed {
		if err := r.segment(n, i == 0); err != nil {
			return err
		}
	}
	if r.end.tail == tailDamaged {
		return &DamageError{Segment: r.last.Number, At: r.end.at, First: r.end.seq + 1, Err: r.end.why}
	}
	r.found.Last = r.end.seq
	return nil
}

// flush syncs the folder and the newest segment before it is read: a frame that a killed process had written and not synced may stand in the page cache whole.
// What is taken for good now, and what the next segment will be chained to, must survive a power cut. So must the end of a name whose file is a spare by now.
func (r *recovery) flush(numbers []uint64) error {
	if err := r.cfg.FS.SyncDir(path.Join(r.cfg.Dir, logDir)); err != nil || len(numbers) == 0 {
		return err
	}
	f, err := r.cfg.FS.Open(r.name(numbers[len(numbers)-1]))
	if err != nil {
		return err
	}
	return errors.Join(f.Datasync(), f.Close())
}

func (r *recovery) segment(n uint64, first bool) error {
	f, err := r.cfg.FS.OpenDirect(r.name(n))
	if err != nil {
		return err
	}
	defer f.Close()
	h, err := r.header(f, n)
	if err == nil && !first {
		err = r.follows(&h)
	}
	if err != nil {
		return err
	}
	r.found.Opens = max(r.found.Opens, h.Opens+1)
	r.found.Segments++
	r.last = h
	r.end, err = scan(f, h, func(at int64, fh frameHeader, frame []byte) error {
		r.found.Clean = fh.Flags&flagClean != 0
		if r.frame != nil {
			r.frame()
		}
		return fh.records(frame, func(in int, rec Record) error {
			p := Position{Segment: n, At: at + int64(in)}
			r.found.Records++
			r.index.put(rec, p)
			if r.each == nil {
				return nil
			}
			return r.each(p, rec)
		})
	})
	return err
}

func (r *recovery) name(n uint64) string { return path.Join(r.cfg.Dir, logDir, segmentName(n)) }

// header reads the header of segment n. A segment gets its name only when its header is durable, so one that cannot be read is damage.
func (r *recovery) header(f vfs.File, n uint64) (segmentHeader, error) {
	page := make([]byte, align)
	if _, err := f.ReadAt(page, 0); err != nil && !errors.Is(err, io.EOF) {
		return segmentHeader{}, &DamageError{Segment: n, First: r.end.seq + 1, Err: err}
	}
	h, err := decodeSegmentHeader(page)
	switch {
	case errors.Is(err, ErrVersion):
		return h, fmt.Errorf("commit log: segment %s: %w", segmentName(n), err)
	case err != nil:
		return h, &DamageError{Segment: n, First: r.end.seq + 1, Err: err}
	case h.Number != n:
		return h, &DamageError{Segment: n, First: r.end.seq + 1, Err: fmt.Errorf("its header has number %d", h.Number)}
	case h.Node != r.cfg.Node || h.Cluster != r.cfg.Cluster:
		return h, fmt.Errorf("commit log: segment %s: %w", segmentName(n), ErrForeign)
	}
	return h, nil
}

// follows checks that the segment with header h continues the one before it. Whatever stood behind the end of that one had been given up when h was written.
func (r *recovery) follows(h *segmentHeader) error {
	if h.Number == r.last.Number+1 && h.First == r.end.seq+1 && h.Seed == r.end.crc {
		return nil
	}
	why := r.end.why
	switch {
	case h.Number != r.last.Number+1:
		why = fmt.Errorf("segments %s to %s are missing", segmentName(r.last.Number+1), segmentName(h.Number-1))
	case why == nil:
		why = fmt.Errorf("frame %d cannot be read, but segment %s continues behind it", r.end.seq+1, segmentName(h.Number))
	}
	return &DamageError{Segment: r.last.Number, At: r.end.at, First: r.end.seq + 1, Last: h.First - 1, Err: why}
}

// cut takes what is torn off the newest segment there was. The segment is no longer written, and so is not used again as a spare either: it is shorter now.
func (r *recovery) cut() error {
	if r.end.tail != tailTorn {
		return nil
	}
	name := r.name(r.last.Number)
	f, err := r.cfg.FS.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	torn, err := r.tornBytes(f)
	if err != nil {
		return err
	}
	r.found.Torn = int64(len(torn))
	if err := r.keep(torn); err != nil {
		return err
	}
	return errors.Join(f.Truncate(r.end.at), f.Datasync())
}

// tornBytes are those of the unfinished frame, as far as its header tells.
func (r *recovery) tornBytes(f vfs.File) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	n := int64(align)
	page := make([]byte, align)
	if _, err := f.ReadAt(page, r.end.at); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if fh, ok := decodeFrameHeader(page); ok {
		n = fh.size()
	}
	torn := make([]byte, min(n, size-r.end.at))
	_, err = f.ReadAt(torn, r.end.at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return torn, err
}

// keep puts bytes into quarantine, for people.
func (r *recovery) keep(torn []byte) error {
	name := path.Join(r.cfg.Dir, quarantineDir, fmt.Sprintf("%08d-%d.torn", r.last.Number, r.end.at))
	f, err := r.cfg.FS.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(torn, 0)
	return errors.Join(err, f.Datasync(), f.Close())
}
