package checker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestHarmCache is the short run of harm to the degraded cache: each manner once, of running relays and of dead ones.
func TestHarmCache(t *testing.T) {
	binary, err := Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("H5 H9 H10 cache", func(t *testing.T) {
		plan, err := NewPlan("cache", *seed)
		if err != nil {
			t.Fatal(err)
		}
		plan.Cycles, plan.Outboxes, plan.Out = len(manners), 2, records(t)
		rec, err := Run(t.Context(), plan, binary, t.Output())
		if err != nil {
			t.Fatal(err)
		}
		t.Log("\n" + rec.Summary())
		if rec.Exit != ExitGreen {
			t.Errorf("exit code %d; again by: go test ./internal/checker -run TestHarmCache -chaos.seed=%#x", rec.Exit, *seed)
		}
	})
}

// cacheFolder is a cache with two files of ten messages each, 1 to 20, and one of another run.
func cacheFolder(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.MkdirAll(filepath.Join(dir, "queue/log"), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name string, raw []byte) {
		if err := os.WriteFile(filepath.Join(dir, "queue", name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("identity", make([]byte, 68))
	for file := range 2 {
		raw := []byte("header")
		for n := range 10 {
			raw = fmt.Appendf(raw, `{"run":"ob1-7","token":"ob1-7-%d","filler":"xxxx"}`, 10*file+n+1)
		}
		raw = append(raw, `{"run":"ob1-70","token":"ob1-70-99"}{"token":"ob1-7-98`...)
		write(fmt.Sprintf("log/0000000%d.seg", file+1), append(raw, make([]byte, 1000)...))
	}
	return dir
}

func TestFindCached(t *testing.T) {
	dir := cacheFolder(t)
	for _, c := range []struct {
		since int64
		want  int
	}{{0, 20}, {13, 7}, {20, 0}} {
		found, err := findCached(dir, "ob1-7", c.since)
		if err != nil || len(found) != c.want || count(found) != c.want {
			t.Errorf("since %d: %d, %v; want %d", c.since, len(found), err, c.want)
		}
	}
	if found, err := findCached(filepath.Join(dir, "none"), "ob1-7", 0); err != nil || len(found) != 0 {
		t.Errorf("no folder: %v, %v", found, err)
	}
	if size, err := logBytes(dir); err != nil || size < 2000 {
		t.Errorf("%d bytes, %v", size, err)
	}
}

// What a harm says it has done can be seen in the files.
func TestHarms(t *testing.T) {
	for seed := range uint64(20) {
		for _, harm := range []Harm{Remove, Flip, Cut} {
			dir := cacheFolder(t)
			found, err := findCached(dir, "ob1-7", 0)
			if err != nil {
				t.Fatal(err)
			}
			before := contents(t, found)
			proof, err := harm.apply(rand.New(rand.NewPCG(seed, 1)), dir, found)
			if err != nil || proof == "" {
				t.Fatalf("%s: %q, %v", harm, proof, err)
			}
			if harm == Remove {
				if _, err := os.Stat(dir); !os.IsNotExist(err) {
					t.Errorf("the folder is there: %v", err)
				}
				continue
			}
			lost := 0
			for _, c := range found {
				raw, err := os.ReadFile(c.file)
				if err != nil {
					t.Fatal(err)
				}
				if harm == Flip && len(raw) != len(before[c.file]) {
					t.Errorf("%s: %d bytes became %d", harm, len(before[c.file]), len(raw))
				}
				if end := int(c.at) + len(c.token); len(raw) < end || !bytes.Equal(raw[c.at:end], []byte(c.token)) {
					lost++
				}
			}
			if lost == 0 || harm == Flip && (lost < flips || lost == len(found)) {
				t.Errorf("seed %d: %s met %d of %d messages", seed, harm, lost, len(found))
			}
		}
	}
	if _, err := Fill.apply(rand.New(rand.NewPCG(1, 1)), t.TempDir(), nil); err == nil {
		t.Error("fill is no harm to files")
	}
}

func contents(t *testing.T, found []cached) map[string][]byte {
	all := map[string][]byte{}
	for _, c := range found {
		raw, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		all[c.file] = raw
	}
	return all
}

// Every manner has its turn, each for one outbox, and all in the one queue of what the servers share.
func TestMannersHaveTheirTurn(t *testing.T) {
	plan, err := NewPlan("cache", 7)
	if err != nil {
		t.Fatal(err)
	}
	plan.Cycles, plan.Outboxes = 2*len(manners), 2
	var seen []manner
	for _, f := range plan.faults() {
		if f.Kind != HarmCache || f.Outbox == "" || !f.Kind.server() {
			t.Errorf("%+v", f)
		}
		seen = append(seen, manner{f.Harm, f.Dead})
	}
	if !slices.Equal(seen, slices.Concat(manners, manners)) {
		t.Errorf("%v", seen)
	}
}
