package replica

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/waybillmq/waybill/internal/broker/fsm"
	"github.com/waybillmq/waybill/internal/kp"
)

// work is the worker: it owns raft.
func (g *group) work(ctx context.Context) {
	tick := time.NewTicker(g.host.cfg.Tick)
	defer tick.Stop()
	g.start()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.tick()
		case <-g.steps.ready:
			g.turn()
		}
	}
}

// start is the first thing that the worker does.
func (g *group) start() {
	if g.alone {
		_ = g.raw.Campaign() // nobody else to wait for
	}
	g.settle()
}

// tick lets one tick of raft's time pass.
func (g *group) tick() {
	g.ticks++
	g.raw.Tick()
	g.expire(g.host.now())
	g.watchStates()
	g.settle()
	g.publish()
	g.watchDisk()
}

// watchStates finds the followers that wait for a state for too long.
func (g *group) watchStates() {
	if !g.leads.Load() {
		clear(g.sending)
		return
	}
	g.raw.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		if p.State != tracker.StateSnapshot {
			delete(g.sending, id)
		} else if _, known := g.sending[id]; !known {
			g.sending[id] = g.ticks
		}
	})
	for _, id := range slices.Sorted(maps.Keys(g.sending)) {
		if g.ticks-g.sending[id] >= snapshotTicks {
			g.lostState(id)
		}
	}
}

// turn takes what has come, and what may be proposed.
func (g *group) turn() {
	for _, m := range g.steps.take() {
		switch m.GetType() {
		case pb.MsgUnreachable:
			g.raw.ReportUnreachable(m.GetFrom())
			continue
		case pb.MsgSnapStatus:
			g.lostState(m.GetFrom())
			continue
		case pb.MsgTransferLeader:
			if g.leads.Load() { // a follower would pass it on
				g.raw.TransferLeader(m.GetFrom())
			}
			continue
		case pb.MsgStorageApplyResp:
			g.store.applied(lastIndex(m.GetEntries()))
		}
		if !g.alone && !raft.IsLocalMsgTarget(m.GetFrom()) {
			g.heard[m.GetFrom()] = g.ticks
		}
		_ = g.raw.Step(m) // raft refuses what it does not need any more
	}
	g.settle()
}

// settle proposes what may be proposed and hands on what raft wants done.
func (g *group) settle() {
	for {
		g.merge()
		g.ask()
		if !g.raw.HasReady() {
			g.answerConfirms()
			return
		}
		ready := g.raw.Ready()
		g.agreed(ready.ReadStates)
		if s := ready.SoftState; s != nil {
			g.role(s)
			g.publish()
		}
		g.hand(ready.Messages)
	}
}

// role takes note of who leads.
func (g *group) role(s *raft.SoftState) {
	if s.RaftState == raft.StateLeader {
		status := g.raw.BasicStatus()
		g.term.Store(status.HardState.GetTerm())
	}
	g.leader.Store(s.Lead)
	g.leads.Store(s.RaftState == raft.StateLeader)
	if s.RaftState != raft.StateLeader {
		g.refuse(ErrNotLeader)
		g.refuseConfirms(ErrNotLeader)
		g.lose()
	}
	g.host.cfg.Moved()
}

// hand gives raft's messages to writer, applier and net. raft asks for votes before the new term, the own vote and the entries that the candidate boasts of are
// synced. Such a request waits for the writer: a candidate that forgot them in a crash would take a vote that is still on its way for one for its shorter log.
func (g *group) hand(messages []*pb.Message) {
	var requests []*pb.Message
	for _, m := range messages {
		switch {
		case m.GetTo() == raft.LocalAppendThread:
			if len(requests) > 0 {
				m.Responses, requests = append(requests, m.GetResponses()...), nil
			}
			g.writes.put(m)
		case m.GetTo() == raft.LocalApplyThread:
			g.apply.put(m)
		case m.GetType() == pb.MsgVote && !kp.Planted(kp.CampaignBeforeSync):
			requests = append(requests, m)
		default:
			g.host.send(g.id, m)
		}
	}
	if len(requests) > 0 {
		g.writes.put(&pb.Message{Responses: requests})
	}
}

// merge makes one entry of the commands that wait: at once when the next frame holds no own entry, else when they are enough to be worth one. So one sync pays
// for as many as came while the one before ran, and a lone one waits for nobody.
func (g *group) merge() {
	for {
		g.mu.Lock()
		if len(g.waiting) == 0 || g.writing >= mergeFrom && g.bytes < mergeBytes {
			g.mu.Unlock()
			return
		}
		n, size := 0, 0
		for n < len(g.waiting) && n < maxCommands {
			more := g.waiting[n].size()
			if n > 0 && size+more > min(entryBytes, g.host.log.MaxBody()) {
				break
			}
			size += more
			n++
		}
		batch := g.waiting[:n:n]
		g.waiting, g.bytes = g.waiting[n:], g.bytes-size
		number := g.host.proposals.Add(1)
		own := &ownEntry{proposals: batch, encoded: encodings.Get().(*[]byte)}
		g.proposed[number] = own
		g.writing++
		g.mu.Unlock()
		e := fsm.Entry{Time: g.host.now().UnixMilli(), Proposer: g.host.cfg.ID, Proposal: number, Commands: make([]fsm.Command, n)}
		for i, p := range batch {
			e.Commands[i] = p.command
		}
		*own.encoded = e.Append((*own.encoded)[:0])
		data := g.token(number)
		if !g.alone { // others get the entry itself, and long after it was applied here
			data = *own.encoded
		}
		if err := g.raw.Propose(data); err != nil {
			g.mu.Lock()
			delete(g.proposed, number)
			g.writing--
			g.mu.Unlock()
			finish(batch, nil, fmt.Errorf("%w: %w", ErrNotLeader, err)) // dropped before it was proposed
			encodings.Put(own.encoded)
		} else if !g.alone {
			encodings.Put(own.encoded) // raft has a copy
		}
	}
}

const maxCommands = 1<<16 - 1
