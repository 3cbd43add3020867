package deploy_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// S19: the line of the Dockerfile gives the same bytes in another folder, at another time and in another time zone, so whoever has the sources can tell whether a program
// was built from them. Without what git says about the folder, which both builds of one commit share.
func TestTwoBuildsAreEqual_S19(t *testing.T) {
	_, line := dockerfile(t)
	copied := filepath.Join(t.TempDir(), "elsewhere")
	copySources(t, copied)
	var built [2][]byte
	for i, dir := range []string{root, copied} {
		out := filepath.Join(t.TempDir(), "waybill")
		cmd := exec.Command("/bin/sh", "-c", strings.Replace(line, "/out/waybill", out, 1))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "TZ="+[]string{"UTC", "Asia/Tokyo"}[i])
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, said)
		}
		var err error
		if built[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Errorf("two builds differ: %d and %d bytes", len(built[0]), len(built[1]))
	}
}

// copySources copies the repository without its history.
func copySources(t *testing.T, to string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && rel != "." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
