package replica

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
)

const (
	mergeBytes = 32 << 10 // while own entries are being written, commands gather until they are this much
	mergeFrom  = 2        // own entries: one whose sync runs, and one that waits for it in the next frame
	entryBytes = 1 << 20  // an entry holds at most this, or one command
)

// group is one raft group of this node.
type group struct {
	id      uint16
	host    *Host
	machine Machine
	store   *storage
	raw     *raft.RawNode // the worker's

	steps  *mailbox[*pb.Message] // to the worker: answers of writer and applier
	writes *mailbox[*pb.Message] // to the writer
	apply  *mailbox[*pb.Message] // to the applier
	asks   chan chan snapshot    // to the applier

	hard atomic.Pointer[pb.HardState] // the newest; the writer sets it before it writes it

	appliedIndex, appliedTerm uint64 // the applier's

	leads atomic.Bool
	term  atomic.Uint64 // in which it led last
	led   chan struct{} // closed when this node has applied an entry of a term that it leads, and so everything before

	mu       sync.Mutex
	waiting  []*proposal // not proposed yet
	bytes    int         // of waiting
	writing  int         // own entries on their way to the disk
	proposed map[uint64]*ownEntry
	closed   error
}

// proposal is a command on its way.
type proposal struct {
	command  fsm.Command
	ctx      context.Context // of whoever waits
	until    time.Time       // zero = no limit
	answered atomic.Bool
	done     chan struct{} // one slot: result or err is set
	result   fsm.Result
	err      error
}

// answer wakes whoever waits; of several answers the first counts.
func (p *proposal) answer(result fsm.Result, err error) {
	if p.answered.CompareAndSwap(false, true) {
		p.result, p.err = result, err
		p.done <- struct{}{}
	}
}

// overdue says why nobody waits for it any more, nil while somebody does.
func (p *proposal) overdue(now time.Time) error {
	if !p.until.IsZero() && !now.Before(p.until) {
		return ErrTimeout
	}
	return p.ctx.Err()
}

// size is what a proposal takes in an entry, at most.
func (p *proposal) size() int { return p.command.Size() + commandAllowance }

// snapshot is the state of a group at an entry.
type snapshot struct {
	index, term uint64
	state       []byte
}

// propose hands a command over; it is answered when it was applied, cannot be any more, or is overdue.
func (g *group) propose(ctx context.Context, c fsm.Command, limit time.Duration) (*proposal, error) {
	p, ok := g.host.answered.Get().(*proposal)
	if !ok {
		p = &proposal{done: make(chan struct{}, 1)}
	}
	p.command, p.ctx, p.until = c, ctx, time.Time{}
	if limit > 0 {
		p.until = time.Now().Add(limit)
	}
	if p.size() > g.host.log.MaxBody() {
		return nil, ErrTooLarge
	}
	g.mu.Lock()
	switch {
	case g.closed != nil:
		g.mu.Unlock()
		return nil, fmt.Errorf("%w: %w", ErrNotLeader, g.closed)
	case !g.leads.Load():
		g.mu.Unlock()
		return nil, ErrNotLeader
	case g.host.full.Load():
		g.mu.Unlock()
		return nil, fmt.Errorf("%w: %w", ErrNotLeader, commitlog.ErrFull)
	}
	g.waiting = append(g.waiting, p)
	g.bytes += p.size()
	g.mu.Unlock()
	g.steps.put() // wakes the worker
	return p, nil
}

// expire answers what is overdue. The worker does it, which alone reads commands: nothing reads one any more when it is answered.
func (g *group) expire(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = slices.DeleteFunc(g.waiting, func(p *proposal) bool {
		err := p.overdue(now)
		if err == nil {
			return false
		}
		g.bytes -= p.size()
		p.answer(fsm.Result{}, fmt.Errorf("%w: %w", ErrNotLeader, err)) // it was not proposed
		return true
	})
	for _, own := range g.proposed {
		for _, p := range own.proposals {
			if err := p.overdue(now); err != nil {
				p.answer(fsm.Result{}, err)
			}
		}
	}
}

// commandAllowance is more than the head of an entry and of a command take.
const commandAllowance = 64

