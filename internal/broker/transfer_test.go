package broker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The status tells how far each node is; leadership goes where it is asked to, not to a node that is away, and comes back.
func TestStatusAndTransfer(t *testing.T) { synctest.Test(t, statusAndTransfer) }

func statusAndTransfer(t *testing.T) {
	tr := newTrio(t, Config{Dir: "node", SegmentBytes: 256 << 10}, 2)
	defer tr.stopAll()
	for _, m := range tr.members[:2] {
		tr.start(m)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	must(t, tr.until(func() error {
		return tr.any(func(n *Node) error { return n.CreateTopic(ctx, Topic{Name: "t", Partitions: 1}) })
	}))
	var leader *Node
	for range 100 {
		must(t, tr.until(func() error {
			return tr.any(func(n *Node) error {
				leader = n
				_, err := n.Append(ctx, "t", 0, batchOf("x"))
				return err
			})
		}))
	}
	time.Sleep(time.Second)
	follower := tr.members[0].life.Load().Node
	if follower == leader {
		follower = tr.members[1].life.Load().Node
	}
	status := leader.Status()
	if len(status) != DataGroups+1 {
		t.Fatalf("%d groups", len(status))
	}
	s := status[1]
	if s.Leader != leader.ID() || len(s.Peers) != 2 || s.Applied < 100 || s.Commit != s.Applied {
		t.Errorf("%+v", s)
	}
	for _, p := range s.Peers {
		here := p.Node == follower.ID()
		if here != p.Active || here != (p.Lag == 0) || here != s.Ready(p.Node) {
			t.Errorf("node %d, which runs: %v: %+v", p.Node, here, p)
		}
	}
	if s.Heir(0) != follower.ID() || s.Heir(follower.ID()) != 0 || follower.Status()[1].Heir(0) != 0 {
		t.Errorf("the heir is %d", s.Heir(0))
	}
	if err := leader.Transfer(ctx, 1, tr.voters[2]); err == nil || errors.Is(err, ErrNotLeader) {
		t.Errorf("to a node that is away: %v", err)
	}
	_, asked := leader.GroupLeader(DataGroups + 1)
	for _, err := range []error{asked, leader.Transfer(ctx, DataGroups+1, follower.ID()), leader.FenceGroup(ctx, DataGroups+1, SourceID{1}, 1), leader.FenceGroup(ctx, 0, SourceID{1}, 1)} {
		if !errors.Is(err, ErrUnknownGroup) {
			t.Errorf("a group that is not: %v", err)
		}
	}
	if id, err := leader.GroupLeader(1); err != nil || id != leader.ID() {
		t.Errorf("node %d leads group 1, %v", id, err)
	}
	must(t, leader.Transfer(ctx, 1, follower.ID()))
	var other *NotLeaderError
	if err := leader.Transfer(ctx, 1, follower.ID()); !errors.As(err, &other) || other.Leader != follower.ID() {
		t.Errorf("by a node that leads no more: %v", err)
	}
	began := time.Now()
	must(t, tr.until(func() error { return second(follower.Append(ctx, "t", 0, batchOf("y"))) }))
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("the new leader stores after %v", took)
	}
	tr.start(tr.members[2])
	must(t, tr.until(func() error {
		if s := follower.Status()[1]; !s.Ready(tr.voters[2]) {
			return errors.New("the late node is not ready")
		}
		return nil
	}))
	must(t, follower.Transfer(ctx, 1, tr.voters[2]))
}
