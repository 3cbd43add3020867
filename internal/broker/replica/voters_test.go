package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// trio is three hosts whose net is a call.
type trio struct {
	t     *testing.T
	fs    [4]vfs.FS // of nodes 1 to 3
	mu    sync.Mutex
	nodes [4]*node
	cut   [4]bool            // guarded by mu
	drop  func(Message) bool // may be nil
}

func newTrio(t *testing.T) *trio {
	tr := &trio{t: t}
	for id := range tr.fs[1:] {
		tr.fs[id+1] = vfs.NewMemory()
		tr.start(id + 1)
	}
	return tr
}

func (tr *trio) start(id int) {
	tr.t.Helper()
	r := NewRecovery()
	log, found, err := commitlog.Open(commitlog.Config{FS: tr.fs[id], Dir: ".", SegmentBytes: 64 << 10}, r.Record)
	must(tr.t, err)
	n := &node{found: found}
	cfg := Config{ID: uint64(id), Voters: []uint64{1, 2, 3}, Opens: found.Opens, Send: tr.send}
	for range testGroups {
		n.lists = append(n.lists, &list{})
		cfg.Machines = append(cfg.Machines, n.lists[len(n.lists)-1])
	}
	n.Host, err = New(cfg, log, r)
	must(tr.t, err)
	for _, g := range n.groups {
		g.store.keep = 1 << 10 // so that little is in memory for who is behind
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	n.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	tr.t.Cleanup(func() { _ = n.stop() })
	tr.mu.Lock()
	tr.nodes[id] = n
	tr.mu.Unlock()
}

func (tr *trio) send(m Message) {
	tr.mu.Lock()
	to, lost := tr.nodes[m.To], tr.cut[m.To] || tr.cut[m.From]
	tr.mu.Unlock()
	if to == nil || lost || tr.drop != nil && tr.drop(m) {
		return
	}
	if err := to.Deliver(m); err != nil {
		tr.t.Error(err)
	}
}

// leader waits until one of the nodes leads a group.
func (tr *trio) leader(group uint16, of ...int) *node {
	tr.t.Helper()
	for range 200 {
		for _, id := range of {
			if n := tr.nodes[id]; n.groups[group].leads.Load() {
				return n
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	tr.t.Fatalf("nobody leads group %d after 20 s", group)
	return nil
}

// What a leader answers is applied by all three in the same order; without it the other two go on and lose nothing; it catches up when it is back.
func TestThreeVoters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t)
		var want []string
		say := func(n *node, count int) {
			t.Helper()
			for range count {
				body := fmt.Sprint("command ", len(want))
				at, err := n.propose(1, body)
				must(t, err)
				if at != int64(len(want)) {
					t.Fatalf("%q was put at %d, want %d", body, at, len(want))
				}
				want = append(want, body)
			}
		}
		first := tr.leader(1, 1, 2, 3)
		say(first, 50)
		if _, err := tr.nodes[1+first.cfg.ID%3].propose(1, "to a follower"); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower: %v", err)
		}
		gone := int(first.cfg.ID)
		must(t, first.stop())
		others := slices.DeleteFunc([]int{1, 2, 3}, func(id int) bool { return id == gone })
		second := tr.leader(1, others...)
		say(second, 50)
		time.Sleep(2 * time.Second)
		status := second.Status()[1]
		for _, p := range status.Peers {
			if away := p.Node == uint64(gone); away == p.Active || away && p.Lag < 50 || !away && p.Lag > 0 {
				t.Errorf("of node %d the leader says %+v", p.Node, p)
			}
		}
		tr.start(gone)
		time.Sleep(10 * time.Second)
		for id := 1; id <= 3; id++ {
			if got := tr.nodes[id].lists[1].all(); !slices.Equal(got, want) {
				t.Errorf("node %d has applied %d commands, want %d: %q", id, len(got), len(want), got)
			}
		}
		for id := 1; id <= 3; id++ {
			must(t, tr.nodes[id].stop())
		}
	})
}

