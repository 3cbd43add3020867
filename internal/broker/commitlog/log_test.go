package commitlog

import (
	"errors"
	"fmt"
	"math"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

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
