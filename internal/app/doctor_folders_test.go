package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/waybillmq/waybill/internal/config"
)

// The folder of the cache is looked at, or where it would be made, and nothing is made by that.
func TestDoctorLooksAtTheCache(t *testing.T) {
	dir := t.TempDir()
	there, missing, file := filepath.Join(dir, "there"), filepath.Join(dir, "a", "b"), filepath.Join(dir, "file")
	if err := os.Mkdir(there, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(there, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	for _, want := range []struct {
		dir    string
		mode   os.FileMode
		barred bool
	}{{there, 0o750, false}, {there + "/", 0o750, false}, {missing, 0, false}, {file, 0, true}, {filepath.Join(file, "in"), 0, true}} {
		c.Cache.Dir = want.dir
		f := cacheFolder(c)
		if f.Path != want.dir || f.Mode.Perm() != want.mode || (f.Err != nil) != want.barred || (f.Free > 0) == want.barred || f.MinFree != int64(c.Cache.MinFree) {
			t.Errorf("%s: %+v", want.dir, f)
		}
	}
	if _, err := os.Stat(filepath.Dir(missing)); !os.IsNotExist(err) {
		t.Errorf("looking has made it: %v", err)
	}
	c.Cache.Enabled = false
	if f := cacheFolder(c); f != nil {
		t.Errorf("there is no cache, and a folder of it: %+v", f)
	}
}
