package replica

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// A leader gives up nothing behind the state that it has offered to a follower, as long as that one is heard and has not caught up; one that is away, or a full
// disk, holds nothing.
func TestReleaseWaitsForFollowers(t *testing.T) {
	for _, why := range []string{"the follower is away", "the disk is full"} {
		synctest.Test(t, func(t *testing.T) {
			var deaf, away atomic.Bool // deaf: node 3 is given no entries
			tr := &trio{t: t, drop: func(m Message) bool {
				return (m.To == 3 || m.From == 3) && away.Load() || m.To == 3 && deaf.Load() && m.Lane == LaneAppend
			}}
			for id := 1; id <= 3; id++ {
				tr.fs[id] = vfs.NewMemory()
			}
			tr.start(1)
			tr.start(2)
			leader := tr.leader(2, 1, 2)
			say := func() {
				t.Helper()
				for i := range 60 {
					_, err := leader.propose(2, fmt.Sprint(i, strings.Repeat("x", 2000)))
					must(t, err)
				}
				must(t, leader.Checkpoint(t.Context()))
			}
			say()
			wait(t, func() bool { // a status of the middle of it would say that node 2 waits for more
				must(t, leader.Release(leader.segment.Load()))
				first, _ := leader.log.Bounds(2)
				return first > 1
			})
			deaf.Store(true)
			tr.start(3)
			store := leader.groups[2].store
			wait(t, func() bool { return store.offered() > 0 })
			time.Sleep(time.Second)
			say()
			time.Sleep(time.Second) // until the status tells of it
			held := func() bool {
				must(t, leader.Release(leader.segment.Load()))
				first, _ := leader.log.Bounds(2)
				return first <= store.offered()+1
			}
			if !held() {
				t.Error("what the follower needs behind its state is gone")
			}
			if why == "the disk is full" {
				leader.full.Store(true)
			} else {
				away.Store(true)
				time.Sleep(5 * time.Second)
			}
			if held() {
				t.Errorf("the follower holds up what may be given back, although %s", why)
			}
			leader.full.Store(false)
			away.Store(false)
			deaf.Store(false)
			wait(t, func() bool { return len(tr.nodes[3].lists[2].all()) == 120 })
			for id := 1; id <= 3; id++ {
				must(t, tr.nodes[id].stop())
			}
		})
	}
}

// wait waits for a minute at most.
func wait(t *testing.T, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("it does not come to this")
		}
	}
}

// While a follower is brought entries that only a slow disk holds, also such as were not read at the start, the leader goes on: it is heard, and answers.
func TestColdReadsHoldNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Int32 // node whose reads take long
		tr := &trio{t: t}
		for id := 1; id <= 3; id++ {
			tr.fs[id] = vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
				if op.Kind == vfs.Read && int(slow.Load()) == id {
					time.Sleep(3 * time.Second)
				}
				return 0, nil
			})
		}
		tr.start(1)
		tr.start(2)
		leader := tr.leader(2, 1, 2)
		for i := range 100 {
			_, err := leader.propose(2, fmt.Sprint(i, strings.Repeat("x", 2000)))
			must(t, err)
		}
		for id := 1; id <= 2; id++ { // and what is older than the newest checkpoint is not in memory, nor in the index
			must(t, tr.nodes[id].Checkpoint(t.Context()))
			must(t, tr.nodes[id].stop())
			tr.start(id)
		}
		leader = tr.leader(2, 1, 2)
		time.Sleep(time.Second) // until the status tells of it
		slow.Store(int32(leader.cfg.ID))
		tr.start(3)
		term := leader.Status()[2].Term
		for i := range 100 {
			began := time.Now()
			_, err := leader.propose(2, fmt.Sprint(i))
			must(t, err)
			if took := time.Since(began); took > 500*time.Millisecond {
				t.Fatalf("command %d took %v", i, took)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if s := leader.Status()[2]; s.Term != term || s.Leader != leader.cfg.ID {
			t.Errorf("term %d led by node %d, it was term %d of node %d", s.Term, s.Leader, term, leader.cfg.ID)
		}
		slow.Store(0)
		wait(t, func() bool { return len(tr.nodes[3].lists[2].all()) == 200 })
		for id := 1; id <= 3; id++ {
			must(t, tr.nodes[id].stop())
		}
	})
}
