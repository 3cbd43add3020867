package commitlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// opened is a log that runs, and what it held when it was opened.
type opened struct {
	*Log
	found  Found
	bodies []string
	places []Position
	stop   func() error // ends Run and returns its error
}

func openLog(t *testing.T, cfg Config) *opened {
	t.Helper()
	o := &opened{}
	var err error
	o.Log, o.found, err = Open(cfg, func(p Position, r Record) error {
		o.bodies, o.places = append(o.bodies, string(r.Body)), append(o.places, p)
		return nil
	})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	o.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = o.stop() })
	return o
}

func memoryConfig() Config {
	cfg := testConfig
	cfg.FS = vfs.NewMemory()
	return cfg
}

func text(s string) Record { return Record{Kind: KindEntry, Stream: 1, Body: []byte(s)} }

func TestAppendAndOpenAgain(t *testing.T) {
	for name, cfg := range map[string]Config{"memory": memoryConfig(), "disk": {FS: vfs.OS{}, Dir: t.TempDir(), SegmentBytes: 1 << 20}} {
		t.Run(name, func(t *testing.T) {
			l := openLog(t, cfg)
			if l.found.Opens != 1 || l.found.Segments != 0 {
				t.Errorf("a new log: %+v", l.found)
			}
			var want []string
			var places []Position
			for i := range 20 {
				s := strings.Repeat("x", i*100)
				p, err := l.Append(text(s), text("second"))
				must(t, err)
				want, places = append(want, s, "second"), append(places, p)
			}
			must(t, l.stop())
			if _, err := l.Append(text("late")); !errors.Is(err, ErrClosed) {
				t.Errorf("append to a closed log: %v", err)
			}
			l = openLog(t, cfg)
			if strings.Join(l.bodies, ",") != strings.Join(want, ",") || !l.found.Clean || l.found.Torn != 0 || l.found.Opens != 2 || l.found.Records != 40 {
				t.Errorf("opened again: %+v, %d bodies", l.found, len(l.bodies))
			}
			for i, p := range places {
				if l.places[2*i] != p {
					t.Errorf("record %d is at %v, Append said %v", 2*i, l.places[2*i], p)
				}
			}
			must(t, l.stop())
		})
	}
}

