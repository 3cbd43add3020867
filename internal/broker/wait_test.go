package broker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// waiters are how many wait for partitions of a node.
func (n *Node) waiters() (count int) {
	for _, m := range n.data {
		m.mu.Lock()
		for _, r := range m.rows {
			count += len(r.waiters)
		}
		m.mu.Unlock()
	}
	return count
}

// One wait is for many partitions: the first that grows or goes ends it, and nothing of it is left. Neither another topic nor an older record does.
func TestWaitForMany(t *testing.T) { synctest.Test(t, waitForMany) }

func waitForMany(t *testing.T) {
	cfg, fsys := memory()
	n := startNode(t, cfg, fsys)
	must(t, n.CreateTopic(t.Context(), Topic{Name: "t", Partitions: 9}))
	must(t, n.CreateTopic(t.Context(), Topic{Name: "other", Partitions: 1}))
	all := func(offset int64) (points []Point) {
		for i := range 27 { // each thrice
			points = append(points, Point{"t", int32(i % 9), offset})
		}
		return points
	}
	begin := func(ctx context.Context, points ...Point) <-chan error {
		woken := make(chan error, 1)
		go func() { woken <- n.Wait(ctx, points...) }()
		synctest.Wait()
		return woken
	}
	still := func(woken <-chan error, what string) {
		t.Helper()
		synctest.Wait()
		select {
		case err := <-woken:
			t.Fatalf("%s: %v", what, err)
		default:
		}
	}
	append1 := func(topic string, p int32) {
		t.Helper()
		must(t, second(n.Append(t.Context(), topic, p, batchOf("x"))))
	}
	woken := begin(t.Context(), all(0)...)
	if count := n.waiters(); count != 9 {
		t.Errorf("%d wait for 9 partitions", count)
	}
	append1("other", 0)
	must(t, n.CreateTopic(t.Context(), Topic{Name: "third", Partitions: 1}))
	still(woken, "another topic")
	append1("t", 7)
	must(t, <-woken)
	must(t, n.Wait(t.Context(), all(0)...)) // at once
	woken = begin(t.Context(), all(1)...)
	append1("t", 6)
	still(woken, "a record before the offset")
	append1("t", 6)
	must(t, <-woken)
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for what, points := range map[string][]Point{"many": all(5), "none": nil} {
		if err := n.Wait(short, points...); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := n.Wait(t.Context(), append(all(5), Point{"t", 9, 0})...); !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("a partition that is not: %v", err)
	}
	if count := n.waiters(); count != 0 {
		t.Errorf("%d wait that have gone", count)
	}
	woken = begin(t.Context(), all(5)...)
	must(t, n.DeleteTopic(t.Context(), "t"))
	must(t, <-woken)
	woken = begin(t.Context(), Point{"other", 0, 1})
	must(t, n.stop())
	if err := <-woken; !errors.Is(err, ErrStopped) {
		t.Errorf("stopped: %v", err)
	}
}