// work is the worker: it owns raft.
func (g *group) work(ctx context.Context) {
	tick := time.NewTicker(g.host.cfg.Tick)
	defer tick.Stop()
	if g.host.alone() {
		_ = g.raw.Campaign() // nobody else to wait for
	}
	for {
		g.settle()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.raw.Tick()
			g.expire(time.Now())
		case <-g.steps.ready:
			for _, m := range g.steps.take() {
				if m.GetType() == pb.MsgStorageApplyResp {
					g.store.applied(lastIndex(m.GetEntries()))
				}
				_ = g.raw.Step(m) // raft refuses what it does not need any more
			}
		}
	}
}

// settle proposes what may be proposed and hands on what raft wants done.
func (g *group) settle() {
	for {
		g.merge()
		if !g.raw.HasReady() {
			return
		}
		ready := g.raw.Ready()
		if s := ready.SoftState; s != nil {
			if s.RaftState == raft.StateLeader {
				status := g.raw.BasicStatus()
				g.term.Store(status.HardState.GetTerm())
			}
			g.leads.Store(s.RaftState == raft.StateLeader)
			if s.RaftState != raft.StateLeader {
				g.refuse(ErrNotLeader)
			}
		}
		for _, m := range ready.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				g.writes.put(m)
			case raft.LocalApplyThread:
				g.apply.put(m)
			}
		}
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
		e := fsm.Entry{Time: time.Now().UnixMilli(), Proposer: g.host.cfg.ID, Proposal: number, Commands: make([]fsm.Command, n)}
		for i, p := range batch {
			e.Commands[i] = p.command
		}
		*own.encoded = e.Append((*own.encoded)[:0])
		if err := g.raw.Propose(g.token(number)); err != nil {
			g.mu.Lock()
			delete(g.proposed, number)
			g.writing--
			g.mu.Unlock()
			finish(batch, nil, fmt.Errorf("%w: %w", ErrNotLeader, err)) // dropped before it was proposed
			encodings.Put(own.encoded)
		}
	}
}

const maxCommands = 1<<16 - 1

// refuse answers what waits and was not proposed.
func (g *group) refuse(err error) {
	g.mu.Lock()
	batch := g.waiting
	g.waiting, g.bytes, g.writing = nil, 0, 0
	g.mu.Unlock()
	finish(batch, nil, err)
}

// finish answers proposals.
func finish(batch []*proposal, results []fsm.Result, err error) {
	for i, p := range batch {
		if err != nil {
			p.answer(fsm.Result{}, err)
		} else {
			p.answer(results[i], nil)
		}
	}
}

// applying is the applier.
func (g *group) applying(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case answer := <-g.asks:
			answer <- snapshot{g.appliedIndex, g.appliedTerm, g.machine.Snapshot(nil)}
		case <-g.apply.ready:
			for _, m := range g.apply.take() {
				for _, e := range m.GetEntries() {
					if err := g.applyEntry(e); err != nil {
						g.host.fail(err)
						return
					}
				}
				g.deliver(m.GetResponses())
			}
		}
	}
}

// applyEntry applies a committed entry and answers whoever proposed it.
func (g *group) applyEntry(e *pb.Entry) error {
	if e.GetType() != pb.EntryNormal {
		return fmt.Errorf("group %d: entry %d changes the membership, which this version does not know: %w", g.id, e.GetIndex(), ErrRecords)
	}
	if len(e.GetData()) > 0 { // empty: a leader begins its term
		data, err := g.data(e)
		if err != nil {
			return err
		}
		entry, err := fsm.ParseEntry(data)
		if err != nil {
			return fmt.Errorf("group %d: entry %d: %w", g.id, e.GetIndex(), err)
		}
		at, _ := g.host.log.Position(g.id, e.GetIndex())
		results := g.machine.Apply(at, e.GetTerm(), entry)
		if entry.Proposer == g.host.cfg.ID {
			g.answer(entry.Proposal, results)
		}
	}
	g.appliedIndex, g.appliedTerm = e.GetIndex(), e.GetTerm()
	select {
	case <-g.led:
	default:
		if g.leads.Load() && e.GetTerm() == g.term.Load() {
			close(g.led)
		}
	}
	return nil
}

// close answers everything that is left. What was proposed may be stored.
func (g *group) close(err error) {
	g.mu.Lock()
	g.closed = err
	left := g.waiting
	g.waiting = nil
	for number, own := range g.proposed {
		left = append(left, own.proposals...)
		delete(g.proposed, number)
	}
	g.mu.Unlock()
	finish(left, nil, err)
}

func lastIndex(entries []*pb.Entry) uint64 {
	if len(entries) == 0 {
		return 0
	}
	return entries[len(entries)-1].GetIndex()
}
