package commitlog

import (
	"fmt"
	"io/fs"
	"path"
)

// Release gives up every segment below one: their records are not read again, and the files become spares. It may run beside everything; another Release
// and a [Log.Complete] wait for it, and it for them.
// The segment in use stays, whatever is asked for. What the newest checkpoint needs must not be asked for.
func (l *Log) Release(below uint64) error {
	l.cold.Lock()
	defer l.cold.Unlock()
	folder := path.Join(l.w.cfg.Dir, logDir)
	numbers, err := segments(l.w.cfg.FS, l.w.cfg.Dir)
	if err == nil && len(numbers) == 0 {
		err = fs.ErrNotExist // somebody removes the folder
	}
	if err != nil {
		return fmt.Errorf("commit log: release segments below %d: %w", below, err)
	}
	below = min(below, numbers[len(numbers)-1])
	l.mu.Lock()
	l.index.release(below)
	l.mu.Unlock()
	for _, n := range numbers {
		if n >= below {
			break
		}
		err := l.files.forget(n + 1)
		if err == nil {
			err = l.w.spares.give(path.Join(folder, segmentName(n))) // one by one: after a crash the segments that are left have no gap
		}
		if err != nil {
			return fmt.Errorf("commit log: release %s: %w", segmentName(n), err)
		}
	}
	return nil
}
