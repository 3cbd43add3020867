package commitlog

import (
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

func entry(stream uint16, index, term uint64, body string) Record {
	return Record{Kind: KindEntry, Stream: stream, Index: index, Term: term, Body: []byte(body)}
}

// reads checks which entries of stream 1 the log holds: bodies[i] is the one of index first+i.
func (o *opened) reads(t *testing.T, first uint64, bodies ...string) {
	t.Helper()
	lo, next := o.Bounds(1)
	if lo != first || next != first+uint64(len(bodies)) {
		t.Fatalf("the log holds %d to %d, want %d to %d", lo, next, first, first+uint64(len(bodies)))
	}
	for i, want := range bodies {
		r, err := o.Read(1, first+uint64(i))
		if err != nil || string(r.Body) != want {
			t.Errorf("entry %d: %.20q, %v", first+uint64(i), r.Body, err)
		}
		if term, err := o.Term(1, first+uint64(i)); err != nil || term != r.Term {
			t.Errorf("entry %d: term %d, the record says %d, %v", first+uint64(i), term, r.Term, err)
		}
	}
	for _, i := range []uint64{first - 1, next} {
		if _, err := o.Read(1, i); !errors.Is(err, ErrNotHeld) {
			t.Errorf("entry %d: %v", i, err)
		}
		if _, err := o.Term(1, i); !errors.Is(err, ErrNotHeld) {
			t.Errorf("term of entry %d: %v", i, err)
		}
	}
}

func TestRead(t *testing.T) {
	for name, cfg := range map[string]Config{"memory": memoryConfig(), "disk": {FS: vfs.OS{}, Dir: t.TempDir(), SegmentBytes: 6 * align}} {
		t.Run(name, func(t *testing.T) {
			l := openLog(t, cfg)
			long := strings.Repeat("long", 3000)
			for _, r := range []Record{entry(1, 5, 1, "a"), entry(2, 5, 1, "other"), entry(1, 6, 1, long), entry(1, 7, 1, "voided"), entry(1, 8, 1, "voided"), entry(1, 7, 2, "b")} {
				_, err := l.Append(r)
				must(t, err)
			}
			l.reads(t, 5, "a", long, "b")
			_, err := l.Append(Record{Kind: KindRepairedEntry, Stream: 1, Index: 5, Term: 1, Body: []byte("repaired")}, entry(1, 8, 3, "c"))
			must(t, err)
			l.reads(t, 5, "repaired", long, "b", "c")
			must(t, l.stop())
			l = openLog(t, cfg)
			l.reads(t, 5, "repaired", long, "b", "c")
			must(t, l.stop())
		})
	}
}

func TestReadFindsDamage(t *testing.T) {
	cfg := memoryConfig()
	l := openLog(t, cfg)
	p, err := l.Append(entry(1, 1, 1, "a"))
	must(t, err)
	l.reads(t, 1, "a")
	flip(t, cfg.FS, path.Join(logDir, segmentName(p.Segment)), p.At+8)
	if _, err := l.Read(1, 1); !errors.Is(err, ErrDamaged) {
		t.Errorf("an entry with another index: %v", err)
	}
}
