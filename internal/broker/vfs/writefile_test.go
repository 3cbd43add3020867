package vfs

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestWriteFile(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := path.Join(dir, "a")
		put(t, fsys, name+".new", "left by a crash, and longer", false)
		for _, data := range []string{"old", "new", ""} {
			must(t, WriteFile(fsys, name, []byte(data)))
			if got := get(t, fsys, name) + get(t, fsys, name+".new"); got != data+"-" {
				t.Errorf("%q was written, there is %q", data, got)
			}
		}
		if err := WriteFile(fsys, path.Join(dir, "none", "a"), nil); err == nil {
			t.Error("written into a folder that is not there")
		}
	})
}

// written is a file system with a synced file d/a, or none when old is "-", and what a crash left of another write.
func written(t *testing.T, old string) *Memory {
	t.Helper()
	m := NewMemory()
	must(t, m.MakeDir("d"))
	must(t, m.SyncDir("."))
	if old != "-" {
		must(t, WriteFile(m, "d/a", []byte(old)))
	}
	put(t, m, "d/a.new", "junk", true)
	must(t, m.SyncDir("d"))
	return m
}

// found returns what many crashes at this moment leave of d/a.
func found(t *testing.T, m *Memory) map[string]bool {
	t.Helper()
	seen := map[string]bool{}
	for seed := range uint64(100) {
		seen[get(t, m.Crash(Damage{Writes: 0.5, Names: 0.5, Grows: 0.5}, rng(seed)), "d/a")] = true
	}
	return seen
}

// A crash before or after any operation, or an error of one, leaves the old file or the new one, whole; after success the new one.
func TestWriteFileIsWholeAfterACrash(t *testing.T) {
	after := strings.Repeat("new", 900) // several sectors, so that it can be torn
	for _, old := range []string{"-", strings.Repeat("old", 700)} {
		whole := func(when string, seen map[string]bool) {
			t.Helper()
			for got := range seen {
				if got != old && got != after {
					t.Errorf("%s: there is %.20q of %d bytes", when, got, len(got))
				}
			}
		}
		m := written(t, old)
		var kinds []Kind
		both := false
		must(t, WriteFile(Inject(m, func(op Op) (int, error) {
			seen := found(t, m)
			whole(fmt.Sprint("a crash before operation ", op), seen)
			both = both || len(seen) == 2
			kinds = append(kinds, op.Kind)
			return 0, nil
		}), "d/a", []byte(after)))
		if want := []Kind{Remove, Create, Write, Datasync, Rename, SyncDir}; !slices.Equal(kinds, want) || !both {
			t.Errorf("operations %v, want %v; both files were found: %v", kinds, want, both)
		}
		if seen := found(t, m); len(seen) != 1 || !seen[after] {
			t.Errorf("after success a crash leaves %d different files", len(seen))
		}
		for _, failing := range kinds {
			broken := errors.New("broken")
			m := written(t, old)
			if err := WriteFile(Inject(m, func(op Op) (int, error) {
				if op.Kind == failing {
					return op.Len / 2, broken // half of a write gets there
				}
				return 0, nil
			}), "d/a", []byte(after)); !errors.Is(err, broken) {
				t.Errorf("operation %v fails: %v", failing, err)
			}
			whole(fmt.Sprint("a crash after the failure of operation ", failing), found(t, m))
			whole(fmt.Sprint("the failure of operation ", failing), map[string]bool{get(t, m, "d/a"): true})
		}
	}
}