// A leader that is cut off answers nothing any more: it steps down, and what it has proposed may be stored or not.
func TestLeaderCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t)
		old := tr.leader(0, 1, 2, 3)
		_, err := old.propose(0, "before")
		must(t, err)
		tr.mu.Lock()
		tr.cut[old.cfg.ID] = true
		tr.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := old.Propose(ctx, 0, fsm.Command{Type: 9, Body: []byte("alone")}, 0); !errors.Is(err, ErrLeadershipLost) {
			t.Errorf("without the others: %v", err)
		}
		if _, err := old.Propose(ctx, 0, fsm.Command{Type: 9, Body: []byte("later")}, 0); !errors.Is(err, ErrNotLeader) {
			t.Errorf("after that: %v", err)
		}
		others := slices.DeleteFunc([]int{1, 2, 3}, func(id int) bool { return id == int(old.cfg.ID) })
		next := tr.leader(0, others...)
		_, err = next.propose(0, "after")
		must(t, err)
		tr.mu.Lock()
		tr.cut[old.cfg.ID] = false
		tr.mu.Unlock()
		time.Sleep(10 * time.Second)
		for id := 1; id <= 3; id++ {
			if got := tr.nodes[id].lists[0].all(); !slices.Equal(got, []string{"before", "after"}) {
				t.Errorf("node %d has %q", id, got)
			}
			must(t, tr.nodes[id].stop())
		}
	})
}

// stallable starts three nodes. The syncs of one wait for as long as a channel that is open stands for it in stalled.
func stallable(t *testing.T) (tr *trio, stalled *[4]atomic.Pointer[chan struct{}]) {
	tr, stalled = &trio{t: t}, new([4]atomic.Pointer[chan struct{}])
	for id := 1; id <= 3; id++ {
		tr.fs[id] = vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
			if wait := stalled[id].Load(); wait != nil && op.Kind == vfs.Datasync {
				<-*wait
			}
			return 0, nil
		})
		tr.start(id)
	}
	return tr, stalled
}

// An answer rests on two disks: with the other two stalled there is none, however fast the leader's own is.
func TestNoAnswerFromOneDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, stalled := stallable(t)
		n := tr.leader(0, 1, 2, 3)
		_, err := n.propose(0, "before")
		must(t, err)
		free := make(chan struct{})
		for id := 1; id <= 3; id++ {
			if id != int(n.cfg.ID) {
				stalled[id].Store(&free)
			}
		}
		began := time.Now()
		answered := make(chan error, 1)
		go func() { _, err := n.propose(0, "slow"); answered <- err }()
		time.Sleep(5 * time.Second)
		select {
		case err := <-answered:
			t.Fatalf("an answer after %v, while two disks wait: %v", time.Since(began), err)
		default:
		}
		close(free)
		must(t, <-answered)
		for id := 1; id <= 3; id++ {
			must(t, tr.nodes[id].stop())
		}
	})
}

// A node that comes with an empty disk is given the leader's state when the log does not go back to the first entry any more, and then the rest.
func TestEmptyDiskCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var states atomic.Int32
		tr := &trio{t: t, drop: func(m Message) bool {
			if m.Lane == LaneBulk && m.Group == 2 {
				states.Add(1)
			}
			return false
		}}
		for id := 1; id <= 3; id++ {
			tr.fs[id] = vfs.NewMemory()
		}
		tr.start(1)
		tr.start(2)
		leader := tr.leader(2, 1, 2)
		var want []string
		say := func(count int) {
			for range count {
				want = append(want, fmt.Sprintf("command %d %s", len(want), strings.Repeat("x", 2000)))
				_, err := leader.propose(2, want[len(want)-1])
				must(t, err)
			}
		}
		say(100)
		must(t, leader.Checkpoint(t.Context()))
		must(t, leader.log.Release(leader.segment.Load()))
		if first, _ := leader.log.Bounds(2); first <= 2 {
			t.Fatal("the log still holds the first entry")
		}
		say(10)
		tr.start(3)
		time.Sleep(10 * time.Second)
		say(10)
		time.Sleep(time.Second)
		if got := tr.nodes[3].lists[2].all(); !slices.Equal(got, want) {
			t.Fatalf("the new node has %d commands, want %d", len(got), len(want))
		}
		if n := states.Load(); n != 1 {
			t.Errorf("%d states were sent, want 1", n)
		}
		must(t, tr.nodes[3].stop()) // and it has them for good
		tr.start(3)
		time.Sleep(5 * time.Second)
		if got := tr.nodes[3].lists[2].all(); !slices.Equal(got, want) {
			t.Errorf("after a restart the new node has %d commands, want %d", len(got), len(want))
		}
		for id := 1; id <= 3; id++ {
			must(t, tr.nodes[id].stop())
		}
	})
}

