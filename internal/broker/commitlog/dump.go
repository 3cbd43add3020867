package commitlog

import (
	"errors"
	"fmt"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// Frame is a frame as it stands in its segment.
type Frame struct {
	At      int64 // place in the segment
	Bytes   int64 // with header and padding
	Seq     uint64
	Synced  uint64 // the highest seq whose sync had returned when it was written
	Records int
	Marker  bool // empty: nothing before it can have been torn
	Clean   bool // the log was closed in order behind it
	Last    bool // the last one of its segment
}

// DumpEnd is how the frames of a segment end.
type DumpEnd struct {
	At     int64        // behind the last frame that can be read
	Torn   bool         // a frame was begun there and not finished: nothing acknowledged
	Damage *DamageError // a frame was synced there and cannot be read any more; nil = none
}

// Dump reads one segment of a log that nobody has open, and gives each frame and then its records, up to the first that cannot be read. It changes nothing.
// Whether the segment continues the one before is not asked. The error is that of frame or each, or says that there is no such segment.
func Dump(cfg Config, number uint64, frame func(Frame) error, each func(p Position, r Record) error) (d DumpEnd, err error) {
	lock, err := lockFolder(cfg)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	r := recovery{cfg: cfg}
	f, err := cfg.FS.OpenDirect(r.name(number))
	if err != nil {
		return d, fmt.Errorf("commit log: %w", err)
	}
	defer f.Close()
	h, err := r.header(f, number)
	if errors.As(err, &d.Damage) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	end, err := scan(f, h, func(at int64, fh frameHeader, b []byte) error {
		err := frame(Frame{At: at, Bytes: fh.size(), Seq: fh.Seq, Synced: fh.Synced, Records: int(fh.Count), Marker: fh.Flags&flagMarker != 0,
			Clean: fh.Flags&flagClean != 0, Last: fh.Flags&flagLast != 0})
		if err != nil {
			return err
		}
		return fh.records(b, func(in int, rec Record) error { return each(Position{Segment: number, At: at + int64(in)}, rec) })
	})
	d.At, d.Torn = end.at, end.tail == tailTorn
	if end.tail == tailDamaged {
		d.Damage = &DamageError{Segment: number, At: end.at, First: end.seq + 1, Err: end.why}
	}
	return d, err
}

// Segments lists the numbers of the segments in a folder, ascending.
func Segments(fsys vfs.FS, dir string) ([]uint64, error) { return segments(fsys, dir) }
