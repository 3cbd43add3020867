package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// What is released is gone, what is not stays, also after the files were used again.
func TestRelease(t *testing.T) {
	for name, cfg := range map[string]Config{"memory": memoryConfig(), "disk": {FS: vfs.OS{}, Dir: t.TempDir(), SegmentBytes: 6 * align}} {
		t.Run(name, func(t *testing.T) {
			l := openLog(t, cfg)
			var bodies []string
			var places []Position
			first := uint64(1)
			for i := range uint64(30) {
				bodies = append(bodies, strings.Repeat(string(rune('a'+i)), 5000))
				p, err := l.Append(entry(1, i+1, 1, bodies[i]))
				must(t, err)
				places = append(places, p)
				if i%3 == 0 {
					continue
				}
				must(t, l.Release(p.Segment-1))
				for places[first-1].Segment < p.Segment-1 {
					first++
				}
				l.reads(t, first, bodies[first-1:]...)
			}
			last := places[29]
			must(t, l.Release(last.Segment+10))
			if _, err := l.Read(1, 30); err != nil {
				t.Errorf("an entry of the segment in use was released: %v", err)
			}
			if _, err := cfg.FS.Open(path.Join(cfg.Dir, logDir, segmentName(last.Segment-1))); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a released segment is there: %v", err)
			}
			first, next := l.Bounds(1)
			must(t, l.stop())
			l = openLog(t, cfg)
			l.reads(t, first, bodies[first-1:next-1]...)
			must(t, l.stop())
		})
	}
}

// A folder that is being removed under a log is an error, whatever is left of it.
func TestReleaseInAFolderThatIsRemoved(t *testing.T) {
	cfg := memoryConfig()
	l := openLog(t, cfg)
	p, err := l.Append(text("x"))
	must(t, err)
	must(t, cfg.FS.Remove(path.Join(logDir, segmentName(1))))
	if err := l.Release(2); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("release: %v", err)
	}
	must(t, l.stop())
	if _, err := l.ReadAt(p); !errors.Is(err, ErrClosed) {
		t.Errorf("a log that has ended opens files again: %v", err)
	}
}

// A read that meets the end of the log says that the log is closed, not that the record cannot be read.
func TestReadWhileTheLogCloses(t *testing.T) {
	var closing atomic.Pointer[files]
	cfg := Config{Dir: t.TempDir(), SegmentBytes: 6 * align, FS: vfs.Inject(vfs.OS{}, func(op vfs.Op) (int, error) {
		if op.Kind == vfs.Read {
			if f := closing.Swap(nil); f != nil {
				return 0, f.close()
			}
		}
		return 0, nil
	})}
	l := openLog(t, cfg)
	p, err := l.Append(text("x"))
	must(t, err)
	_, err = l.ReadAt(p) // opens the file
	must(t, err)
	closing.Store(&l.files)
	if _, err := l.ReadAt(p); !errors.Is(err, ErrClosed) || closing.Load() != nil {
		t.Errorf("read: %v", err)
	}
	must(t, l.stop())
}

// A segment that was released is not written again before the end of its old name is durable: beside a log that rolls meanwhile, and after a process that died in
// between. Else a power cut shows one segment under the name of another, which is damage.
func TestReleasedSegmentKeepsItsBytesUntilItsNameIsGone(t *testing.T) {
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprintf("dies=%v", dies), inBubble(func(t *testing.T) {
			cfg, memory := testConfig, vfs.NewMemory()
			var atSync atomic.Pointer[func() error] // of the folder of segments, once
			var full, watched atomic.Bool           // nothing can be created; every operation may be the last one
			cfg.FS = vfs.Inject(memory, func(op vfs.Op) (int, error) {
				if watched.Load() {
					crashed := testConfig
					crashed.FS = memory.Crash(vfs.Damage{Writes: 1, Grows: 1}, newRand(1))
					if l, _, err := Open(crashed, nil); err != nil {
						t.Errorf("a power cut before %v of %s: %v", op.Kind, op.Name, err)
					} else if err := errors.Join(l.w.file.Close(), l.lock.Close()); err != nil {
						t.Error(err)
					}
				}
				if full.Load() && op.Kind == vfs.Create {
					return 0, syscall.ENOSPC
				}
				if op.Kind == vfs.SyncDir && path.Base(op.Name) == logDir {
					if f := atSync.Swap(nil); f != nil {
						return 0, (*f)()
					}
				}
				return 0, nil
			})
			l := openLog(t, cfg)
			roll := func() {
				_, err := l.Append(text(strings.Repeat("x", 4*align-200)))
				must(t, err)
			}
			for range 3 {
				roll()
			}
			time.Sleep(time.Minute) // one spare is ready
			full.Store(true)
			roll() // and now none
			synctest.Wait()
			full.Store(false)
			meanwhile := func() error {
				watched.Store(true)
				if dies {
					return errors.New("killed")
				}
				roll()
				return nil
			}
			atSync.Store(&meanwhile)
			if err := l.Release(2); (err != nil) != dies {
				t.Fatalf("release: %v", err)
			}
			if dies {
				must(t, l.stop())
				l = openLog(t, cfg)
				roll()
			}
			watched.Store(false)
			must(t, l.stop())
		}))
	}
}

func inBubble(f func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) { synctest.Test(t, f) }
}
