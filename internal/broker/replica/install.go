package replica

import (
	"context"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
)

// A follower that needs entries which the leader's log does not hold any more is given the leader's base instead. It stands in the follower's log as parts, and
// counts from the first index record behind them on, which voids every entry before.

// fetching brings what raft has asked the storage for, beside the worker.
func (g *group) fetching(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.store.wanted:
		}
		g.fetch()
	}
}

// fetch brings it once.
func (g *group) fetch() {
	g.store.prefetch()
	if g.store.stateAsked() {
		g.store.give(*g.base.Load())
	}
}

// planInstall makes the writings that take over a state, the last of which completes it.
func (ws *writer) planInstall(s *pb.Snapshot, hard *pb.HardState) (list []*writing) {
	h, meta := ws.host, s.GetMetadata()
	h.installs.Lock()
	ws.installing.Add(1)
	h.installs.Unlock()
	sum := uint32(0)
	for _, r := range partRecords(ws.id, meta.GetIndex(), snapshot{index: meta.GetIndex(), term: meta.GetTerm(), state: s.GetData()}, h.partSize, partTaken) {
		sum = crc32.Update(sum, castagnoli, r.Body)
		list = append(list, &writing{records: []commitlog.Record{r}})
	}
	first := commitlog.Record{Kind: commitlog.KindFirstIndex, Stream: ws.id, Index: meta.GetIndex(), Term: meta.GetTerm(), Body: le.AppendUint32(nil, sum)}
	return append(list, &writing{install: s, records: []commitlog.Record{first, confRecord(ws.id, meta.GetConfState()), hardRecord(ws.id, hard, meta.GetIndex())}})
}

// taken completes a state of another node, as recovery reads it. One whose parts do not fit began before the place where reading did: a newer checkpoint must
// follow.
func (r *Recovery) taken(rec commitlog.Record) error {
	if len(rec.Body) != 4 {
		return fmt.Errorf("a first index of %d bytes: %w", len(rec.Body), ErrRecords)
	}
	p := r.takes[rec.Stream]
	delete(r.takes, rec.Stream)
	if p == nil || p.index != rec.Index || p.sum != le.Uint32(rec.Body) {
		r.whole = false
		return nil
	}
	g := r.group(rec.Stream)
	g.state, g.base = &p.part, &p.part
	return nil
}

// take is a state of another node whose end was not seen yet.
type take struct {
	part
	sum uint32
}

func (r *Recovery) takePart(rec commitlog.Record) {
	t := r.takes[rec.Stream]
	if rec.Flags&partFirst != 0 || t == nil {
		t = &take{part: part{index: rec.Index, term: rec.Term}}
		r.takes[rec.Stream] = t
	}
	t.sum = crc32.Update(t.sum, castagnoli, rec.Body)
	t.state = append(t.state, rec.Body[8:]...)
}

// snapshotTicks is how long a state may be on its way to a follower before it counts as lost: then raft tries again, and until then it would send nothing.
const snapshotTicks = 100

// lostState tells raft of a state that did not arrive: the net has dropped something, or it takes too long.
func (g *group) lostState(node uint64) {
	delete(g.sending, node)
	g.raw.ReportSnapshot(node, raft.SnapshotFailure)
}