// What waits while a sync runs shares the next one, and each stream keeps its order.
func TestManyAppendAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := memoryConfig()
		cfg.SegmentBytes = 64 * align
		var syncs atomic.Int64
		cfg.FS = vfs.Inject(cfg.FS, func(op vfs.Op) (int, error) {
			if op.Kind == vfs.Datasync && strings.HasSuffix(op.Name, ".seg") {
				syncs.Add(1)
				time.Sleep(time.Millisecond)
			}
			return 0, nil
		})
		l := openLog(t, cfg)
		var wg sync.WaitGroup
		for g := range 50 {
			wg.Go(func() {
				for i := range 100 {
					if _, err := l.Append(Record{Kind: KindEntry, Stream: uint16(g), Index: uint64(i)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if n := syncs.Load(); n > 250 {
			t.Errorf("5,000 records of 50 writers took %d syncs", n)
		}
		must(t, l.stop())
		next := map[uint16]uint64{}
		again, found, err := Open(cfg, func(_ Position, r Record) error {
			if r.Index != next[r.Stream] {
				return fmt.Errorf("stream %d: index %d instead of %d", r.Stream, r.Index, next[r.Stream])
			}
			next[r.Stream]++
			return nil
		})
		must(t, err)
		if found.Records != 5000 {
			t.Errorf("%d records", found.Records)
		}
		must(t, errors.Join(again.w.file.Close(), again.lock.Close()))
	})
}

func TestLimits(t *testing.T) {
	cfg := memoryConfig()
	l := openLog(t, cfg)
	if _, err := l.Append(text(strings.Repeat("x", int(cfg.SegmentBytes)))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a record as long as the segment: %v", err)
	}
	if _, err := l.Append(make([]Record, math.MaxUint16+1)...); !errors.Is(err, ErrTooLarge) {
		t.Errorf("65,536 records: %v", err)
	}
	most := strings.Repeat("x", int(cfg.SegmentBytes)-align-frameHeaderSize-recordHeader)
	if _, err := l.Append(text(most)); err != nil {
		t.Errorf("the longest record: %v", err)
	}
	if _, _, err := Open(cfg, nil); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	must(t, l.stop())
	for _, change := range []func(*Config){func(c *Config) { c.Node = UUID{9} }, func(c *Config) { c.Cluster = UUID{9} }} {
		other := cfg
		change(&other)
		if _, _, err := Open(other, nil); !errors.Is(err, ErrForeign) {
			t.Errorf("the log of another node: %v", err)
		}
	}
	bad := cfg
	bad.SegmentBytes = align + 1
	if _, _, err := Open(bad, nil); err == nil {
		t.Error("a segment of 4,097 bytes")
	}
	l = openLog(t, cfg)
	if len(l.bodies) != 1 || l.bodies[0] != most {
		t.Errorf("%d records", len(l.bodies))
	}
}

// An error of a write or a sync closes the log for ever, although the next sync would report success.
func TestErrorOfTheDiskIsFinal(t *testing.T) {
	for _, kind := range []vfs.Kind{vfs.Datasync, vfs.Write} {
		cfg := memoryConfig()
		var failing atomic.Bool
		cfg.FS = vfs.Inject(cfg.FS, func(op vfs.Op) (int, error) {
			if op.Kind == kind && strings.HasSuffix(op.Name, ".seg") && failing.CompareAndSwap(true, false) {
				return 0, syscall.EIO
			}
			return 0, nil
		})
		l := openLog(t, cfg)
		_, err := l.Append(text("kept"))
		must(t, err)
		failing.Store(true)
		_, err = l.Append(text("lost"))
		if failing.Load() {
			t.Fatal("nothing failed")
		}
		if !errors.Is(err, ErrClosed) || !errors.Is(err, syscall.EIO) {
			t.Errorf("append: %v", err)
		}
		if _, err := l.Append(text("more")); !errors.Is(err, ErrClosed) || !errors.Is(err, syscall.EIO) {
			t.Errorf("append after the error: %v", err)
		}
		if err := l.stop(); !errors.Is(err, syscall.EIO) {
			t.Errorf("run: %v", err)
		}
	}
}

// A disk without room for another segment refuses appends and leaves the log as it was.
func TestFullDisk(t *testing.T) {
	cfg := memoryConfig()
	var mu sync.Mutex
	full := false
	cfg.FS = vfs.Inject(cfg.FS, func(op vfs.Op) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		if full && op.Kind == vfs.Create {
			return 0, syscall.ENOSPC
		}
		return 0, nil
	})
	set := func(v bool) {
		mu.Lock()
		defer mu.Unlock()
		full = v
	}
	l := openLog(t, cfg)
	set(true)
	var want []string
	for {
		s := strings.Repeat("x", 3000)
		_, err := l.Append(text(s))
		if err != nil {
			if !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("append: %v", err)
			}
			break
		}
		want = append(want, s)
	}
	if _, err := l.Append(text("still")); !errors.Is(err, ErrFull) {
		t.Errorf("append: %v", err)
	}
	set(false)
	_, err := l.Append(text("room again"))
	must(t, err)
	must(t, l.stop())
	l = openLog(t, cfg)
	if len(l.bodies) != len(want)+1 || l.bodies[len(want)] != "room again" {
		t.Errorf("%d records of %d", len(l.bodies), len(want)+1)
	}
}

// The ack waits for the sync: slower syncs make slower appends, by the same time.
func TestAckWaitsForSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := memoryConfig()
		cfg.FS = vfs.Inject(cfg.FS, func(op vfs.Op) (int, error) {
			if op.Kind == vfs.Datasync {
				time.Sleep(20 * time.Millisecond)
			}
			return 0, nil
		})
		l := openLog(t, cfg)
		time.Sleep(time.Second)
		began := time.Now()
		_, err := l.Append(text("a"))
		must(t, err)
		if took := time.Since(began); took != 20*time.Millisecond {
			t.Errorf("an append took %s with a sync of 20ms", took)
		}
		must(t, l.stop())
	})
}

// After 20 ms without an append the log writes a marker, once: damage before it cannot pass for a torn write.
func TestMarker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMemory()
		cfg := testConfig
		var frames atomic.Int64
		cfg.FS = vfs.Inject(m, func(op vfs.Op) (int, error) {
			if op.Kind == vfs.Datasync && strings.HasSuffix(op.Name, ".seg") {
				frames.Add(1)
			}
			return 0, nil
		})
		l := openLog(t, cfg)
		_, err := l.Append(text("acknowledged"))
		must(t, err)
		before := frames.Load()
		time.Sleep(19 * time.Millisecond)
		synctest.Wait()
		if frames.Load() != before {
			t.Error("a marker came too early")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := frames.Load() - before; n != 1 {
			t.Errorf("%d frames in a second of silence", n)
		}
		flip(t, m, path.Join(logDir, segmentName(1)), 2*align+50) // header, marker of Open, then the frame
		must(t, l.stop())
		damage := (*DamageError)(nil)
		if _, _, err := Open(cfg, nil); !errors.As(err, &damage) || damage.Segment != 1 || damage.At != 2*align || damage.First != 2 {
			t.Errorf("open of a damaged log: %v", err)
		}
	})
}

// flip turns a bit of a file.
func flip(t *testing.T, fsys vfs.FS, name string, at int64) {
	t.Helper()
	f, err := fsys.Open(name)
	must(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b, at)
	must(t, errors.Join(err, f.Datasync(), f.Close()))
}

