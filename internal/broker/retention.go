package broker

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// retention gives up old records at times, and their segments when a checkpoint allows it. An error of the log ends the node elsewhere.
func (n *Node) retention(ctx context.Context) {
	tick := time.NewTicker(n.cfg.RetentionEvery)
	defer tick.Stop()
	from := uint64(0) // the newest checkpoint but one needs nothing older: the newest may still turn out to be damaged
	for {
		select {
		case <-ctx.Done():
			return
		case newest := <-n.recycled:
			if from > 0 {
				n.release(from)
			}
			from = newest
		case <-tick.C:
			n.trim(ctx, time.Now())
		}
	}
}

// release gives back the segments that hold nothing that is kept.
func (n *Node) release(below uint64) {
	for _, m := range n.data {
		below = m.oldest(below)
	}
	if err := n.log.Release(below); err != nil { // tried again at the next checkpoint
		n.cfg.Failed("release of segments", err)
	}
}

// trim proposes new starts of partitions: by the age and size that their topics allow, and of all together by the node's bound, the oldest first.
func (n *Node) trim(ctx context.Context, now time.Time) {
	var all []kept
	for _, t := range n.meta.topics() {
		for _, p := range t.Partitions {
			k := n.machine(p).keep(p, t, now)
			if k.start > 0 && !n.proposeTrim(ctx, p, k.start) {
				return
			}
			all = append(all, k)
		}
	}
	if n.cfg.RetentionBytes <= 0 {
		return
	}
	total := int64(0)
	var batches []keptRow
	for _, k := range all {
		for i, x := range k.rows {
			behind := k.high
			if i+1 < len(k.rows) {
				behind = k.rows[i+1].base
			}
			total += int64(x.size)
			batches = append(batches, keptRow{x, k.place, behind})
		}
	}
	slices.SortFunc(batches, func(a, b keptRow) int { return int(a.time - b.time) })
	starts := map[fsm.PartitionPlace]int64{}
	for i := 0; i < len(batches) && total > n.cfg.RetentionBytes; i++ {
		total -= int64(batches[i].size)
		starts[batches[i].place] = batches[i].behind
	}
	for p, start := range starts {
		if !n.proposeTrim(ctx, p, start) {
			return
		}
	}
}

// kept is what a partition keeps.
type kept struct {
	place fsm.PartitionPlace
	start int64 // its new start; 0 = as it is
	high  int64
	rows  []row
}

type keptRow struct {
	row
	place  fsm.PartitionPlace
	behind int64 // offset behind the batch
}

// keep says what a partition may keep.
func (m *dataMachine) keep(p fsm.PartitionPlace, t fsm.Topic, now time.Time) kept {
	m.mu.RLock()
	defer m.mu.RUnlock()
	k := kept{place: p}
	state := m.state.Partition(p.ID)
	if state == nil || m.rows[p.ID] == nil {
		return k
	}
	k.high = state.HighWatermark()
	list, bytes := m.rows[p.ID].list, m.rows[p.ID].bytes
	oldest, most := int64(math.MinInt64), int64(math.MaxInt64)
	if t.RetentionMS >= 0 {
		oldest = now.UnixMilli() - t.RetentionMS
	}
	if t.RetentionBytes >= 0 {
		most = t.RetentionBytes
	}
	n := 0
	for n < len(list) && (list[n].time < oldest || bytes > most) {
		bytes -= int64(list[n].size)
		n++
	}
	switch {
	case n == len(list) && n > 0:
		k.start = k.high
	case n > 0:
		k.start = list[n].base
	}
	if k.start <= state.Start() {
		k.start = 0
	}
	k.rows = slices.Clone(list[n:])
	return k
}

func (n *Node) proposeTrim(ctx context.Context, p fsm.PartitionPlace, start int64) (done bool) {
	body := le.AppendUint64(le.AppendUint32(nil, p.ID), uint64(start))
	_, err := n.propose(ctx, p.Group, fsm.Command{Type: fsm.CommandTrim, Body: body})
	if err != nil && ctx.Err() == nil {
		n.cfg.Failed("retention", err)
	}
	return err == nil
}
