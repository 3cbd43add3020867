package replica

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// A leader is confirmed by the others, in no time and behind everything that was committed; one that is cut off is not, though it believes that it leads; a follower
// never is.
func TestConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t)
		old := tr.leader(0, 1, 2, 3)
		for range 20 {
			_, err := old.propose(0, "x")
			must(t, err)
		}
		began := time.Now()
		must(t, old.Confirm(t.Context(), 0))
		if took := time.Since(began); took > time.Second || !old.Leads(0) {
			t.Errorf("confirmed after %v, it leads: %v", took, old.Leads(0))
		}
		follower := tr.nodes[1+old.cfg.ID%3]
		if err := follower.Confirm(t.Context(), 0); !errors.Is(err, ErrNotLeader) || follower.Leads(0) || follower.Leader(0) != old.cfg.ID {
			t.Errorf("a follower: %v, it knows of node %d", err, follower.Leader(0))
		}
		tr.mu.Lock()
		tr.cut[old.cfg.ID] = true
		tr.mu.Unlock()
		if !old.Leads(0) {
			t.Fatal("it knows already")
		}
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := old.Confirm(short, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cut off: %v", err)
		}
		if err := old.Confirm(t.Context(), 0); !errors.Is(err, ErrNotLeader) || old.Leads(0) {
			t.Errorf("cut off for long: %v", err)
		}
		others := slices.DeleteFunc([]int{1, 2, 3}, func(id int) bool { return id == int(old.cfg.ID) })
		next := tr.leader(0, others...)
		_, err := next.propose(0, "y")
		must(t, err)
		must(t, next.Confirm(t.Context(), 0))
		if got := len(next.lists[0].all()); got != 21 {
			t.Errorf("confirmed with %d commands applied", got)
		}
		for id := 1; id <= 3; id++ {
			must(t, tr.nodes[id].stop())
		}
		if err := next.Confirm(t.Context(), 0); !errors.Is(err, ErrStopped) {
			t.Errorf("stopped: %v", err)
		}
	})
}

// One voter is confirmed by itself.
func TestConfirmAlone(t *testing.T) {
	n := start(t, vfs.NewMemory())
	_, err := n.propose(0, "x")
	must(t, err)
	must(t, n.Confirm(t.Context(), 0))
	must(t, n.stop())
}
