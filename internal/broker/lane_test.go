package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// lane appends to a partition as a relay does: by source cursor, one request at a time, and again until it knows.
type lane struct {
	*history
	topic     string
	partition int32
	source    SourceID
	epoch     uint64
	seq       uint64
	floor     int64
	unsure    bool    // what became of the last request is not known
	pending   []int64 // ids of the open batch
}

// history is what is known for certain from outside.
type history struct {
	tr     *trio
	mu     sync.Mutex
	next   int64                       // id
	acked  map[string]map[int64]int64  // by partition: offset of an id
	seen   map[string]map[int64]string // by partition: value at an offset, as somebody read it, or was told
	lanes  []*lane
	tested struct{ acks, repeats, unsure, reads, fenced int }
}

func newHistory(tr *trio) *history {
	return &history{tr: tr, acked: map[string]map[int64]int64{}, seen: map[string]map[int64]string{}}
}

func (h *history) add(topic string, partition int32) {
	name := fmt.Sprint(topic, "/", partition)
	h.acked[name], h.seen[name] = map[int64]int64{}, map[int64]string{}
	l := &lane{history: h, topic: topic, partition: partition, source: SourceID{byte(len(h.lanes) + 1)}, epoch: 1, floor: -1, unsure: true}
	h.lanes = append(h.lanes, l)
}

func (l *lane) name() string { return fmt.Sprint(l.topic, "/", l.partition) }

// value is that of an id; it begins with it.
func value(id int64) string { return fmt.Sprintf("%d:%s", id, strings.Repeat("x", int(id*37%900))) }

// at takes note that a value lies at an offset. It must be the one that everybody else has found there.
func (h *history) at(name string, offset int64, v string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if was, known := h.seen[name][offset]; known && was != v {
		h.tr.fail(fmt.Sprintf("%s: at offset %d lies %.12s, and %.12s lay there", name, offset, v, was))
	}
	h.seen[name][offset] = v
}

func (l *lane) ack(id, offset int64) {
	l.at(l.name(), offset, value(id))
	l.mu.Lock()
	defer l.mu.Unlock()
	if was, known := l.acked[l.name()][id]; known && was != offset {
		l.tr.fail(fmt.Sprintf("%s: id %d was acked at %d and at %d", l.name(), id, was, offset))
	}
	l.acked[l.name()][id] = offset
	l.floor = max(l.floor, offset+1)
	l.tested.acks++
}

// work appends until there is to be no more and nothing is pending.
func (l *lane) work(ctx, more context.Context) {
	for ctx.Err() == nil && (more.Err() == nil || l.unsure || len(l.pending) > 0) {
		if l.tr.chance(0.01) {
			l.takeOver(ctx)
		}
		if !l.step(ctx) {
			time.Sleep(time.Duration(20+l.tr.dice(100)) * time.Millisecond)
		}
		if l.tr.chance(0.5) {
			time.Sleep(time.Duration(l.tr.dice(60)) * time.Millisecond)
		}
	}
}

// takeOver is a new owner. What the one before still sends is refused.
func (l *lane) takeOver(ctx context.Context) {
	l.epoch++
	l.unsure = true
	group := uint16(0)
	err := l.tr.until(func() error {
		return l.tr.any(func(n *Node) error {
			p, err := n.place(l.topic, l.partition)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrNotLeader, err)
			}
			group = p.Group
			return n.FenceGroup(ctx, group, l.source, l.epoch)
		})
	})
	l.seq = 0
	if err != nil {
		return
	}
	err = l.tr.any(func(n *Node) error {
		_, err := n.AppendFrom(ctx, Source{ID: l.source, Epoch: l.epoch - 1, Seq: 1 << 40, Floor: -1}, l.topic, l.partition, batchOf("zombie"), []int64{-5}, []uint32{1}, false)
		return err
	})
	if err == nil {
		l.tr.fail(l.name() + ": a fenced owner stored something")
	}
	if errors.Is(err, ErrFenced) {
		l.mu.Lock()
		l.tested.fenced++
		l.mu.Unlock()
	}
}

