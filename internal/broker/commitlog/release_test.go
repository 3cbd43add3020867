package commitlog

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"sync/atomic"
	"testing"

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
