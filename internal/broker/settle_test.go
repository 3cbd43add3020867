package broker

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker/fsm"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// A node that is alone changes one topic at a time, and who waits for his turn waits no longer than he likes.
func TestTurnsOfTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Int64
		n := startNode(t, Config{Dir: "node", SegmentBytes: 4 << 20}, vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
			if op.Kind == vfs.Datasync {
				time.Sleep(time.Duration(slow.Load()))
			}
			return 0, nil
		}))
		time.Sleep(time.Second)
		slow.Store(int64(time.Minute))
		first := make(chan error, 1)
		go func() { first <- n.CreateTopic(t.Context(), Topic{Name: "first", Partitions: 1}) }()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for what, err := range map[string]error{"create": n.CreateTopic(short, Topic{Name: "second"}), "delete": n.DeleteTopic(short, "first")} {
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another change of topics runs") {
				t.Errorf("%s: %v", what, err)
			}
		}
		slow.Store(0)
		must(t, <-first)
		must(t, n.DeleteTopic(t.Context(), "first"))
		must(t, n.stop())
	})
}

// leadsAll returns a node that leads every group of a cluster that has just begun.
func (tr *trio) leadsAll(ctx context.Context) *Node {
	tr.t.Helper()
	n := tr.members[0].life.Load().Node
	for group := range uint16(DataGroups + 1) {
		must(tr.t, tr.until(func() error {
			if n.host.Leads(group) {
				return nil
			}
			return tr.any(func(other *Node) error { return other.Transfer(ctx, group, n.ID()) })
		}))
	}
	must(tr.t, tr.until(func() error {
		for group := range uint16(DataGroups + 1) {
			if !n.host.Leads(group) {
				return errors.New("it does not lead all groups yet")
			}
		}
		return nil
	}))
	return n
}

func (tr *trio) lose(groups ...uint16) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lost = map[uint16]bool{}
	for _, g := range groups {
		tr.lost[g] = true
	}
}

// A topic whose partitions cannot be opened holds up no other change of topics, and who waits for it hears when it is deleted.
func TestCreateEndsWithTheTopic(t *testing.T) { synctest.Test(t, createEndsWithTheTopic) }

func createEndsWithTheTopic(t *testing.T) {
	tr := newTrio(t, Config{Dir: "node", SegmentBytes: 256 << 10}, 5)
	for _, m := range tr.members {
		tr.start(m)
	}
	defer tr.stopAll()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	n := tr.leadsAll(ctx)
	tr.lose(1)
	created := make(chan error, 1)
	go func() { created <- n.CreateTopic(ctx, Topic{Name: "stuck", Partitions: 6}) }()
	time.Sleep(10 * time.Second)
	select {
	case err := <-created:
		t.Fatalf("made without one of its groups: %v", err)
	default:
	}
	must(t, n.DeleteTopic(ctx, "stuck"))
	if err := <-created; !errors.Is(err, ErrUnknownTopic) || ctx.Err() != nil {
		t.Errorf("%v", err)
	}
	tr.lose()
}

// A group without a majority keeps its records and its partitions as they are; those of the other groups are trimmed and opened in the same round, and each group that has
// failed is named.
func TestLostGroup(t *testing.T) { synctest.Test(t, lostGroup) }

func lostGroup(t *testing.T) {
	tr := newTrio(t, Config{Dir: "node", SegmentBytes: 256 << 10, RetentionEvery: time.Hour, FlushTimeout: 100 * time.Millisecond}, 6)
	for _, m := range tr.members {
		tr.start(m)
	}
	defer tr.stopAll()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	n := tr.leadsAll(ctx)
	must(t, n.CreateTopic(ctx, Topic{Name: "orders", Partitions: 12, Retention: time.Minute}))
	for p := range int32(12) {
		_, err := n.Append(ctx, "orders", p, batchOf("x"))
		must(t, err)
	}
	time.Sleep(2 * time.Minute)
	tr.lose(1, 2)
	n.trim(ctx, time.Now())
	for p := range int32(12) {
		place, err := n.place("orders", p)
		must(t, err)
		if start, _, err := n.Bounds("orders", p); err != nil || (start == 1) == (place.Group <= 2) {
			t.Errorf("partition %d of group %d begins at %d, %v", p, place.Group, start, err)
		}
	}
	tr.mu.Lock()
	failed := tr.told[len(tr.told)-1]
	tr.mu.Unlock()
	if !strings.Contains(failed, "group 1: ") || !strings.Contains(failed, "group 2: ") || strings.Count(failed, "group") != 2 {
		t.Errorf("told: %s", failed)
	}
	tr.lose()
	n = tr.leadsAll(ctx)
	tr.lose(1)
	var late fsm.Topic
	for group := range uint16(DataGroups) { // of no topic that the node knows, so that it does not open them itself
		late.Partitions = append(late.Partitions, fsm.PartitionPlace{ID: 1000 + uint32(group), Group: group + 1})
	}
	r := n.round()
	r.openPartitions(ctx, late)
	for i, p := range late.Partitions {
		if _, _, open := n.machine(p).bounds(p.ID); open == (i == 0) {
			t.Errorf("partition %d of group %d is open: %v", p.ID, p.Group, open)
		}
	}
	must(t, r.err()) // whoever leads the group next opens it
	tr.lose()
}
