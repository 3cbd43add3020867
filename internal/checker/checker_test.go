package checker

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay/relaytest"
)

func TestMain(m *testing.M) { testservices.Main(m) }

var (
	seed   = flag.Uint64("chaos.seed", uint64(time.Now().UnixNano())&0xffffffff, "of the runs")
	cycles = flag.Int("chaos.cycles", 24, "faults of the short run")
	bugs   = flag.Int("chaos.bugs", 1, "planted bugs of the short run")
)

// TestChaos is the short run: every kind of fault, every kill point, and some planted bugs. The long one is the program chaos.
func TestChaos(t *testing.T) {
	binary, err := Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("G1 F1 C2 C9 kills", func(t *testing.T) {
		plan, err := NewPlan("mixed", *seed)
		if err != nil {
			t.Fatal(err)
		}
		plan.Cycles, plan.For, plan.Out = *cycles, 3*time.Minute, records(t)
		rec, err := Run(t.Context(), plan, binary, t.Output())
		if err != nil {
			t.Fatal(err)
		}
		t.Log("\n" + rec.Summary())
		if rec.Exit != ExitGreen {
			t.Errorf("exit code %d; again by: go test ./internal/checker -run TestChaos -chaos.seed=%#x -chaos.cycles=%d", rec.Exit, *seed, *cycles)
		}
		again, err := Judge(plan.Out)
		if err != nil || again.Exit != rec.Exit || len(again.Violations) != len(rec.Violations) {
			t.Errorf("judged again from the records: exit %d, %v; the run itself gave %d", again.Exit, err, rec.Exit)
		}
	})
	chosen, err := ChooseBugs(nil, false, *bugs, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, bug := range chosen {
		t.Run("planted "+string(bug), func(t *testing.T) {
			caught, rec, err := Hunt(t.Context(), bug, false, *seed, binary, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			if !caught {
				t.Errorf("the checker did not see it\n%s", rec.Summary())
			}
		})
	}
}

// records makes a folder that stays when the test fails.
func records(t *testing.T) string {
	dir, err := makeDir("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the records of the run are in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// kill -9 of the demonstration, again and again on one folder: the bundled broker and PostgreSQL come back, and nothing is there twice.
func TestDemoKills(t *testing.T) {
	binary, err := Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := KillDemo(t.Context(), binary, 5, rand.Uint64N(1<<32), t.Output()); err != nil {
		t.Error(err)
	}
}

func TestEveryBugHasATrap(t *testing.T) {
	for _, bug := range kp.Bugs {
		if _, ok := traps[bug]; !ok {
			t.Errorf("no trap for %s", bug)
		}
	}
	all, err := ChooseBugs(nil, true, 0, time.Now())
	if err != nil || len(all) != len(traps) {
		t.Errorf("all bugs: %v, %v", all, err)
	}
	seen := map[kp.Bug]bool{}
	for day := range 30 { // every bug has its turn
		some, err := ChooseBugs(nil, false, 2, time.Unix(int64(day)*86400, 0))
		if err != nil || len(some) != 2 {
			t.Fatalf("day %d: %v, %v", day, some, err)
		}
		for _, bug := range some {
			seen[bug] = true
		}
	}
	if len(seen) != len(traps) {
		t.Errorf("%d of %d bugs have had their turn after 30 days", len(seen), len(traps))
	}
	if _, err := ChooseBugs([]string{"none_such"}, false, 0, time.Now()); err == nil {
		t.Error("a bug that does not exist was accepted")
	}
}

func TestSameSeedSameFaults(t *testing.T) {
	a, err := NewPlan("mixed", 7)
	if err != nil {
		t.Fatal(err)
	}
	b := a
	b.Seed = 8
	if !slices.Equal(a.faults(), a.faults()) {
		t.Error("one seed gave two lists of faults")
	}
	if slices.Equal(a.faults(), b.faults()) {
		t.Error("two seeds gave one list of faults")
	}
	points := map[kp.Point]bool{}
	for _, f := range a.faults() {
		points[f.Point] = true
	}
	if len(points) != len(kp.Points)+1 {
		t.Errorf("200 cycles use %d of %d kill points", len(points)-1, len(kp.Points))
	}
	if _, err := NewPlan("none such", 1); err == nil {
		t.Error("a profile that does not exist was accepted")
	}
}

func TestReceiptIDs(t *testing.T) {
	for _, c := range []struct {
		raw  []byte
		want []int64
		bad  bool
	}{
		{raw: nil, want: nil},
		{raw: []byte{5}, want: []int64{5}},
		{raw: []byte{5, 1, 1}, want: []int64{5, 6, 7}},
		{raw: []byte{0xac, 0x02, 0x81, 0x01}, want: []int64{300, 429}},
		{raw: []byte{0x80}, bad: true},
		{raw: slices.Repeat([]byte{0x80}, 11), bad: true},
	} {
		got, err := idsOf(c.raw)
		if (err != nil) != c.bad || (!c.bad && !slices.Equal(got, c.want)) {
			t.Errorf("%x: got %v, %v; want %v", c.raw, got, err, c.want)
		}
	}
}

// TestDecide checks that what proves nothing is never green, and that each violation is red.
func TestDecide(t *testing.T) {
	good := func() (Record, Evidence) {
		plan, err := NewPlan("kill", 1)
		if err != nil {
			t.Fatal(err)
		}
		fact := relaytest.Fact{Topic: "t", Key: "k", N: 1, Token: "a"}
		return Record{Plan: plan, Faults: []Fault{{Kind: KillOwner, Effect: true, InFlight: true}}}, Evidence{
			Name: "ob1", Drained: true, PerSec: 500, Epochs: 2, Heard: map[string]string{"a": "ok", "b": "failed"}, Rows: Count{Log: 1, Sent: 1},
			Evidence: relaytest.Evidence{Committed: []relaytest.Fact{fact}, Aborted: []string{"b"}, Receipts: map[string]relaytest.Place{"a": {Lane: "l", Offset: 0}},
				Delivered: []relaytest.Delivery{{Topic: "t", Key: "k", N: 1, Token: "a", Lane: "l"}}},
		}
	}
	for name, c := range map[string]struct {
		change func(*Record, *Evidence)
		exit   int
		text   string
	}{
		"green":                  {func(*Record, *Evidence) {}, ExitGreen, ""},
		"lost":                   {func(_ *Record, e *Evidence) { e.Delivered = nil }, ExitViolation, "I1"},
		"phantom":                {func(_ *Record, e *Evidence) { e.Delivered = append(e.Delivered, relaytest.Delivery{Token: "b"}) }, ExitViolation, "I2"},
		"an older epoch settled": {func(_ *Record, e *Evidence) { e.Fences = []string{"x"} }, ExitViolation, "I10"},
		"an outage killed":       {func(_ *Record, e *Evidence) { e.Outages = []string{"x"} }, ExitViolation, "I12"},
		"stalled":                {func(_ *Record, e *Evidence) { e.Stalled = true }, ExitViolation, "I11"},
		"a relay ended":          {func(_ *Record, e *Evidence) { e.Crashes = []string{"x"} }, ExitViolation, "by itself"},
		"rows do not add up":     {func(_ *Record, e *Evidence) { e.Rows.Sent = 0 }, ExitViolation, "I12"},
		"the database lost":      {func(_ *Record, e *Evidence) { e.Heard["c"] = "ok" }, ExitViolation, "database lost"},
		"async may be lost":      {func(_ *Record, e *Evidence) { e.Heard["c"] = "ok async" }, ExitGreen, ""},
		"too slow":               {func(_ *Record, e *Evidence) { e.PerSec = 1 }, ExitVoid, "a second"},
		"a fault without effect": {func(r *Record, _ *Evidence) { r.Faults[0].Effect = false }, ExitVoid, "took effect"},
		"nothing in flight":      {func(r *Record, _ *Evidence) { r.Faults[0].InFlight = false }, ExitVoid, "in flight"},
		"not drained":            {func(_ *Record, e *Evidence) { e.Drained = false }, ExitVoid, "drain"},
		"two heads":              {func(r *Record, _ *Evidence) { r.Heads = 1 }, ExitViolation, "I9"},
		"the oracle is wrong":    {func(_ *Record, e *Evidence) { e.Heard["a"] = "failed" }, ExitVoid, "oracle"},
	} {
		t.Run(name, func(t *testing.T) {
			r, e := good()
			c.change(&r, &e)
			r.judge(&e)
			r.decide()
			all := strings.Join(append(r.Violations, r.Void...), "\n")
			if r.Exit != c.exit || !strings.Contains(all, c.text) {
				t.Errorf("exit %d, want %d and %q:\n%s", r.Exit, c.exit, c.text, all)
			}
			dir := t.TempDir()
			if err := e.save(dir); err != nil {
				t.Fatal(err)
			}
			if err := r.save(filepath.Join(dir, "run.json")); err != nil {
				t.Fatal(err)
			}
			if again, err := Judge(dir); err != nil || again.Exit != r.Exit || again.Summary() != r.Summary() {
				t.Errorf("judged again: %v\n%s\nwant\n%s", err, again.Summary(), r.Summary())
			}
		})
	}
}

func TestIntents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "intents")
	l, err := newIntents(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.plan(Intent{Token: "a", Plan: "commit"}, Intent{Token: "b", Plan: "commit", Async: true}, Intent{Token: "c", Plan: "cut"}); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(path); err != nil || strings.Count(string(raw), "\n") != 3 {
		t.Errorf("on disk before the transaction: %q, %v", raw, err)
	}
	l.hear(Intent{Token: "a", Heard: "ok"}, Intent{Token: "b", Heard: "ok", Async: true})
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	heard, err := readIntents(path)
	if err != nil || heard["a"] != "ok" || heard["b"] != "ok async" || heard["c"] != "" || len(heard) != 3 {
		t.Errorf("read back: %v, %v", heard, err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if wait(ctx, time.Hour) || wait(ctx, 0) {
		t.Error("waited for an ended context")
	}
}
