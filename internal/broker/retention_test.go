package broker

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Old records are given up by age, by size of a topic and by that of the node, the oldest first; their segments come back.
func TestRetention(t *testing.T) { synctest.Test(t, retention) }

func retention(t *testing.T) {
	cfg, fsys := memory()
	cfg.RetentionEvery = time.Hour
	cfg.RetentionBytes = 600 << 10
	failed := ""
	cfg.Failed = func(op string, _ error) { failed = op }
	n := startNode(t, cfg, fsys)
	must(t, n.CreateTopic(t.Context(), Topic{Name: "small", Partitions: 1, Bytes: 40 << 10}))
	must(t, n.CreateTopic(t.Context(), Topic{Name: "young", Partitions: 1, Retention: time.Minute}))
	must(t, n.CreateTopic(t.Context(), Topic{Name: "large", Partitions: 1}))
	value := strings.Repeat("x", 10<<10)
	for range 100 {
		for _, topic := range []string{"small", "large"} {
			_, err := n.Append(t.Context(), topic, 0, batchOf(value))
			must(t, err)
		}
	}
	_, err := n.Append(t.Context(), "young", 0, batchOf(value))
	must(t, err)
	synctest.Wait() // the node trims by itself at a checkpoint; two at once would count the same excess twice
	n.trim(t.Context(), time.Now())
	bounds := func(topic string) [2]int64 {
		start, high, err := n.Bounds(topic, 0)
		must(t, err)
		return [2]int64{start, high}
	}
	if b := bounds("small"); b[1] != 100 || b[1]-b[0] != 3 {
		t.Errorf("small: %v", b)
	}
	if b := bounds("young"); b != [2]int64{0, 1} {
		t.Errorf("young: %v", b)
	}
	if b := bounds("large"); b[1] != 100 || b[0] < 40 || b[0] > 50 {
		t.Errorf("large: %v", b)
	}
	if _, err := n.Read(t.Context(), "large", 0, 0, 100); !errors.Is(err, ErrOffset) {
		t.Errorf("below the start: %v", err)
	}
	if got := n.all(t, "large", 0); int64(len(got)) != 100-bounds("large")[0] {
		t.Errorf("large holds %d", len(got))
	}
	n.trim(t.Context(), time.Now().Add(2*time.Minute))
	if b := bounds("young"); b != [2]int64{1, 1} {
		t.Errorf("young, later: %v", b)
	}
	for range 2 {
		must(t, n.host.Checkpoint(t.Context()))
		synctest.Wait() // the goroutine that is told of checkpoints gives the segments back
	}
	left, err := fsys.List("node/log")
	must(t, err)
	if left[0] == "00000001.seg" {
		t.Error("no segment was given back")
	}
	must(t, n.stop())
	n = startNode(t, cfg, fsys)
	if got := n.all(t, "large", 0); len(got) == 0 || got[0] != value {
		t.Errorf("after a restart large holds %d", len(got))
	}
	must(t, n.stop())
	if failed != "" {
		t.Errorf("%s failed", failed)
	}
	if n.trim(t.Context(), time.Now().Add(30*24*time.Hour)); failed != "retention" {
		t.Errorf("a retention that could not be proposed was told as %q", failed)
	}
}

// By the node's bound the oldest records go first, whichever partition holds them.
func TestOldestGoFirst(t *testing.T) { synctest.Test(t, oldestGoFirst) }

func oldestGoFirst(t *testing.T) {
	cfg, fsys := memory()
	cfg.RetentionEvery = 24 * time.Hour
	cfg.RetentionBytes = 160 << 10 // 15 batches
	n := startNode(t, cfg, fsys)
	for _, topic := range []string{"x", "y"} {
		must(t, n.CreateTopic(t.Context(), Topic{Name: topic, Partitions: 1}))
	}
	value := strings.Repeat("v", 10<<10)
	for _, topic := range []string{"x", "y", "x"} {
		for range 10 {
			_, err := n.Append(t.Context(), topic, 0, batchOf(value))
			must(t, err)
		}
		time.Sleep(time.Minute)
	}
	synctest.Wait()
	n.trim(t.Context(), time.Now())
	for topic, want := range map[string]int64{"x": 10, "y": 5} {
		if start, _, err := n.Bounds(topic, 0); err != nil || start != want {
			t.Errorf("%s begins at %d, want %d, %v", topic, start, want, err)
		}
	}
	must(t, n.stop())
}
