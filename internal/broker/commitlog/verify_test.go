package commitlog

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// damaged is a log of several segments, and what is done to it.
func TestVerifyAndRepair(t *testing.T) {
	name := func(segment uint64) string { return path.Join(testConfig.Dir, logDir, segmentName(segment)) }
	flip := func(t *testing.T, fsys vfs.FS, segment uint64, at int64) {
		t.Helper()
		f, err := fsys.Open(name(segment))
		must(t, err)
		b := make([]byte, 1)
		_, err = f.ReadAt(b, at)
		must(t, err)
		b[0] ^= 1
		_, err = f.WriteAt(b, at)
		must(t, err)
		must(t, errors.Join(f.Datasync(), f.Close()))
	}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, fsys vfs.FS, places []Position)
		kept   func(places []Position) int // records that are left
	}{
		{"nothing", func(*testing.T, vfs.FS, []Position) {}, func(places []Position) int { return len(places) }},
		{"a record", func(t *testing.T, fsys vfs.FS, places []Position) {
			flip(t, fsys, places[12].Segment, places[12].At+30)
		}, func([]Position) int { return 12 }},
		{"a header", func(t *testing.T, fsys vfs.FS, places []Position) { flip(t, fsys, places[12].Segment, 20) }, func(places []Position) int {
			return slices.IndexFunc(places, func(p Position) bool { return p.Segment == places[12].Segment })
		}},
		{"a missing segment", func(t *testing.T, fsys vfs.FS, places []Position) { must(t, fsys.Remove(name(places[12].Segment))) }, func(places []Position) int {
			return slices.IndexFunc(places, func(p Position) bool { return p.Segment == places[12].Segment })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := memoryConfig()
			l := openLog(t, cfg)
			var places []Position
			var bodies []string
			for i := range 30 {
				body := strings.Repeat(string(rune('a'+i%26)), 1500)
				p, err := l.Append(entry(1, uint64(i+1), 1, body))
				must(t, err)
				places, bodies = append(places, p), append(bodies, body)
			}
			must(t, l.stop())
			if places[12].Segment == places[0].Segment || places[12].Segment == places[29].Segment {
				t.Fatalf("the segments are too long for this test: %v", places)
			}
			c.damage(t, cfg.FS, places)
			kept := c.kept(places)
			harmed := kept < len(places)
			report, err := Verify(cfg, nil)
			must(t, err)
			if (len(report.Damage) > 0) != harmed {
				t.Fatalf("verify: %+v", report)
			}
			var got []string
			read, found, err := OpenRead(cfg, func(_ Position, r Record) error { got = append(got, string(r.Body)); return nil })
			must(t, err)
			if !slices.Equal(got, bodies[:kept]) || (found.Damage != nil) != harmed {
				t.Errorf("%d records before the damage, want %d; %v", len(got), kept, found.Damage)
			}
			if _, err := read.Append(entry(1, 99, 1, "x")); !errors.Is(err, ErrClosed) {
				t.Errorf("append to a log that is only read: %v", err)
			}
			if r, err := read.ReadAt(places[0]); err != nil || string(r.Body) != bodies[0] {
				t.Errorf("read: %v", err)
			}
			must(t, read.Close())
			if harmed {
				var damage *DamageError
				if _, _, err := Open(cfg, nil); !errors.As(err, &damage) {
					t.Fatalf("open: %v", err)
				}
			}
			lost, err := Repair(cfg)
			must(t, err)
			if (lost.Damage != nil) != harmed {
				t.Errorf("repair: %+v", lost)
			}
			again, err := Repair(cfg)
			if err != nil || again.Damage != nil {
				t.Errorf("repaired twice: %+v, %v", again, err)
			}
			l = openLog(t, cfg)
			if !slices.Equal(l.bodies, bodies[:kept]) {
				t.Errorf("%d records are left, want %d", len(l.bodies), kept)
			}
			_, err = l.Append(entry(1, uint64(kept+1), 2, "goes on"))
			must(t, err)
			must(t, l.stop())
			if report, err := Verify(cfg, nil); err != nil || len(report.Damage) > 0 || !report.Clean {
				t.Errorf("after the repair: %+v, %v", report, err)
			}
		})
	}
}

// A log in use is left alone.
func TestVerifyOfALogInUse(t *testing.T) {
	cfg := memoryConfig()
	l := openLog(t, cfg)
	if _, err := Verify(cfg, nil); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("verify: %v", err)
	}
	if _, err := Repair(cfg); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("repair: %v", err)
	}
	if _, _, err := OpenRead(cfg, nil); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("read: %v", err)
	}
	must(t, l.stop())
}
