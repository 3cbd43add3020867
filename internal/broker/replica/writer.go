package replica

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/kp"
)

// writing is one call of the writer to the log: records of raft's messages, and what follows when they are durable.
type writing struct {
	records   []commitlog.Record
	entries   []*pb.Entry   // what is in records, indexes without a gap but where raft took entries back
	own       int           // of the entries, those with commands
	install   *pb.Snapshot  // the state of another node that the records complete, before the entries
	responses []*pb.Message // raft is told when this and all before are durable
	pending   commitlog.Pending
}

// fullPause is how long a full disk is left alone before it is tried again.
const fullPause = 5 * time.Second

// frameBytes is what one call puts into the log at most where its frames have room, besides one entry.
const frameBytes = 4 << 20

// writer puts entries and votes into the log as they come, into the frame that fills while another one is synced, and lets raft and the other nodes know of each
// when it and all before are durable.
type writer struct {
	*group
	planned []*writing // not begun yet
	begun   []*writing
	refused uint64 // number of the log's refusals up to which this writer has begun again
}

func newWriter(g *group) *writer { return &writer{group: g, refused: g.host.log.Refused()} }

// write runs the writer.
func (g *group) write(ctx context.Context) {
	w := newWriter(g)
	for {
		var done <-chan struct{}
		if len(w.begun) > 0 {
			done = w.begun[0].pending.Done()
		}
		var err error
		select {
		case <-ctx.Done():
			return
		case <-g.writes.ready:
			err = w.accept()
		case <-done:
			err = w.next()
		}
		if err == nil {
			err = w.beginAll()
		}
		for errors.Is(err, commitlog.ErrFull) { // of all that is begun nothing was written: the same again when there is room
			g.host.full.Store(true)
			select {
			case <-ctx.Done():
				return
			case <-time.After(fullPause):
			}
			w.again()
			err = w.beginAll()
		}
		if err != nil {
			g.host.fail(err)
			return
		}
	}
}

// accept plans to write what has come.
func (w *writer) accept() error {
	if len(w.begun)+len(w.planned) == 0 { // what others were refused leaves no gap here
		w.refused = w.host.log.Refused()
	}
	more, err := w.plan(w.writes.take())
	w.planned = append(w.planned, more...)
	return err
}

// beginAll puts everything that is planned into the log.
func (w *writer) beginAll() (err error) {
	for err == nil && len(w.planned) > 0 {
		err = w.begin()
	}
	return err
}

// begin puts the next writing into the log.
func (w *writer) begin() (err error) {
	next := w.planned[0]
	first := len(w.begun) == 0
	if first { // Begin waits for the disk too, when other groups have filled the next frame
		w.clock(true)
	}
	if next.pending, err = w.host.log.Begin(w.refused, next.records...); err != nil {
		if first {
			w.clock(false)
		}
		return err
	}
	w.planned, w.begun = w.planned[1:], append(w.begun, next)
	w.tooEarly(next)
	return nil
}

// next completes the oldest writing, which is durable or has failed.
func (w *writer) next() error {
	err := w.complete(w.begun[0])
	if err == nil {
		w.begun = slices.Delete(w.begun, 0, 1)
		w.clock(len(w.begun) > 0)
	}
	return err
}

// again plans anew what a full disk has refused, behind what became durable before.
func (w *writer) again() {
	for len(w.begun) > 0 && w.complete(w.begun[0]) == nil {
		w.begun = w.begun[1:]
	}
	w.planned, w.begun = append(w.begun, w.planned...), nil
	w.clock(false)
	w.refused = w.host.log.Refused()
}

// tooEarly are the planted bugs of answers that do not wait for the disk.
func (w *writer) tooEarly(l *writing) {
	if !kp.Enabled {
		return
	}
	l.responses = slices.DeleteFunc(slices.Clone(l.responses), func(m *pb.Message) bool {
		early := m.GetTo() != w.host.cfg.ID &&
			(m.GetType() == pb.MsgAppResp && kp.Planted(kp.FollowerAckBeforeSync) || m.GetType() == pb.MsgVoteResp && kp.Planted(kp.VoteBeforeSync))
		if early {
			w.host.send(w.id, m)
		}
		return early
	})
}

// complete waits until a writing is durable.
func (g *group) complete(w *writing) error {
	at, err := w.pending.Wait()
	if err != nil {
		return err
	}
	g.host.full.Store(false)
	if w.install != nil {
		g.store.install(w.install.GetMetadata())
		g.apply.put(&pb.Message{Snapshot: w.install}) // before every entry behind it
	}
	for from, i := 0, 1; i <= len(w.entries); i++ {
		if i == len(w.entries) || w.entries[i].GetIndex() != w.entries[i-1].GetIndex()+1 {
			g.store.add(w.entries[from:i])
			from = i
		}
	}
	g.syncedOwn(w.entries)
	g.host.wrote(at.Segment)
	if w.own > 0 && g.leads.Load() {
		g.mu.Lock()
		g.writing = max(0, g.writing-w.own)
		g.mu.Unlock()
	}
	g.deliver(w.responses)
	return nil
}

// plan makes as few calls as may be of raft's messages, which come behind what is begun or planned. A commit alone is not written: it is found again.
// Neither is one of entries that stand behind it: a crash between the two would leave a log that ends below what it says is committed.
func (ws *writer) plan(messages []*pb.Message) (list []*writing, err error) {
	g := ws.group
	w, size := &writing{}, 0
	next := func() {
		list = append(list, w)
		w, size = &writing{}, 0
	}
	for _, m := range messages {
		hard := &pb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
		if !raft.IsEmptyHardState(hard) {
			was := g.hard.Load()
			must := raft.MustSync(hard, was, 0) || len(m.GetEntries()) > 0
			g.hard.Store(hard)
			if must {
				known := hard.GetCommit()
				if len(m.GetEntries()) > 0 {
					known = min(known, m.GetEntries()[0].GetIndex()-1)
				}
				if m.GetSnapshot() != nil {
					known = was.GetCommit()
				}
				w.records = append(w.records, hardRecord(g.id, hard, known))
			}
		}
		if s := m.GetSnapshot(); s != nil {
			if len(w.records) > 0 {
				next()
			}
			parts, told := ws.planInstall(s, g.hard.Load()), w.responses
			list, w = append(list, parts[:len(parts)-1]...), parts[len(parts)-1]
			w.responses = told
		}
		for _, e := range m.GetEntries() {
			data, err := g.data(e)
			if err != nil {
				return nil, err
			}
			more := len(data) + entryAllowance
			if size += more; size > g.host.frameSize && len(w.entries) > 0 {
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
	before := list // nothing to write: raft is told behind what it waits for
	if len(before) == 0 {
		before = ws.planned
	}
	if len(before) == 0 {
		before = ws.begun
	}
	if n := len(before); n > 0 {
		before[n-1].responses = append(before[n-1].responses, w.responses...)
	} else {
		g.deliver(w.responses)
	}
	return list, nil
}

// deliver gives answers to raft, and to the other nodes.
func (g *group) deliver(responses []*pb.Message) {
	for _, m := range responses {
		if m.GetTo() != g.host.cfg.ID {
			g.host.send(g.id, m)
			continue
		}
		if kp.Planted(kp.AckBeforeMajority) && m.GetType() == pb.MsgAppResp {
			for _, id := range g.store.conf().GetVoters() {
				g.steps.put(&pb.Message{Type: m.Type, From: new(id), To: m.To, Term: m.Term, Index: m.Index})
			}
		}
		g.steps.put(m)
	}
}
