package commitlog

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// spares keeps files ready that are as long as a segment, so that the log rolls without waiting for one to be filled. take, give and keep may run at once.
type spares struct {
	fs    vfs.FS
	dir   string // of the log
	bytes int64
	next  atomic.Uint64 // number in the name of the next one
	least int           // so many are kept ready; as many again that were segments may lie beside them, so that nothing is filled while segments come back
	ready chan string   // paths
	taken chan struct{} // one slot: one was taken
}

// openSpares keeps n ready. It takes over at most twice as many of what lies in the folder. The rest is removed: a file that is too short comes from a crash while
// it was filled.
func openSpares(fsys vfs.FS, dir string, bytes int64, n int) (*spares, error) {
	s := &spares{fs: fsys, dir: dir, bytes: bytes, least: n, ready: make(chan string, 2*n), taken: make(chan struct{}, 1)}
	names, err := fsys.List(path.Join(dir, spareDir))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if number, err := strconv.ParseUint(name, 10, 64); err == nil {
			s.next.Store(max(s.next.Load(), number+1))
		}
		if err := s.adopt(path.Join(dir, spareDir, name)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *spares) adopt(name string) error {
	wanted, err := s.wanted(name)
	if err != nil {
		return err
	}
	if !wanted {
		return s.fs.Remove(name)
	}
	s.ready <- name
	return nil
}

// wanted says whether a file is as long as a segment, and one more is needed.
func (s *spares) wanted(name string) (bool, error) {
	f, err := s.fs.Open(name)
	if err != nil {
		return false, err
	}
	size, err := f.Size()
	return size == s.bytes && len(s.ready) < cap(s.ready), errors.Join(err, f.Close())
}

// fillStep is how much of a spare is written before it is synced: the log's own syncs wait behind no more than that.
const fillStep = 2 << 20

// fill makes one; in the background it leaves the disk alone for half of the time, and ends with ctx. Its name needs no sync of its own: a spare that a crash takes
// away is missed by nobody.
func (s *spares) fill(ctx context.Context, background bool) (name string, err error) {
	name = path.Join(s.dir, spareDir, fmt.Sprintf("%08d", s.next.Add(1)-1))
	f, err := s.fs.Create(name)
	if err != nil {
		return "", err
	}
	for size := int64(0); size < s.bytes && err == nil; {
		began := time.Now()
		size = min(size+fillStep, s.bytes)
		if err = f.Preallocate(size); err == nil {
			err = f.Datasync()
		}
		if background && err == nil {
			select {
			case <-time.After(time.Since(began)):
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, s.fs.Remove(name))
	}
	return name, nil
}

// back returns one that was taken and not used.
func (s *spares) back(name string) {
	select {
	case s.ready <- name:
	default: // there are enough; the next start removes it
	}
}

// refillDelay is the pause after a spare could not be filled, most likely because the disk is full.
const refillDelay = 5 * time.Second

// keep fills spares until ctx ends.
func (s *spares) keep(ctx context.Context) {
	for ctx.Err() == nil {
		if len(s.ready) >= s.least {
			select {
			case <-s.taken:
			case <-ctx.Done():
			}
			continue
		}
		name, err := s.fill(ctx, true)
		if err != nil {
			select {
			case <-time.After(refillDelay):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case s.ready <- name:
		case <-ctx.Done():
		}
	}
}

// give takes a file over that was a segment, or removes it when there are enough, or when it was cut. It keeps its old bytes: they have another nonce. Nobody can
// take it before the end of its old name is durable: a power cut would bring that name back, over the header of another segment.
func (s *spares) give(name string) error {
	wanted, err := s.wanted(name)
	if err != nil {
		return err
	}
	folder := path.Dir(name)
	if !wanted {
		return errors.Join(s.fs.Remove(name), s.fs.SyncDir(folder))
	}
	spare := path.Join(s.dir, spareDir, fmt.Sprintf("%08d", s.next.Add(1)-1))
	if err := s.fs.Rename(name, spare); err != nil {
		return err
	}
	if err := s.fs.SyncDir(folder); err != nil {
		return err
	}
	select {
	case s.ready <- spare:
		return nil
	default: // keep was faster
		return s.fs.Remove(spare)
	}
}

// take returns a spare, which it fills itself when none is ready.
func (s *spares) take() (name string, err error) {
	select {
	case name = <-s.ready:
		select {
		case s.taken <- struct{}{}:
		default:
		}
		return name, nil
	default:
		return s.fill(context.Background(), false)
	}
}
