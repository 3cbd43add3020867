package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/embedded"
)

func TestParseVersion(t *testing.T) {
	for _, c := range []struct {
		line         string
		major, minor int
		fails        bool
	}{
		{line: "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", major: 15, minor: 18},
		{line: "postgres (PostgreSQL) 18.6", major: 18, minor: 6},
		{line: "postgres (PostgreSQL) 19beta1", major: 19},
		{line: "postgres (PostgreSQL) 9.6.24", major: 9, minor: 6},
		{line: "postgres (PostgreSQL) 99999999999999999999.1", fails: true},
		{line: "mysqld 8.0", fails: true},
		{line: "", fails: true},
	} {
		major, minor, err := embedded.ParseVersion(c.line)
		if (err != nil) != c.fails || !c.fails && (major != c.major || minor != c.minor) {
			t.Errorf("%q: %d.%d, %v", c.line, major, minor, err)
		}
	}
}

// fakeServer is a folder with programs that only know their version.
func fakeServer(t *testing.T, version string, programs ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range programs {
		script := "#!/bin/sh\necho '" + name + " (PostgreSQL) " + version + "'\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestNewestServerWins(t *testing.T) {
	server := func(version string) string { return fakeServer(t, version, "initdb", "postgres") }
	old, pg15, pg17, pg179 := server("14.9"), server("15.3"), server("17.2"), server("17.9")
	client := fakeServer(t, "18.1", "psql", "initdb")
	broken := server("x")
	for _, c := range []struct {
		name  string
		dirs  []string
		major int
		want  string
	}{
		{"newest major and minor", []string{pg15, pg17, pg179, old}, 0, pg179},
		{"whatever the order", []string{pg179, pg17, pg15}, 0, pg179},
		{"the major that was asked for", []string{pg17, pg15}, 15, pg15},
		{"a client package and an absent folder are passed over", []string{client, "/no/such/folder", pg15}, 0, pg15},
		{"a broken one is passed over", []string{broken, pg15}, 0, pg15},
		{"too old", []string{old}, 0, ""},
		{"none of that major", []string{pg17}, 15, ""},
		{"none", nil, 0, ""},
	} {
		inst, err := embedded.Newest(t.Context(), c.dirs, c.major)
		if inst.Bin != c.want {
			t.Errorf("%s: %q, want %q (%v)", c.name, inst.Bin, c.want, err)
		}
		var none *embedded.NotFoundError
		if c.want == "" && !errors.As(err, &none) {
			t.Errorf("%s: error %v", c.name, err)
		}
	}
}

func TestNotFoundNamesTheWaysOut(t *testing.T) {
	old := fakeServer(t, "14.9", "initdb", "postgres")
	_, err := embedded.Newest(t.Context(), []string{old}, 0)
	for _, part := range []string{"no PostgreSQL 15 or later to run", old + " has PostgreSQL 14.9", "apt-get install postgresql", "--pg-bin DIR", "--database-url"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q:\n%v", part, err)
		}
	}
}

func TestFindLooksOnlyInTheFolderThatIsNamed(t *testing.T) {
	link := t.TempDir()
	real := fakeServer(t, "17.2", "initdb", "postgres", "pg_basebackup")
	for _, name := range []string{"initdb", "postgres"} {
		if err := os.Symlink(filepath.Join(real, name), filepath.Join(link, name)); err != nil {
			t.Fatal(err)
		}
	}
	inst, err := embedded.Find(t.Context(), link)
	if err != nil || inst.Version() != "17.2" || filepath.Base(inst.Bin) != filepath.Base(real) {
		t.Errorf("links lead to %+v (%v), want %s", inst, err, real)
	}
	for name, dir := range map[string]string{
		"has no program postgres": fakeServer(t, "17.2", "initdb"),
		"is too old":              fakeServer(t, "14.9", "initdb", "postgres"),
		"has no program initdb":   "/no/such/folder",
	} {
		if _, err := embedded.Find(t.Context(), dir); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), dir) {
			t.Errorf("want %q about %s, got: %v", name, dir, err)
		}
	}
}
