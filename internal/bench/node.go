package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// nodeTopic is what a bench writes to.
const nodeTopic = "bench"

// nodePatience is for a node to come up.
const nodePatience = time.Minute

// node is a bundled broker in this process, of one node, with every default of the product but for how much it keeps.
type node struct {
	*broker.Node
	dir  string
	stop func() error // ends it in order; may be called again

	lanes []nodeLane
}

// nodeLane is the state of a source in a partition. With one request in flight nothing guards it.
type nodeLane struct {
	seq   uint64
	floor int64
}

// startNode returns when the node stores and answers. keep is the most bytes of all topics together, 0 = no bound.
func startNode(ctx context.Context, dir string, segment, keep int64) (*node, error) {
	opened, err := broker.Open(broker.Config{Dir: dir, SegmentBytes: segment, RetentionBytes: keep}, vfs.OS{})
	if err != nil {
		return nil, err
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- opened.Run(work) }()
	n := &node{Node: opened, dir: dir, stop: sync.OnceValue(func() error { cancel(); return <-ended })}
	ready, done := context.WithTimeout(ctx, nodePatience)
	defer done()
	if err := n.Ready(ready); err != nil {
		return nil, errors.Join(fmt.Errorf("the bundled broker does not come up: %w", err), n.stop())
	}
	return n, nil
}

// makeTopic makes the topic with one partition for each lane; 0 = the broker's default.
func (n *node) makeTopic(ctx context.Context, lanes int) error {
	n.lanes = make([]nodeLane, lanes)
	return n.CreateTopic(ctx, broker.Topic{Name: nodeTopic, Partitions: lanes})
}

// settle waits until the broker does nothing more in the background: it fills files for the segments to come.
func (n *node) settle(ctx context.Context) {
	for was, same := int64(-1), 0; same < 10 && pause(ctx, 50*time.Millisecond); same++ {
		now := int64(0)
		spares, _ := filepath.Glob(filepath.Join(n.dir, "spare", "*")) // the pattern is well formed
		for _, name := range spares {
			if info, err := os.Stat(name); err == nil {
				now += info.Size()
			}
		}
		if now != was {
			was, same = now, 0
		}
	}
	quietDisk()
}

// clients is a sink: many clients of a partition append what belongs to no source.
type clients struct{ *node }

func (c clients) put(ctx context.Context, lane int, r *request) error {
	_, err := c.Append(ctx, nodeTopic, int32(lane), r.batch)
	return err
}

// source is a sink: each lane appends as a relay does, with ids, and with everything settled that was acked.
type source struct{ *node }

func (s source) put(ctx context.Context, lane int, r *request) error {
	l := &s.lanes[lane]
	l.seq++
	ack, err := s.AppendFrom(ctx, broker.Source{ID: broker.SourceID{1}, Epoch: 1, Seq: l.seq, Floor: l.floor}, nodeTopic, int32(lane), r.batch, r.ids, r.sums, false)
	if err == nil {
		l.floor = ack.Offsets[len(ack.Offsets)-1] + 1
	}
	return err
}

// tally counts what each lane holds, by the numbers of the messages.
type tally struct {
	seen    [][]bool
	ordered bool
	strange int64 // neither sent nor asked for
	twice   int64
	late    int64 // behind one with a higher number
	highest []int64
	gone    []int64 // by lane: so many of the first were given up again, because the broker keeps no more
}

// readBack reads the whole topic. A number of extra is no message of a lane.
func (n *node) readBack(ctx context.Context, lanes int, ordered bool, extra int64) (*tally, error) {
	t := newTally(lanes, ordered)
	first := make([]int64, lanes)
	for lane := range first {
		first[lane] = -1
	}
	err := waybillbroker.ReadAll(ctx, n.Node, nodeTopic, func(r waybillbroker.Record) error {
		if len(r.Value) != payloadBytes || int(r.Partition) >= lanes {
			t.strange++
			return nil
		}
		if first[r.Partition] < 0 {
			first[r.Partition] = r.Offset
		}
		number := int64(binary.BigEndian.Uint64(r.Value))
		if number != extra {
			t.saw(int(r.Partition), number)
		}
		return nil
	})
	for lane := range t.gone { // what was read begins where the broker began then, or later: it may have given up more meanwhile
		start, high, boundsErr := n.Bounds(nodeTopic, int32(lane))
		err = errors.Join(err, boundsErr)
		if t.gone[lane] = min(first[lane], start); first[lane] < 0 {
			t.gone[lane] = min(start, high)
		}
	}
	return t, err
}

func newTally(lanes int, ordered bool) *tally {
	return &tally{seen: make([][]bool, lanes), ordered: ordered, highest: make([]int64, lanes), gone: make([]int64, lanes)}
}

func (t *tally) saw(lane int, number int64) {
	if number < 0 || number > 1<<31 {
		t.strange++
		return
	}
	for int64(len(t.seen[lane])) <= number {
		t.seen[lane] = append(t.seen[lane], false)
	}
	if t.seen[lane][number] {
		t.twice++
	}
	if t.seen[lane][number] = true; number < t.highest[lane] {
		t.late++
	}
	t.highest[lane] = max(t.highest[lane], number)
}

// verdict is nil when each lane holds its first messages up to those that were acked, without what is gone, each once, and in order where that is promised. More
// than those there may be only after a kill.
func (t *tally) verdict(acked []int64, killed bool) error {
	lost, more := int64(0), int64(0)
	for lane, seen := range t.seen {
		lost -= t.gone[lane]
		for number := range max(acked[lane], int64(len(seen))) {
			if number >= int64(len(seen)) || !seen[number] {
				lost++
			}
		}
		more += max(0, int64(len(seen))-acked[lane])
	}
	if lost != 0 || t.twice > 0 || t.strange > 0 || t.ordered && t.late > 0 || more > 0 && !killed {
		return fmt.Errorf("of the acked messages %d are lost, %d came twice, %d are out of order, %d were never sent and %d never acked: a wrong answer is no figure",
			lost, t.twice, t.late, t.strange, more)
	}
	return nil
}
