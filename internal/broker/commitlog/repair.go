package commitlog

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
)

// Lost is what Repair gave up.
type Lost struct {
	Damage   *DamageError // nil = there was none, and nothing was changed
	Bytes    int64        // cut off the damaged segment
	Segments []uint64     // set aside whole
}

// Repair cuts a log that nobody has open at its first damage: what stood there, and everything behind it, is given up. It lies in the folder quarantine
// afterwards. A crash meanwhile leaves a log that Repair can be called on again.
func Repair(cfg Config) (lost Lost, err error) {
	lock, err := lockFolder(cfg)
	if err != nil {
		return lost, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	r := recovery{cfg: cfg, index: index{streams: map[uint16]*stream{}}, quiet: true}
	err = r.read()
	if !errors.As(err, &lost.Damage) {
		return lost, err
	}
	numbers, err := segments(cfg.FS, cfg.Dir)
	if err != nil {
		return lost, err
	}
	folder, aside := path.Join(cfg.Dir, logDir), path.Join(cfg.Dir, quarantineDir)
	for _, n := range slices.Backward(numbers) { // the newest first: what is left has no gap
		if n < lost.Damage.Segment || n == lost.Damage.Segment && lost.Damage.At > 0 {
			break
		}
		if err := cfg.FS.Rename(path.Join(folder, segmentName(n)), path.Join(aside, segmentName(n))); err != nil {
			return lost, fmt.Errorf("set aside %s: %w", segmentName(n), err)
		}
		if err := errors.Join(cfg.FS.SyncDir(aside), cfg.FS.SyncDir(folder)); err != nil {
			return lost, fmt.Errorf("set aside %s: %w", segmentName(n), err)
		}
		lost.Segments = append(lost.Segments, n)
	}
	if lost.Damage.At > 0 {
		lost.Bytes, err = cutSegment(cfg, lost.Damage)
	}
	return lost, err
}

// cutSegment keeps what stands from the damage on in quarantine and cuts the segment there.
func cutSegment(cfg Config, d *DamageError) (int64, error) {
	f, err := cfg.FS.Open(path.Join(cfg.Dir, logDir, segmentName(d.Segment)))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	rest := make([]byte, max(0, size-d.At))
	n, err := f.ReadAt(rest, d.At)
	if err != nil && !errors.Is(err, io.EOF) {
		n = 0 // the disk does not give it: nothing of it can be kept
	}
	name := path.Join(cfg.Dir, quarantineDir, fmt.Sprintf("%08d-%d.damaged", d.Segment, d.At))
	kept, err := cfg.FS.Create(name)
	if err == nil {
		_, err = kept.WriteAt(rest[:n], 0)
		err = errors.Join(err, kept.Datasync(), kept.Close(), cfg.FS.SyncDir(path.Join(cfg.Dir, quarantineDir)))
	}
	if err != nil {
		return 0, fmt.Errorf("keep what is cut off in %s: %w", name, err)
	}
	return size - d.At, errors.Join(f.Truncate(d.At), f.Datasync())
}
