package vfs

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	for seed := range uint64(200) {
		m := NewMemory()
		must(t, m.MakeDir("d"))
		must(t, m.SyncDir("."))
		f := put(t, m, "d/a", strings.Repeat("x", 5000), true)
		must(t, m.SyncDir("d"))
		_, err := f.WriteAt(bytes.Repeat([]byte("y"), 3000), 4096)
		must(t, err)
		after := m.Crash(Damage{Writes: 0.5, Names: 0.5, Grows: 0.5}, rng(seed))
		got := get(t, after, "d/a")
		if len(got) < 5000 || len(got) > 7096 || strings.Trim(got[:4096], "x") != "" {
			t.Fatalf("seed %d: %d bytes, the synced sectors changed", seed, len(got))
		}
		for lo := 4096; lo+512 <= 4608; lo += 512 {
			if s := got[lo : lo+512]; strings.Trim(s, "x") != "" && strings.Trim(s, "y") != "" {
				t.Fatalf("seed %d: a sector is torn in itself: %q", seed, s)
			}
		}
	}
}

func TestCrashTearsAndReorders(t *testing.T) {
	m := NewMemory()
	f := put(t, m, "a", strings.Repeat("x", 1024), true)
	must(t, m.SyncDir("."))
	_, err := f.WriteAt(bytes.Repeat([]byte("y"), 1024), 0)
	must(t, err)
	seen := map[string]bool{}
	for seed := range uint64(100) {
		got := get(t, m.Crash(Damage{Writes: 0.5}, rng(seed)), "a")
		seen[got[:1]+got[512:513]] = true
	}
	if len(seen) != 4 {
		t.Errorf("of two unsynced sectors only %v were seen", seen)
	}
	if got := get(t, m.Crash(Damage{}, rng(1)), "a"); strings.Trim(got, "x") != "" {
		t.Error("a crash that keeps nothing kept a write")
	}
	if got := get(t, m.Crash(Damage{Writes: 1}, rng(1)), "a"); strings.Trim(got, "y") != "" {
		t.Error("a crash that keeps everything lost a write")
	}
	if got := get(t, m, "a"); strings.Trim(got, "y") != "" {
		t.Error("Crash changed its receiver")
	}
}

// A file with synced bytes in a folder that was never synced, or in a new folder whose parent was not, is gone.
func TestCrashLosesNamesNotSynced(t *testing.T) {
	m := NewMemory()
	must(t, m.MakeDir("new"))
	put(t, m, "new/a", "x", true)
	must(t, m.SyncDir("new"))
	put(t, m, "b", "x", true)
	if got := get(t, m.Crash(Damage{}, rng(1)), "b"); got != "-" {
		t.Error("a name that was not synced is there")
	}
	if names, _ := m.Crash(Damage{}, rng(1)).List("."); len(names) != 0 {
		t.Errorf("%v survived without a sync of the root", names)
	}
	if got := get(t, m.Crash(Damage{Names: 1}, rng(1)), "new/a"); got != "x" {
		t.Error("a crash that keeps all names lost one")
	}
	must(t, m.SyncDir("."))
	if got := get(t, m.Crash(Damage{}, rng(1)), "new/a"); got != "x" {
		t.Error("a synced name is gone")
	}
	must(t, m.Remove("new/a"))
	if got := get(t, m.Crash(Damage{}, rng(1)), "new/a"); got != "x" {
		t.Error("a removal that was not synced took place")
	}
}

// After a rename either the old state or the new one is found, never both names and never none.
func TestCrashKeepsRenamesWhole(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(50) {
		m := NewMemory()
		must(t, m.MakeDir("d"))
		put(t, m, "tmp", "new", true)
		put(t, m, "d/a", "old", true)
		must(t, m.SyncDir("d"))
		must(t, m.SyncDir("."))
		must(t, m.Rename("tmp", "d/a"))
		after := m.Crash(Damage{Names: 0.5}, rng(seed))
		seen[get(t, after, "tmp")+get(t, after, "d/a")] = true
		must(t, m.SyncDir("d"))
		after = m.Crash(Damage{}, rng(seed))
		if got := get(t, after, "tmp") + get(t, after, "d/a"); got != "-new" {
			t.Fatalf("seed %d: after the sync of one folder: %s", seed, got)
		}
	}
	if len(seen) != 2 || !seen["newold"] || !seen["-new"] {
		t.Errorf("seen: %v", seen)
	}
}

func TestCrashFlips(t *testing.T) {
	m := NewMemory()
	put(t, m, "a", strings.Repeat("\x00", 1000), true)
	must(t, m.SyncDir("."))
	a, b := get(t, m.Crash(Damage{Flips: 1}, rng(7)), "a"), get(t, m.Crash(Damage{Flips: 1}, rng(7)), "a")
	if a != b || len(strings.Trim(a, "\x00")) != 1 {
		t.Errorf("one flip: %d bytes changed, the same again: %v", len(strings.Trim(a, "\x00")), a == b)
	}
	if got := NewMemory().Crash(Damage{Flips: 3}, rng(1)); got == nil {
		t.Error("no file to flip")
	}
}
