package vfs

import (
	"errors"
	"slices"
	"testing"
)

func TestInject(t *testing.T) {
	var seen []Kind
	failure, fail := errors.New("broken"), Kind(0)
	of := 0
	m := NewMemory()
	fsys := Inject(m, func(op Op) (int, error) {
		seen = append(seen, op.Kind)
		if op.Kind == fail {
			return of, failure
		}
		return 0, nil
	})
	must(t, fsys.MakeDir("d"))
	f := put(t, fsys, "d/a", "hello", true)
	buf := make([]byte, 5)
	_, err := f.ReadAt(buf, 0)
	must(t, err)
	must(t, fsys.Rename("d/a", "d/b"))
	must(t, fsys.SyncDir("d"))
	_, err = fsys.List("d")
	must(t, err)
	_, err = fsys.OpenDirect("d/b")
	must(t, err)
	_, err = fsys.Lock("d/l")
	must(t, err)
	must(t, fsys.Remove("d/b"))
	m.SetFree(7)
	if free, err := fsys.Free("d"); free != 7 || err != nil {
		t.Errorf("free: %d, %v", free, err)
	}
	if want := []Kind{MakeDir, Create, Write, Datasync, Read, Rename, SyncDir, List, Open, Lock, Remove, Free}; !slices.Equal(seen, want) {
		t.Errorf("seen %v, want %v", seen, want)
	}

	fail, of = Write, 2
	if n, err := f.WriteAt([]byte("JUMPS"), 0); n != 2 || !errors.Is(err, failure) {
		t.Errorf("short write: %d, %v", n, err)
	}
	if err := errors.Join(f.Preallocate(9), f.Truncate(1)); !errors.Is(err, failure) {
		t.Errorf("preallocate and truncate: %v", err)
	}
	_, err = f.ReadAt(buf, 0)
	must(t, err)
	if string(buf) != "JUllo" {
		t.Errorf("after a short write: %q", buf)
	}
	fail, of = Datasync, 0
	if err := f.Datasync(); !errors.Is(err, failure) {
		t.Errorf("datasync: %v", err)
	}
	fail = 0
	must(t, m.SyncDir("."))
	must(t, m.SyncDir("d"))
	put(t, m, "d/c", "", true)
	must(t, m.SyncDir("d"))
	g, err := fsys.Open("d/c")
	must(t, err)
	_, err = g.WriteAt([]byte("lost"), 0)
	must(t, err)
	fail = Datasync
	_ = g.Datasync()
	fail = 0
	must(t, g.Datasync())
	if got := get(t, m.Crash(Damage{Writes: 1, Names: 1, Grows: 1}, rng(1)), "d/c"); got != "\x00\x00\x00\x00" {
		t.Errorf("a second sync brought back what the first one lost: %q", got)
	}
	for kind, do := range map[Kind]func() error{
		Create:  func() error { _, err := fsys.Create("x"); return err },
		Open:    func() error { _, err := fsys.Open("x"); return err },
		Rename:  func() error { return fsys.Rename("x", "y") },
		Remove:  func() error { return fsys.Remove("x") },
		List:    func() error { _, err := fsys.List("."); return err },
		MakeDir: func() error { return fsys.MakeDir("x") },
		SyncDir: func() error { return fsys.SyncDir(".") },
		Lock:    func() error { _, err := fsys.Lock("x"); return err },
		Read:    func() error { _, err := f.ReadAt(buf, 0); return err },
	} {
		if fail = kind; !errors.Is(do(), failure) {
			t.Errorf("operation %d does not fail", kind)
		}
	}
}