// A state that is lost on the way is sent again: at once when the net says so, after 10 s when it does not. raft alone would wait for its answer for ever.
func TestLostStateIsSentAgain(t *testing.T) {
	for _, told := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var lost [testGroups]atomic.Bool
			tr := &trio{t: t}
			tr.drop = func(m Message) bool {
				if m.Lane != LaneBulk || lost[m.Group].Swap(true) {
					return false
				}
				if told {
					tr.nodes[m.From].Dropped(m)
				}
				return true
			}
			for id := 1; id <= 3; id++ {
				tr.fs[id] = vfs.NewMemory()
			}
			tr.start(1)
			tr.start(2)
			leader := tr.leader(2, 1, 2)
			for i := range 100 {
				_, err := leader.propose(2, fmt.Sprint(i, strings.Repeat("x", 2000)))
				must(t, err)
			}
			must(t, leader.Checkpoint(t.Context()))
			must(t, leader.log.Release(leader.segment.Load()))
			tr.start(3)
			began := time.Now()
			for len(tr.nodes[3].lists[2].all()) < 100 && time.Since(began) < time.Minute {
				time.Sleep(100 * time.Millisecond)
			}
			if took := time.Since(began); !lost[2].Load() || told == (took > 5*time.Second) || took > 30*time.Second {
				t.Errorf("told %v: a state was lost (%v), and the node has everything after %v", told, lost[2].Load(), took)
			}
			for id := 1; id <= 3; id++ {
				must(t, tr.nodes[id].stop())
			}
		})
	}
}

// All disks flush at the same time: with syncs of 15 ms an answer takes 15 ms, not 30 as it would if a leader flushed before it sends, and not less. (With 20 ms and
// more a disk that is ahead writes a marker meanwhile, and the next answer waits for that.)
func TestDisksFlushTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sync = 15 * time.Millisecond
		var slow atomic.Bool
		tr := &trio{t: t}
		for id := 1; id <= 3; id++ {
			tr.fs[id] = vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
				if slow.Load() && op.Kind == vfs.Datasync && strings.HasPrefix(op.Name, "log/") {
					time.Sleep(sync)
				}
				return 0, nil
			})
			tr.start(id)
		}
		n := tr.leader(0, 1, 2, 3)
		for g := range uint16(testGroups) {
			tr.leader(g, 1, 2, 3)
		}
		time.Sleep(time.Second) // no more votes on the way
		slow.Store(true)
		var took []time.Duration
		for i := range 21 {
			began := time.Now()
			_, err := n.propose(0, fmt.Sprint(i))
			must(t, err)
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		if median := took[10]; median < sync || median > sync+sync/2 {
			t.Errorf("an answer took %v (all: %v), a sync takes %v", median, took, sync)
		}
		slow.Store(false)
		for id := 1; id <= 3; id++ {
			must(t, tr.nodes[id].stop())
		}
	})
}

// Leadership moves to the node that is asked for, and nothing is lost on the way.
func TestTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t)
		from := tr.leader(0, 1, 2, 3)
		_, err := from.propose(0, "before")
		must(t, err)
		to := 1 + int(from.cfg.ID)%3
		from.Transfer(0, uint64(to))
		next := tr.leader(0, to)
		at, err := next.propose(0, "after")
		if err != nil || at != 1 {
			t.Errorf("behind a transfer: place %d, %v", at, err)
		}
		for id := 1; id <= 3; id++ {
			must(t, tr.nodes[id].stop())
		}
	})
}
