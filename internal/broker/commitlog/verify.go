package commitlog

import (
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// Report is what Verify found.
type Report struct {
	Segments int
	Frames   int
	Records  int
	Torn     bool           // the last frame was begun and not finished: nothing acknowledged
	Clean    bool           // the log was closed in order
	Damage   []*DamageError // what was acknowledged and cannot be read any more
}

// Verify reads every segment of a log that nobody has open, gives each its records, and reports all damage instead of stopping at the first. It changes
// nothing. each may be nil; its error ends the reading.
func Verify(cfg Config, each func(p Position, r Record) error) (report Report, err error) {
	lock, err := lockFolder(cfg)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	numbers, err := segments(cfg.FS, cfg.Dir)
	if err != nil {
		return report, err
	}
	r := recovery{cfg: cfg, each: func(p Position, rec Record) error {
		report.Records++
		if each == nil {
			return nil
		}
		return each(p, rec)
	}, frame: func() { report.Frames++ }, index: index{streams: map[uint16]*stream{}}}
	first := true
	for _, n := range numbers {
		err := r.segment(n, first)
		first = false
		var damage *DamageError
		switch {
		case errors.As(err, &damage):
			report.Damage = append(report.Damage, damage)
			if damage.Segment != n { // between the one before and this one: this one is good
				if err := r.segment(n, true); err != nil && !errors.As(err, &damage) {
					return report, err
				}
				break
			}
			first = true // nothing to continue from
			continue
		case err != nil:
			return report, err
		}
		report.Segments++
	}
	if r.end.tail == tailDamaged && !first {
		report.Damage = append(report.Damage, &DamageError{Segment: r.last.Number, At: r.end.at, First: r.end.seq + 1, Err: r.end.why})
	}
	report.Torn, report.Clean = r.end.tail == tailTorn, r.found.Clean
	return report, nil
}

// lockFolder takes the lock of a log.
func lockFolder(cfg Config) (io.Closer, error) {
	lock, err := cfg.FS.Lock(path.Join(cfg.Dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("commit log in %s: %w", cfg.Dir, err)
	}
	return lock, nil
}

// OpenRead opens a log that nobody has open for reading alone: it changes nothing, and nothing can be appended. What stands before the first damage is there,
// and Found names the damage. each is that of Open.
func OpenRead(cfg Config, each func(p Position, r Record) error) (*Log, Found, error) {
	lock, err := lockFolder(cfg)
	if err != nil {
		return nil, Found{}, err
	}
	r := recovery{cfg: cfg, each: each, index: index{streams: map[uint16]*stream{}}, quiet: true}
	if err := r.read(); err != nil && !errors.As(err, &r.found.Damage) {
		return nil, r.found, errors.Join(err, lock.Close())
	}
	l := newLog(cfg, nil, segmentHeader{})
	l.index, l.lock, l.closed = r.index, lock, ErrClosed
	l.w.file = noFile{}
	return l, r.found, nil
}

// noFile stands for the segment in use of a log that is only read.
type noFile struct{ vfs.File }

func (noFile) Close() error { return nil }
