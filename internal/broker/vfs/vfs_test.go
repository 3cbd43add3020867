package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"testing"
)

// eachFS runs test on every implementation, with the name of an empty folder.
func eachFS(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, OS{}, t.TempDir()) })
	t.Run("memory", func(t *testing.T) { test(t, NewMemory(), ".") })
	t.Run("injected", func(t *testing.T) {
		test(t, Inject(NewMemory(), func(Op) (int, error) { return 0, nil }), "/")
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put makes a file with these bytes, synced when told.
func put(t *testing.T, fsys FS, name, data string, synced bool) File {
	t.Helper()
	f, err := fsys.Create(name)
	must(t, err)
	_, err = f.WriteAt([]byte(data), 0)
	must(t, err)
	if synced {
		must(t, f.Datasync())
	}
	return f
}

// get returns what a file holds, or "-" when there is none.
func get(t *testing.T, fsys FS, name string) string {
	t.Helper()
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	must(t, err)
	size, err := f.Size()
	must(t, err)
	data := make([]byte, size)
	if n, err := f.ReadAt(data, 0); n < len(data) {
		t.Fatalf("%s: %d of %d bytes: %v", name, n, len(data), err)
	}
	must(t, f.Close())
	return string(data)
}

func TestFiles(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		a, b := path.Join(dir, "a"), path.Join(dir, "b")
		if _, err := fsys.Open(a); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open of a missing file: %v", err)
		}
		f := put(t, fsys, a, "hello", true)
		if _, err := fsys.Create(a); !errors.Is(err, fs.ErrExist) {
			t.Errorf("create over a file: %v", err)
		}
		must(t, f.Preallocate(1000))
		must(t, f.Preallocate(10))
		_, err := f.WriteAt([]byte("end"), 997)
		must(t, err)
		if got, want := get(t, fsys, a), "hello"+string(make([]byte, 992))+"end"; got != want {
			t.Errorf("%d bytes: %q", len(got), got)
		}
		buf := make([]byte, 10)
		if n, err := f.ReadAt(buf, 995); n != 5 || !errors.Is(err, io.EOF) || string(buf[:5]) != "\x00\x00end" {
			t.Errorf("read over the end: %d, %v, %q", n, err, buf)
		}
		must(t, f.Truncate(3))
		must(t, f.Truncate(5))
		if got := get(t, fsys, a); got != "hel\x00\x00" {
			t.Errorf("after truncate: %q", got)
		}
		must(t, put(t, fsys, b, "old", false).Close())
		must(t, fsys.Rename(a, b))
		if got := get(t, fsys, a) + get(t, fsys, b); got != "-hel\x00\x00" {
			t.Errorf("after rename: %q", got)
		}
		_, err = f.WriteAt([]byte("H"), 0) // an open file follows its name
		must(t, err)
		must(t, f.Close())
		if got := get(t, fsys, b); got[0] != 'H' {
			t.Errorf("after a write to the renamed file: %q", got)
		}
		if err := f.Datasync(); err == nil {
			t.Error("a closed file can be synced")
		}
		must(t, fsys.Remove(b))
		if err := fsys.Remove(b); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("remove twice: %v", err)
		}
		if err := fsys.Rename(b, a); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("rename of a missing file: %v", err)
		}
	})
}

func TestFolders(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		sub := path.Join(dir, "sub")
		if _, err := fsys.List(sub); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("list of a missing folder: %v", err)
		}
		if _, err := fsys.Create(path.Join(sub, "a")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("create in a missing folder: %v", err)
		}
		must(t, fsys.MakeDir(sub))
		must(t, fsys.MakeDir(sub))
		must(t, fsys.SyncDir(dir))
		for _, name := range []string{"c", "a", "b"} {
			must(t, put(t, fsys, path.Join(sub, name), name, false).Close())
		}
		must(t, fsys.SyncDir(sub))
		if got, err := fsys.List(sub); err != nil || !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("%v, %v", got, err)
		}
		if err := fsys.SyncDir(path.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("sync of a missing folder: %v", err)
		}
		if err := fsys.MakeDir(path.Join(sub, "a")); err == nil {
			t.Error("a folder over a file")
		}
	})
}

func TestLock(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := path.Join(dir, "lock")
		held, err := fsys.Lock(name)
		must(t, err)
		if _, err := fsys.Lock(name); !errors.Is(err, ErrLocked) {
			t.Errorf("locked twice: %v", err)
		}
		must(t, held.Close())
		again, err := fsys.Lock(name)
		must(t, err)
		must(t, again.Close())
	})
}

func TestDirectRead(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		data := make([]byte, 3*Block+100)
		for i := range data {
			data[i] = byte(i / 7)
		}
		name := path.Join(dir, "a")
		must(t, put(t, fsys, name, string(data), true).Close())
		f, err := fsys.OpenDirect(name)
		must(t, err)
		for _, r := range []struct{ off, n, want int }{{0, Block, Block}, {1, 1, 1}, {Block - 1, 2, 2}, {10, 2 * Block, 2 * Block}, {0, len(data), len(data)},
			{3 * Block, 200, 100}, {3*Block + 90, 20, 10}, {Block, 3 * Block, 2*Block + 100}, {4 * Block, 10, 0}, {5, 0, 0}} {
			buf := make([]byte, r.n)
			n, err := f.ReadAt(buf, int64(r.off))
			if n != r.want || n < r.n && !errors.Is(err, io.EOF) || n == r.n && err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("read of %d at %d: %d, %v", r.n, r.off, n, err)
			}
			if n > 0 && !bytes.Equal(buf[:n], data[r.off:r.off+n]) {
				t.Errorf("read of %d at %d: wrong bytes", r.n, r.off)
			}
		}
		must(t, f.Close())
	})
}

func TestFree(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		if free, err := fsys.Free(dir); free <= 0 || err != nil {
			t.Errorf("%d bytes free, %v", free, err)
		}
		if _, err := fsys.Free(path.Join(dir, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("of a folder that is not there: %v", err)
		}
	})
}
