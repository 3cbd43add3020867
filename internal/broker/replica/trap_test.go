package replica

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// A node that comes back after it was cut off disturbs nobody: it asks whether it would be elected before it begins a term.
func TestReturningNodeDisturbsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t)
		leader := tr.leader(0, 1, 2, 3)
		_, err := leader.propose(0, "before")
		must(t, err)
		away := 1 + leader.cfg.ID%3
		cut := func(yes bool) {
			tr.mu.Lock()
			tr.cut[away] = yes
			tr.mu.Unlock()
		}
		cut(true)
		time.Sleep(30 * time.Second)
		term := leader.Status()[0].Term
		cut(false)
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			_, err := leader.propose(0, "after")
			must(t, err)
		}
		if s := leader.Status()[0]; s.Term != term || s.Leader != leader.cfg.ID {
			t.Errorf("term %d led by node %d, it was term %d of node %d", s.Term, s.Leader, term, leader.cfg.ID)
		}
		for id := 1; id <= 3; id++ {
			must(t, tr.nodes[id].stop())
		}
	})
}

// While a leader's disk does not answer, another node leads, and takes commands. What the first has proposed is stored or not, and never acked by it.
func TestStalledDiskLosesTheLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, stalled := stallable(t)
		old := tr.leader(0, 1, 2, 3)
		_, err := old.propose(0, "before")
		must(t, err)
		time.Sleep(time.Second)
		free := make(chan struct{})
		release := sync.OnceFunc(func() { close(free) })
		t.Cleanup(release)
		stalled[old.cfg.ID].Store(&free)
		began := time.Now()
		answered := make(chan error, 1)
		go func() { _, err := old.propose(0, "slow"); answered <- err }()
		others := slices.DeleteFunc([]int{1, 2, 3}, func(id int) bool { return id == int(old.cfg.ID) })
		next := tr.leader(0, others...)
		_, err = next.propose(0, "after")
		must(t, err)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("another node leads after %v", took)
		}
		if err := <-answered; !errors.Is(err, ErrLeadershipLost) {
			t.Errorf("the slow one: %v", err)
		}
		release()
		time.Sleep(5 * time.Second)
		want := next.lists[0].all()
		for id := 1; id <= 3; id++ {
			if got := tr.nodes[id].lists[0].all(); !slices.Equal(got, want) {
				t.Errorf("node %d has %q, want %q", id, got, want)
			}
			must(t, tr.nodes[id].stop())
		}
	})
}

// So it does when it cannot even begin to write, because the next frame is full of what other groups have begun.
func TestFullFrameLosesTheLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, stalled := stallable(t)
		old := tr.leader(0, 1, 2, 3)
		tr.leader(1, 1, 2, 3).Transfer(1, old.cfg.ID)
		tr.leader(1, int(old.cfg.ID))
		time.Sleep(time.Second)
		free := make(chan struct{})
		release := sync.OnceFunc(func() { close(free) })
		t.Cleanup(release)
		stalled[old.cfg.ID].Store(&free)
		answered := make(chan error, 3)
		for i, group := range []uint16{0, 0, 1} { // a frame whose sync does not end, most of the next one, and what does not fit into that
			go func() {
				_, err := old.propose(group, strings.Repeat("x", 40<<10))
				answered <- err
			}()
			synctest.Wait()
			if blocked := old.groups[1].syncing.Load() != 0; blocked != (i == 2) {
				t.Errorf("behind command %d group 1 waits for the disk: %v", i, blocked)
			}
		}
		began := time.Now()
		others := slices.DeleteFunc([]int{1, 2, 3}, func(id int) bool { return id == int(old.cfg.ID) })
		_, err := tr.leader(1, others...).propose(1, "after")
		must(t, err)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("another node leads after %v", took)
		}
		release()
		for range 3 {
			if err := <-answered; !errors.Is(err, ErrLeadershipLost) {
				t.Errorf("%v", err)
			}
		}
		for id := 1; id <= 3; id++ {
			must(t, tr.nodes[id].stop())
		}
	})
}

// What a leader takes without an answer of the others is bounded; more is refused for certain.
func TestUncommittedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t)
		leader := tr.leader(0, 1, 2, 3)
		_, err := leader.propose(0, "before")
		must(t, err)
		tr.mu.Lock()
		tr.cut[leader.cfg.ID] = true
		tr.mu.Unlock()
		body := []byte(strings.Repeat("x", 40<<10))
		var refused, lost atomic.Int32
		var all sync.WaitGroup
		for range 1200 { // 48 MB
			all.Go(func() {
				switch _, err := leader.Propose(context.Background(), 0, fsm.Command{Type: 9, Body: body}, 0); {
				case errors.Is(err, ErrNotLeader):
					refused.Add(1)
				case errors.Is(err, ErrLeadershipLost):
					lost.Add(1)
				default:
					t.Errorf("without the others: %v", err)
				}
			})
		}
		all.Wait()
		if n := lost.Load(); n < 100 || int(n)*len(body) > 18<<20 {
			t.Errorf("%d commands were taken, %d refused", n, refused.Load())
		}
		for id := 1; id <= 3; id++ {
			must(t, tr.nodes[id].stop())
		}
	})
}

// Who waits in vain is told for whom: for this node's own disk, or for the others.
func TestTimeoutsSayWhoIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, stalled := stallable(t)
		leader := tr.leader(0, 1, 2, 3)
		_, err := leader.propose(0, "before")
		must(t, err)
		time.Sleep(time.Second)
		for _, c := range []struct {
			own  bool
			want error
		}{{false, ErrUnreplicated}, {true, ErrTimeout}} {
			free := make(chan struct{})
			release := sync.OnceFunc(func() { close(free) })
			t.Cleanup(release)
			for id := 1; id <= 3; id++ {
				if c.own == (id == int(leader.cfg.ID)) {
					stalled[id].Store(&free)
				}
			}
			_, err := leader.Propose(t.Context(), 0, fsm.Command{Type: 9, Body: []byte("late")}, 500*time.Millisecond)
			if !errors.Is(err, c.want) {
				t.Errorf("own disk %v: %v, want %v", c.own, err, c.want)
			}
			for id := range stalled {
				stalled[id].Store(nil)
			}
			release()
			time.Sleep(5 * time.Second)
			leader = tr.leader(0, 1, 2, 3)
			time.Sleep(time.Second)
		}
		for id := 1; id <= 3; id++ {
			must(t, tr.nodes[id].stop())
		}
	})
}
