package replica

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
)

// writing is one call of the writer to the log: records of raft's messages, and what follows when they are durable.
type writing struct {
	records   []commitlog.Record
	entries   []*pb.Entry   // what is in records, indexes without a gap but where raft took entries back
	own       int           // of the entries, those with commands
	responses []*pb.Message // raft is told when this and all before are durable
	pending   commitlog.Pending
}

// fullPause is how long a full disk is left alone before it is tried again.
const fullPause = 5 * time.Second

// frameBytes is what one call puts into the log at most, besides one entry.
const frameBytes = 4 << 20

// write is the writer: it puts entries and votes into the log as they come, into the frame that fills while another one is synced, and lets raft know of each
// when it and all before are durable.
func (g *group) write(ctx context.Context) {
	var begun []*writing
	refused := g.host.log.Refused()
	for {
		var done <-chan struct{}
		if len(begun) > 0 {
			done = begun[0].pending.Done()
		}
		var err error
		select {
		case <-ctx.Done():
			return
		case <-g.writes.ready:
			if len(begun) == 0 { // what others were refused leaves no gap here
				refused = g.host.log.Refused()
			}
			var more []*writing
			if more, err = g.plan(g.writes.take(), begun); err == nil {
				begun, err = append(begun, more...), g.begin(refused, more)
			}
		case <-done:
			err = g.complete(begun[0])
			if err == nil {
				begun = slices.Delete(begun, 0, 1)
			}
		}
		for errors.Is(err, commitlog.ErrFull) { // of all that is begun nothing was written: the same again when there is room
			g.host.full.Store(true)
			select {
			case <-ctx.Done():
				return
			case <-time.After(fullPause):
			}
			begun = g.completed(begun)
			refused = g.host.log.Refused()
			err = g.begin(refused, begun)
		}
		if err != nil {
			g.host.fail(err)
			return
		}
	}
}

// completed passes over what became durable before the disk was full.
func (g *group) completed(begun []*writing) []*writing {
	for len(begun) > 0 && begun[0].pending != (commitlog.Pending{}) && g.complete(begun[0]) == nil {
		begun = begun[1:]
	}
	return begun
}

// begin puts writings into the log, in their order.
func (g *group) begin(refused uint64, list []*writing) (err error) {
	for _, w := range list {
		w.pending = commitlog.Pending{}
	}
	for _, w := range list {
		if w.pending, err = g.host.log.Begin(refused, w.records...); err != nil {
			return err
		}
	}
	return nil
}

// complete waits until a writing is durable.
func (g *group) complete(w *writing) error {
	at, err := w.pending.Wait()
	if err != nil {
		return err
	}
	g.host.full.Store(false)
	for from, i := 0, 1; i <= len(w.entries); i++ {
		if i == len(w.entries) || w.entries[i].GetIndex() != w.entries[i-1].GetIndex()+1 {
			g.store.add(w.entries[from:i])
			from = i
		}
	}
	g.host.wrote(at.Segment)
	if w.own > 0 && g.leads.Load() {
		g.mu.Lock()
		g.writing = max(0, g.writing-w.own)
		g.mu.Unlock()
	}
	g.deliver(w.responses)
	return nil
}

// plan makes as few calls as may be of raft's messages, which come behind what is begun. A commit alone is not written: it is found again.
func (g *group) plan(messages []*pb.Message, begun []*writing) (list []*writing, err error) {
	w, size := &writing{}, 0
	next := func() {
		list = append(list, w)
		w, size = &writing{}, 0
	}
	for _, m := range messages {
		hard := &pb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
		if !raft.IsEmptyHardState(hard) {
			must := raft.MustSync(hard, g.hard.Load(), 0) || len(m.GetEntries()) > 0
			g.hard.Store(hard)
			if must {
				w.records = append(w.records, hardRecord(g.id, hard))
			}
		}
		for _, e := range m.GetEntries() {
			data, err := g.data(e)
			if err != nil {
				return nil, err
			}
			more := len(data) + entryAllowance
			if size += more; size > min(frameBytes, g.host.log.MaxBody()-len(hardRecord(g.id, hard).Body)-2*entryAllowance) && len(w.entries) > 0 {
				next()
				size = more
			}
			w.records = append(w.records, commitlog.Record{Kind: commitlog.KindEntry, Flags: uint8(e.GetType()), Stream: g.id, Index: e.GetIndex(), Term: e.GetTerm(), Body: data})
			w.entries = append(w.entries, e)
			if e.GetType() == pb.EntryNormal && len(data) > 0 {
				w.own++
			}
		}
		w.responses = append(w.responses, m.GetResponses()...)
	}
	if len(w.records) > 0 {
		return append(list, w), nil
	}
	switch n := len(begun); { // nothing to write: raft is told behind what it waits for
	case len(list) > 0:
		list[len(list)-1].responses = append(list[len(list)-1].responses, w.responses...)
	case n > 0:
		begun[n-1].responses = append(begun[n-1].responses, w.responses...)
	default:
		g.deliver(w.responses)
	}
	return list, nil
}

// deliver gives raft's own answers back to it.
func (g *group) deliver(responses []*pb.Message) {
	for _, m := range responses {
		if m.GetTo() == g.host.cfg.ID {
			g.steps.put(m)
		}
	}
}
