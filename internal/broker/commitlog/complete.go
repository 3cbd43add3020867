package commitlog

import "fmt"

// Complete reads the segments that Open had no need to read, so that their entries are found by stream and index too. It reads each of them once in the life of a
// log: gigabytes may take a minute. It may run beside everything. After an error, which may be a [*DamageError], the index is as it was.
func (l *Log) Complete() error {
	l.cold.Lock()
	defer l.cold.Unlock()
	if l.unread == 0 {
		return nil
	}
	numbers, err := segments(l.w.cfg.FS, l.w.cfg.Dir)
	if err != nil {
		return fmt.Errorf("commit log: read the older segments: %w", err)
	}
	r := recovery{cfg: l.w.cfg, quiet: true, index: index{streams: map[uint16]*stream{}}}
	for i, n := range numbers {
		if n >= l.unread {
			break
		}
		if err := r.segment(n, i == 0); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index.precede(&r.index)
	l.unread = 0
	return nil
}
