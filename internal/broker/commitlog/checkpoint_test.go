package commitlog

import (
	"errors"
	"slices"
	"testing"
)

// Reading begins at the segment that the newest complete checkpoint names, also when newer segments, and starts, follow without one.
func TestReadingBeginsAtTheCheckpoint(t *testing.T) {
	cfg := memoryConfig()
	l := openLog(t, cfg)
	add := func(body string) uint64 {
		t.Helper()
		p, err := l.Append(entry(1, 0, 1, body))
		must(t, err)
		return p.Segment
	}
	fill := func(from uint64, body string) uint64 { // until another segment is in use
		t.Helper()
		for {
			if n := add(body); n > from {
				return n
			}
		}
	}
	first := add("old")
	second := fill(first, "old")
	third := fill(second, "kept")
	_, err := l.Append(CheckpointEnd(1, second, []byte("first")))
	must(t, err)
	fourth := fill(third, "kept")
	must(t, l.stop())
	for range 3 { // a start begins a segment without a checkpoint of its own
		l = openLog(t, cfg)
		if l.places[0].Segment != second || !slices.Contains(l.bodies, "first") {
			t.Fatalf("reading began at segment %d, want %d", l.places[0].Segment, second)
		}
		must(t, l.stop())
	}
	l = openLog(t, cfg)
	_, err = l.Append(CheckpointEnd(2, fourth, []byte("second")))
	must(t, err)
	must(t, l.Release(fourth))
	must(t, l.stop())
	l = openLog(t, cfg)
	if l.places[0].Segment != fourth {
		t.Fatalf("reading began at segment %d, want %d", l.places[0].Segment, fourth)
	}
	must(t, l.Release(fourth+1))
	must(t, l.stop())
	var damage *DamageError
	if _, _, err := Open(cfg, nil); !errors.As(err, &damage) || damage.Segment != fourth {
		t.Fatalf("without the segment that the checkpoint needs: %v", err)
	}
}

// An entry is read by its place too, also one that was not read when the log was opened.
func TestReadAt(t *testing.T) {
	cfg := memoryConfig()
	l := openLog(t, cfg)
	at, err := l.Append(entry(1, 5, 1, "a"))
	must(t, err)
	if p, ok := l.Position(1, 5); !ok || p != at {
		t.Errorf("position %v, %v", p, ok)
	}
	must(t, l.stop())
	l = openLog(t, cfg)
	_, err = l.Append(CheckpointEnd(1, at.Segment+1, nil))
	must(t, err)
	must(t, l.stop())
	l = openLog(t, cfg)
	if _, ok := l.Position(1, 5); ok {
		t.Error("an entry from before the checkpoint has a position")
	}
	if r, err := l.ReadAt(at); err != nil || string(r.Body) != "a" {
		t.Errorf("read %q, %v", r.Body, err)
	}
}
