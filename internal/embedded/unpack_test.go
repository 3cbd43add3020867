package embedded_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/waybillmq/waybill/internal/embedded"
)

// entry of a zip file; the mode zero is that of an ordinary file.
type entry struct {
	name string
	mode fs.FileMode
	text string
}

func zipped(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.mode == 0 {
			e.mode = 0o644
		}
		h.SetMode(e.mode)
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, file string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestUnpackKeepsModesWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "a.zip"), zipped(t, entry{name: "pg/", mode: fs.ModeDir | 0o700}, entry{name: "pg/bin/postgres", mode: 0o700, text: "server"},
		entry{name: "pg/share/timezones", mode: 0o600, text: "UTC"}, entry{name: "pg/setuid", mode: fs.ModeSetuid | 0o755}))
	tree := filepath.Join(dir, "tree")
	if err := embedded.Unpack(t.Context(), file, tree, 100, 10); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"": fs.ModeDir | 0o755, "pg": fs.ModeDir | 0o755, "pg/bin": fs.ModeDir | 0o755, "pg/bin/postgres": 0o755,
		"pg/share/timezones": 0o644, "pg/setuid": 0o755} {
		if info, err := os.Stat(filepath.Join(tree, name)); err != nil || info.Mode() != want {
			t.Errorf("%q: %v, want %s (%v)", name, info.Mode(), want, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(tree, "pg/share/timezones")); string(got) != "UTC" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	whole := zipped(t, entry{name: "bin/postgres", text: strings.Repeat("server ", 1000)})
	damaged := bytes.Clone(whole)
	damaged[len("PK..")+40] ^= 0xff // in the compressed bytes
	for _, c := range []struct {
		name    string
		archive []byte
		want    string
	}{
		{"a path that leads out", zipped(t, entry{name: "../evil"}), "may lead out"},
		{"one that leads out in between", zipped(t, entry{name: "bin/../../evil"}), "may lead out"},
		{"an absolute path", zipped(t, entry{name: "/evil"}), "may lead out"},
		{"an absolute folder", zipped(t, entry{name: "/evil/", mode: fs.ModeDir | 0o755}), "may lead out"},
		{"a path of Windows", zipped(t, entry{name: `..\evil`}), "may lead out"},
		{"no name", zipped(t, entry{name: ""}), "may lead out"},
		{"a link to an absolute path", zipped(t, entry{name: "link", mode: fs.ModeSymlink | 0o777, text: "/evil"}), "neither a file nor a folder"},
		{"a link that leads out", zipped(t, entry{name: "link", mode: fs.ModeSymlink | 0o777, text: "../evil"}), "neither a file nor a folder"},
		{"a device", zipped(t, entry{name: "null", mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}), "neither a file nor a folder"},
		{"a name twice", zipped(t, entry{name: "a", text: "1"}, entry{name: "a", text: "2"}), "exists"},
		{"a file as a folder", zipped(t, entry{name: "a", text: "1"}, entry{name: "a/b", text: "2"}), "file exists"},
		{"too large", zipped(t, entry{name: "a", text: strings.Repeat("a", 6000)}, entry{name: "b", text: strings.Repeat("b", 6000)}), "larger than"},
		{"too many", zipped(t, make([]entry, 11)...), "11 files, more than 10"},
		{"cut", whole[:len(whole)-30], "not a valid zip file"},
		{"cut at the front", whole[30:], "zip"},
		{"damaged", damaged, ""},
		{"empty", nil, "not a valid zip file"},
	} {
		dir := t.TempDir()
		err := embedded.Unpack(t.Context(), write(t, filepath.Join(dir, "a.zip"), c.archive), filepath.Join(dir, "tree"), 10_000, 10)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if _, err := os.Lstat(filepath.Join(dir, "evil")); err == nil {
			t.Errorf("%s: a file outside the folder", c.name)
		}
	}
}

func TestUnpackEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	err := embedded.Unpack(ctx, write(t, filepath.Join(dir, "a.zip"), zipped(t, entry{name: "a"})), filepath.Join(dir, "tree"), 100, 10)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