func TestTornTailIsCutAndKept(t *testing.T) {
	m := vfs.NewMemory()
	cfg := testConfig
	cfg.FS = m
	l := openLog(t, cfg)
	_, err := l.Append(text("acknowledged"))
	must(t, err)
	must(t, l.stop())
	name := path.Join(logDir, segmentName(1))
	flip(t, m, name, l.w.at-align+30) // in the header of the last frame; nothing stands behind it
	l = openLog(t, cfg)
	if l.found.Torn != align || len(l.bodies) != 1 {
		t.Errorf("%+v, %d records", l.found, len(l.bodies))
	}
	names, err := m.List(quarantineDir)
	must(t, err)
	if len(names) != 1 {
		t.Errorf("in quarantine: %v", names)
	}
	must(t, l.stop())
	l = openLog(t, cfg)
	if l.found.Torn != 0 || len(l.bodies) != 1 {
		t.Errorf("the second time: %+v", l.found)
	}
}

func TestMissingSegment(t *testing.T) {
	cfg := memoryConfig()
	for range 3 {
		l := openLog(t, cfg)
		_, err := l.Append(text("x"))
		must(t, err)
		must(t, l.stop())
	}
	must(t, cfg.FS.Remove(path.Join(logDir, segmentName(2))))
	_, _, err := Open(cfg, nil)
	if damage := (*DamageError)(nil); !errors.As(err, &damage) || !strings.Contains(err.Error(), "00000002.seg") {
		t.Errorf("open without segment 2: %v", err)
	}
	if _, err := cfg.FS.Open(path.Join(logDir, segmentName(4))); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a refused log was changed")
	}
}

// A process is killed between the write of a frame and its sync, the next one finds the frame in the page cache, and then the power fails.
func TestPowerCutAfterAKill(t *testing.T) {
	m := vfs.NewMemory()
	cfg := testConfig
	cfg.FS = m
	killed, _, err := Open(cfg, nil)
	must(t, err)
	b := appendRecord(make([]byte, frameHeaderSize), text("written, not synced"))
	fh := frameHeader{Nonce: killed.w.h.Nonce, Seq: killed.w.seq + 1, Synced: killed.w.seq, Count: 1}
	_, err = killed.w.file.WriteAt(fh.seal(b, killed.w.crc), killed.w.at)
	must(t, errors.Join(err, killed.w.file.Close(), killed.lock.Close()))

	second := openLog(t, cfg)
	must(t, second.stop())
	cfg.FS = m.Crash(vfs.Damage{}, newRand(1))
	third := openLog(t, cfg)
	if len(second.bodies) != 1 || len(third.bodies) != 1 {
		t.Errorf("%d records found after the kill, %d after the power cut", len(second.bodies), len(third.bodies))
	}
}

// When a full disk refuses an append, everything that the same goroutine had begun behind it is refused too, until it has asked for the new number.
func TestFullDiskLeavesNoGap(t *testing.T) {
	var full atomic.Bool
	cfg := Config{FS: vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
		if full.Load() && op.Kind == vfs.Create {
			return 0, syscall.ENOSPC
		}
		return 0, nil
	}), SegmentBytes: 64 << 10}
	l := openLog(t, cfg)
	full.Store(true)
	seen := l.Refused()
	var want []string
	var begun []Pending
	for n := 0; ; n++ {
		p, err := l.Begin(seen, text(fmt.Sprintf("%06d%s", n, strings.Repeat("x", 3000))))
		if errors.Is(err, ErrFull) {
			break
		}
		must(t, err)
		begun = append(begun, p)
	}
	stored := 0
	for i, p := range begun {
		<-p.Done()
		switch _, err := p.Wait(); {
		case err == nil && stored == i:
			stored++
			want = append(want, fmt.Sprintf("%06d", i))
		case err == nil:
			t.Errorf("append %d is stored, %d is not", i, stored)
		case !errors.Is(err, ErrFull):
			t.Errorf("append %d: %v", i, err)
		}
	}
	if stored == len(begun) {
		t.Error("nothing that had begun was refused")
	}
	full.Store(false)
	if _, err := l.Begin(seen, text("too early")); !errors.Is(err, ErrFull) {
		t.Errorf("begun with the old number: %v", err)
	}
	p, err := l.Begin(l.Refused(), text("behind"))
	must(t, err)
	_, err = p.Wait()
	must(t, err)
	want = append(want, "behind")
	must(t, l.stop())
	l = openLog(t, cfg)
	if len(l.bodies) != len(want) {
		t.Fatalf("%d records, want %d", len(l.bodies), len(want))
	}
	for i := range want {
		if !strings.HasPrefix(l.bodies[i], want[i]) {
			t.Errorf("record %d is %.10q, want %q", i, l.bodies[i], want[i])
		}
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
