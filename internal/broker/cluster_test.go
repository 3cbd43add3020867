package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// Three nodes store and read at the leader, name it elsewhere, agree, go on without one, and tell of no partition that was deleted.
func TestThreeNodes(t *testing.T) { synctest.Test(t, threeNodes) }

func threeNodes(t *testing.T) {
	tr := newTrio(t, Config{Dir: "node", SegmentBytes: 256 << 10}, 1)
	for _, m := range tr.members {
		tr.start(m)
	}
	defer tr.stopAll()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	must(t, tr.until(func() error {
		return tr.any(func(n *Node) error { return n.CreateTopic(ctx, Topic{Name: "orders", Partitions: 6}) })
	}))
	append1 := func(p int32, value string) (ack Ack, at *Node, err error) {
		err = tr.until(func() error {
			return tr.any(func(n *Node) (err error) {
				at = n
				ack, err = n.Append(ctx, "orders", p, batchOf(value))
				return err
			})
		})
		return ack, at, err
	}
	led := map[uint64]bool{}
	for p := range int32(6) {
		ack, leader, err := append1(p, fmt.Sprint("value ", p))
		must(t, err)
		if ack.Base != 0 {
			t.Errorf("partition %d: offset %d", p, ack.Base)
		}
		led[leader.ID()] = true
		b, err := leader.Read(ctx, "orders", p, 0, 1000)
		must(t, err)
		if len(b) != 1 || strings.Join(valuesOf(b[0]), "") != fmt.Sprint("value ", p) {
			t.Errorf("partition %d: %v", p, b)
		}
		if _, err := leader.Read(ctx, "orders", p, 2, 1000); !errors.Is(err, ErrOffset) {
			t.Errorf("behind the end: %v", err)
		}
		for _, m := range tr.members {
			n := m.life.Load().Node
			if n.ID() == leader.ID() {
				continue
			}
			_, appended := n.Append(ctx, "orders", p, batchOf("x"))
			_, read := n.Read(ctx, "orders", p, 0, 1000)
			for _, err := range []error{appended, read, n.Wait(ctx, Point{"orders", p, 1})} {
				var other *NotLeaderError
				if !errors.As(err, &other) || other.Leader != leader.ID() || !errors.Is(err, ErrNotLeader) {
					t.Errorf("partition %d at a follower: %v, the leader is node %d", p, err, leader.ID())
				}
			}
		}
	}
	first := tr.members[0].life.Load().Node
	if _, err := first.SourceState(ctx, SourceID{1}, 1, "orders", 9); !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("a partition that is not there: %v", err)
	}
	_, leader, err := append1(0, "before")
	must(t, err)
	for _, m := range tr.members {
		if m.life.Load().Node == leader {
			tr.stop(m)
		}
	}
	began := time.Now()
	ack, next, err := append1(0, "after")
	if took := time.Since(began); took > 500*time.Millisecond { // nobody had to find out that it was gone
		t.Errorf("an append %v after a node has stopped in order", took)
	}
	if err != nil || ack.Base != 2 || next == leader {
		t.Errorf("without the old leader: offset %d, %v", ack.Base, err)
	}
	if _, err := leader.Append(ctx, "orders", 0, batchOf("x")); !errors.Is(err, ErrNotLeader) || !errors.Is(err, ErrStopped) {
		t.Errorf("a stopped node: %v", err)
	}
	for _, m := range tr.members {
		tr.start(m)
	}
	must(t, tr.until(func() error {
		return tr.any(func(n *Node) error { return n.DeleteTopic(ctx, "orders") })
	}))
	must(t, tr.until(func() error {
		for _, m := range tr.members {
			for group, d := range m.life.Load().data {
				if left := d.partitions(); len(left) > 0 {
					return fmt.Errorf("node %d has partitions %v in group %d", m.at, left, group+1)
				}
			}
		}
		return nil
	}))
}

// A node that ends while it asks whether it still leads has read nothing, and says that another one will.
func TestReadAtTheEnd(t *testing.T) { synctest.Test(t, readAtTheEnd) }

func readAtTheEnd(t *testing.T) {
	tr := newTrio(t, Config{Dir: "node", SegmentBytes: 256 << 10}, 3)
	for _, m := range tr.members {
		tr.start(m)
	}
	defer tr.stopAll()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	must(t, tr.until(func() error {
		return tr.any(func(n *Node) error { return n.CreateTopic(ctx, Topic{Name: "orders", Partitions: 1}) })
	}))
	var leader *Node
	must(t, tr.until(func() error {
		return tr.any(func(n *Node) error {
			leader = n
			return second(n.Append(ctx, "orders", 0, batchOf("x")))
		})
	}))
	tr.mu.Lock()
	tr.loss = 1
	tr.mu.Unlock()
	read := make(chan error, 1)
	go func() { read <- second(leader.Read(ctx, "orders", 0, 9, 100)) }()
	synctest.Wait()
	for _, m := range tr.members {
		if l := m.life.Load(); l.Node == leader {
			l.badIO.Store(true)
		}
	}
	if err := second(leader.Append(ctx, "orders", 0, batchOf("y"))); !errors.Is(err, ErrStopped) {
		t.Errorf("an append that the disk refuses: %v", err)
	}
	if err := <-read; !errors.Is(err, ErrNotLeader) || !errors.Is(err, ErrStopped) {
		t.Errorf("%v", err)
	}
}

// A folder that was emptied is another node, and none of the cluster; nodes of a cluster do not run alone, nor under another's name.
func TestClusterRefusesStrangers(t *testing.T) {
	tr := newTrio(t, Config{Dir: "node", SegmentBytes: 256 << 10}, 1)
	cfg := tr.cfg
	cfg.Cluster = &Cluster{Voters: tr.voters, Send: func(Message) {}}
	empty := vfs.NewMemory()
	if _, err := Open(cfg, empty); err == nil || !strings.Contains(err.Error(), "made by Prepare") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := readIdentity(empty, cfg.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a node that was refused is there all the same: %v", err)
	}
	_, err := Prepare(cfg.Dir, [16]byte{1}, empty)
	must(t, err)
	if _, err := Open(cfg, empty); err == nil || !strings.Contains(err.Error(), "is none of the cluster") {
		t.Errorf("a new node: %v", err)
	}
	if _, err := Prepare(cfg.Dir, [16]byte{2}, tr.members[0].fs); err == nil || !strings.Contains(err.Error(), "belongs to cluster") {
		t.Errorf("another cluster: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		tr.start(tr.members[0])
		time.Sleep(time.Second)
		tr.stop(tr.members[0])
	})
	stopped, err := Inspect(cfg.Dir, tr.members[0].fs) // reading alone needs no other node
	must(t, err)
	must(t, stopped.Close())
	if report, err := Verify(cfg.Dir, tr.members[0].fs); err != nil || report.Damage != nil {
		t.Errorf("verified: %+v, %v", report, err)
	}
	if _, err := Open(tr.cfg, tr.members[0].fs); err == nil || !strings.Contains(err.Error(), "cannot run alone") {
		t.Errorf("alone: %v", err)
	}
	cfg.Cluster.Voters = []uint64{tr.voters[0], 7, 8}
	if _, err := Open(cfg, tr.members[0].fs); err == nil || !strings.Contains(err.Error(), "the nodes of its cluster are") {
		t.Errorf("among others: %v", err)
	}
	cfg.Cluster.Voters = tr.voters[:2]
	if _, err := Open(cfg, tr.members[0].fs); err == nil || !strings.Contains(err.Error(), "one or three") {
		t.Errorf("two nodes: %v", err)
	}
}
