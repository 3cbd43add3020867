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
			n.trim(ctx, time.Now()) // while much is written, a tick is too long
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
	if err := n.host.Release(below); err != nil { // tried again at the next checkpoint
		n.cfg.Failed("release of segments", err)
	}
}

// trim proposes new starts of the partitions that this node leads: by the age and size that their topics allow, and of all together by the node's bound, the oldest first.
func (n *Node) trim(ctx context.Context, now time.Time) {
	r := n.round()
	for _, t := range n.meta.topics() {
		for _, p := range t.Partitions {
			if start := n.machine(p).keep(p, t, now); start > 0 {
				r.trim(ctx, p, start)
			}
		}
	}
	r.trimNode(ctx)
	if err := r.err(); err != nil && ctx.Err() == nil {
		n.cfg.Failed("retention", err)
	}
}

// trimNode proposes new starts by the node's bound alone. With several nodes each leader finds the same records among those of all, and proposes for its own.
func (r *round) trimNode(ctx context.Context) {
	n := r.n
	if n.cfg.RetentionBytes <= 0 {
		return
	}
	excess := -n.cfg.RetentionBytes
	var heads []*oldest
	for _, t := range n.meta.topics() {
		for _, p := range t.Partitions {
			o := &oldest{place: p, machine: n.machine(p)}
			excess += o.machine.bytes(p.ID)
			if o.fetch() {
				heads = append(heads, o)
			}
		}
	}
	starts := map[fsm.PartitionPlace]int64{}
	for excess > 0 && len(heads) > 0 {
		i := 0
		for k := range heads {
			if heads[k].rows[0].time < heads[i].rows[0].time {
				i = k
			}
		}
		o := heads[i]
		excess -= int64(o.rows[0].size)
		if !o.next() {
			heads = slices.Delete(heads, i, i+1)
		}
		starts[o.place] = o.at
	}
	for p, start := range starts {
		r.trim(ctx, p, start)
	}
}

// oldest walks over the batches of a partition from the oldest on.
type oldest struct {
	place   fsm.PartitionPlace
	machine *dataMachine
	at      int64 // everything below it was walked over
	rows    []row // what comes next; fetched in pieces
	behind  int64 // the offset behind them
}

// oldestPiece is how many rows are copied under the machine's lock at once.
const oldestPiece = 512

// fetch says whether there is another batch.
func (o *oldest) fetch() bool {
	o.machine.mu.RLock()
	defer o.machine.mu.RUnlock()
	r, state := o.machine.rows[o.place.ID], o.machine.state.Partition(o.place.ID)
	if r == nil || state == nil {
		return false
	}
	o.at, o.behind = max(o.at, state.Start()), state.HighWatermark()
	if o.at >= o.behind || len(r.list) == 0 {
		return false
	}
	from := r.from(o.at)
	to := min(from+oldestPiece, len(r.list))
	o.rows = slices.Clone(r.list[from:to])
	if to < len(r.list) {
		o.behind = r.list[to].base
	}
	return len(o.rows) > 0
}

// next walks over a batch and says whether there is another one.
func (o *oldest) next() bool {
	o.rows = o.rows[1:]
	if len(o.rows) > 0 {
		o.at = o.rows[0].base
		return true
	}
	o.at = o.behind
	return o.fetch()
}

// keep returns the new start of a partition by its age and size; 0 = as it is.
func (m *dataMachine) keep(p fsm.PartitionPlace, t fsm.Topic, now time.Time) (start int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	state := m.state.Partition(p.ID)
	if state == nil || m.rows[p.ID] == nil {
		return 0
	}
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
		start = state.HighWatermark()
	case n > 0:
		start = list[n].base
	}
	if start <= state.Start() {
		return 0
	}
	return start
}

// bytes is how much a partition keeps.
func (m *dataMachine) bytes(partition uint32) int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if r := m.rows[partition]; r != nil {
		return r.bytes
	}
	return 0
}

func (r *round) trim(ctx context.Context, p fsm.PartitionPlace, start int64) {
	r.try(p.Group, func() error {
		body := le.AppendUint64(le.AppendUint32(nil, p.ID), uint64(start))
		_, err := r.n.propose(ctx, p.Group, fsm.Command{Type: fsm.CommandTrim, Body: body})
		return err
	})
}
