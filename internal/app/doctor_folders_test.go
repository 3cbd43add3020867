package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/adapters/postgres"
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
	for path, text := range map[string]string{file: "", filepath.Join(there, "segment"): "twelve bytes"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := config.Default()
	for _, want := range []struct {
		dir    string
		mode   os.FileMode
		barred bool
	}{{there, 0o750, false}, {there + "/", 0o750, false}, {missing, 0, false}, {file, 0, true}, {filepath.Join(file, "in"), 0, true}} {
		c.Cache.Dir = want.dir
		f := cacheFolder(c)
		if f.Path != want.dir || f.Mode.Perm() != want.mode || (f.Err != nil) != want.barred || (f.Free > 0) == want.barred || f.MinFree != int64(c.Cache.MinFree) || f.Max != int64(c.Cache.MaxBytes) ||
			f.Used != map[bool]int64{true: 12, false: 0}[filepath.Base(want.dir) == "there"] && !want.barred {
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

// The room of a database is that of a disk of this machine, or not known, with the reason.
func TestDoctorAsksForTheRoomOfTheDatabase(t *testing.T) {
	well := postgres.GrowthFacts{Dir: t.TempDir(), Here: true}
	if free, why := databaseRoom(well); free <= 0 || why != "" {
		t.Errorf("%d, %s", free, why)
	}
	for reason, change := range map[string]func(*postgres.GrowthFacts){"not certainly on this machine": func(g *postgres.GrowthFacts) { g.Here = false },
		"may not know": func(g *postgres.GrowthFacts) { g.Dir = "" }, "tablespace": func(g *postgres.GrowthFacts) { g.Spread = true }, "no such file": func(g *postgres.GrowthFacts) { g.Dir += "/gone" }} {
		g := well
		change(&g)
		if free, why := databaseRoom(g); free >= 0 || !strings.Contains(why, reason) {
			t.Errorf("%s: %d, %s", reason, free, why)
		}
	}
}
