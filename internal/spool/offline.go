package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

var (
	// ErrNoCache means that a folder is not one of a cache.
	ErrNoCache = errors.New("no folder of a degraded cache")
	// ErrAcksWait means that acks would be lost.
	ErrAcksWait = errors.New("their messages would be sent a second time")
)

// Report is what lies in the folder of a cache that nobody uses.
type Report struct {
	System       int64 // system identifier of the database server
	Epoch        relay.Epoch
	Claimed      relay.ID
	Destinations []relay.CachedDestination // as far as it can be read before the first damage; a start after damage leaves none of the messages
	Messages     int                       // of all of them
	Acks         int
	DiskBytes    int64
	Segments     int
	Aside        []string // folders of other outboxes that were set aside
	Damaged      []string // damaged ones that were replaced

	// Of Verify.
	Frames, Records int
	Clean, Torn     bool // closed in order; the last write was interrupted, nobody was told that it was done
	Unread          int  // records in good frames that are not what they should be
	Damage          []*commitlog.DamageError
}

// Inspect says what a cache that nobody uses holds, without asking the database which of it still counts. It changes nothing.
func Inspect(fsys vfs.FS, dir string) (r Report, err error) {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrNoCache, err)
	}
	if err != nil {
		return r, err
	}
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, asidePre):
			r.Aside = append(r.Aside, name)
		case strings.HasPrefix(name, damagedPre), strings.HasPrefix(name, mendedPre):
			r.Damaged = append(r.Damaged, name)
		}
	}
	if !slices.Contains(names, queueDir) || !slices.Contains(names, lockFile) {
		return r, fmt.Errorf("%s: %w", dir, ErrNoCache)
	}
	lock, err := lockFolder(fsys, dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := r.read(fsys, dir); err != nil {
		return r, fmt.Errorf("degraded cache in %s: %w", dir, err)
	}
	return r, nil
}

func (r *Report) read(fsys vfs.FS, dir string) error {
	queue := path.Join(dir, queueDir)
	id, err := readIdentity(fsys, queue)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // made and not begun
	}
	if err != nil {
		return err
	}
	r.System, r.Epoch, r.Claimed = id.system, id.epoch, id.claimed
	if _, err := commitlog.Segments(fsys, queue); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	x := newIndex(nil)
	log, found, err := commitlog.OpenRead(id.logConfig(fsys, queue, 0), func(p commitlog.Position, rec commitlog.Record) error {
		x.record(p, &rec)
		return nil
	})
	if err != nil {
		return err
	}
	if found.Damage != nil {
		r.Damage = append(r.Damage, found.Damage)
	}
	r.Destinations, r.Messages, r.Unread = x.destinations(), x.messages, x.unread
	for _, d := range r.Destinations {
		r.Acks += d.Acks
	}
	return errors.Join(log.Close(), r.size(fsys, queue))
}

func (r *Report) size(fsys vfs.FS, queue string) error {
	names, err := fsys.List(path.Join(queue, "log"))
	for _, name := range names {
		f, opened := fsys.Open(path.Join(queue, "log", name))
		if opened != nil {
			return opened
		}
		size, sized := f.Size()
		if err := errors.Join(sized, f.Close()); err != nil {
			return err
		}
		r.DiskBytes += size
		r.Segments++
	}
	return err
}

// Verify is Inspect, and reads behind the first damage too.
func Verify(fsys vfs.FS, dir string) (r Report, err error) {
	if r, err = Inspect(fsys, dir); err != nil || r.Segments == 0 {
		return r, err
	}
	id, err := readIdentity(fsys, path.Join(dir, queueDir))
	if err != nil {
		return r, err
	}
	found, err := commitlog.Verify(id.logConfig(fsys, path.Join(dir, queueDir), 0), nil)
	if err != nil {
		return r, fmt.Errorf("degraded cache in %s: %w", dir, err)
	}
	r.Frames, r.Records, r.Clean, r.Torn, r.Damage = found.Frames, found.Records, found.Clean, found.Torn, found.Damage
	return r, nil
}

// Remove deletes a cache that nobody uses, with what was set aside and what is damaged, and says what it held. No message is lost: each is pending in the
// database. ErrAcksWait, when duplicates are not accepted: it holds acks, or may hold some in what cannot be read.
func Remove(dir string, acceptDuplicates bool) (r Report, err error) {
	r, err = Inspect(vfs.OS{}, dir)
	switch {
	case errors.Is(err, vfs.ErrLocked), errors.Is(err, ErrNoCache):
		return r, err
	case acceptDuplicates:
	case err != nil:
		return r, fmt.Errorf("%w; if acks wait in it, %w", err, ErrAcksWait)
	case r.Acks > 0:
		return r, fmt.Errorf("%d acks wait in it for their settlement: %w", r.Acks, ErrAcksWait)
	case len(r.Damage) > 0:
		return r, fmt.Errorf("it is damaged; if acks wait behind that, %w", ErrAcksWait)
	}
	lock, err := lockFolder(vfs.OS{}, dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	gone := asidePre + time.Now().UTC().Format("20060102T150405.000000000Z")
	if err := os.Rename(path.Join(dir, queueDir), path.Join(dir, gone)); err != nil { // at once, whatever a crash leaves of the rest
		return r, err
	}
	for _, name := range slices.Concat(r.Aside, r.Damaged, []string{gone}) {
		if err := os.RemoveAll(path.Join(dir, name)); err != nil {
			return r, err
		}
	}
	return r, vfs.OS{}.SyncDir(dir)
}