// step is one request, and says whether it got further.
func (l *lane) step(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if l.unsure && (l.seq == 0 || l.tr.chance(0.7)) { // else the same batch again says it too
		return l.ask(ctx)
	}
	if len(l.pending) == 0 {
		l.mu.Lock()
		for range 1 + l.tr.dice(3) {
			l.next++
			l.pending = append(l.pending, l.next)
		}
		l.mu.Unlock()
	}
	var values []string
	var sums []uint32
	for _, id := range l.pending {
		values, sums = append(values, value(id)), append(sums, uint32(id))
	}
	l.seq++
	var ack Ack
	err := l.tr.any(func(n *Node) (err error) {
		ack, err = n.AppendFrom(ctx, Source{ID: l.source, Epoch: l.epoch, Seq: l.seq, Floor: l.floor}, l.topic, l.partition, batchOf(values...), l.pending, sums, false)
		return err
	})
	offsets := ack.Offsets
	var part *PartialError
	switch {
	case errors.As(err, &part):
		offsets = part.Offsets
	case err == nil && ack.Repeat:
		l.mu.Lock()
		l.tested.repeats++
		l.mu.Unlock()
	case errors.Is(err, ErrNotLeader), errors.Is(err, ErrUnknownTopic):
		return false
	case errors.Is(err, ErrFenced), errors.Is(err, ErrRewound), errors.Is(err, ErrWindowFull):
		l.tr.fail(l.name() + ": " + err.Error())
		return false
	case err != nil:
		l.unsure = true
		return false
	}
	l.settle(func(i int) (int64, bool) { return offsets[i], offsets[i] >= 0 })
	l.unsure = false
	return true
}

// settle acks what is stored of the open batch; the rest stays.
func (l *lane) settle(stored func(i int) (int64, bool)) {
	var rest []int64
	for i, id := range l.pending {
		if offset, ok := stored(i); ok {
			l.ack(id, offset)
		} else {
			rest = append(rest, id)
		}
	}
	l.pending = rest
}

// ask learns what is stored, until no request of before can come behind the answer.
func (l *lane) ask(ctx context.Context) bool {
	var state CursorState
	err := l.tr.any(func(n *Node) (err error) {
		state, err = n.SourceState(ctx, l.source, l.epoch, l.topic, l.partition)
		return err
	})
	if err != nil {
		return false
	}
	sure := state.Seq > l.seq
	if l.seq = max(l.seq, state.Seq); !sure {
		return true
	}
	l.mu.Lock()
	l.tested.unsure++
	l.mu.Unlock()
	at := map[int64]int64{}
	for _, s := range state.Stored {
		at[s.ID] = s.Offset
	}
	l.settle(func(i int) (int64, bool) { offset, ok := at[l.pending[i]]; return offset, ok })
	l.unsure = false
	return true
}

// look reads somewhere in a partition, at its leader.
func (h *history) look(ctx context.Context, l *lane) {
	_ = h.tr.any(func(n *Node) error {
		start, high, err := n.Bounds(l.topic, l.partition)
		if err != nil || start == high {
			return err
		}
		batches, err := n.Read(ctx, l.topic, l.partition, start+int64(h.tr.dice(int(high-start))), 4<<10)
		for _, b := range batches {
			for i, v := range valuesOf(b) {
				h.at(l.name(), b.Base+int64(i), v)
			}
			h.mu.Lock()
			h.tested.reads++
			h.mu.Unlock()
		}
		if err != nil && !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrStopped) && !errors.Is(err, ErrOffset) && !errors.Is(err, errGone) && ctx.Err() == nil {
			h.tr.fail(fmt.Sprintf("%s: read: %v", l.name(), err))
		}
		return err
	})
}

// check compares all nodes with each other and with what is known.
func (h *history) check() error {
	for _, l := range h.lanes {
		first, want, err := h.tr.local(h.tr.members[0], l.topic, l.partition)
		if err != nil {
			return fmt.Errorf("%s on node 0: %w", l.name(), err)
		}
		ids := map[string]bool{}
		for i, v := range want {
			h.at(l.name(), first+int64(i), v)
			if ids[v] {
				return fmt.Errorf("%s: %.12s is stored twice", l.name(), v)
			}
			ids[v] = true
		}
		for id, offset := range h.acked[l.name()] {
			if offset >= first && (offset >= first+int64(len(want)) || want[offset-first] != value(id)) {
				return fmt.Errorf("%s: id %d was acked at %d and is lost, %d records from %d on are there", l.name(), id, offset, len(want), first)
			}
		}
		for _, m := range h.tr.members[1:] {
			start, values, err := h.tr.local(m, l.topic, l.partition)
			if err != nil || start != first || strings.Join(values, " ") != strings.Join(want, " ") {
				return fmt.Errorf("%s: node %d holds %d records from %d on, node 0 %d from %d on, or others: %v", l.name(), m.at, len(values), start, len(want), first, err)
			}
		}
	}
	return nil
}
