package replica

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	raw     *raft.RawNode     // the worker's
	alone   bool              // this node is the only voter
	ticks   uint64            // the worker's: ticks so far
	heard   map[uint64]uint64 // the worker's: tick at which a node was heard last
	sending map[uint64]uint64 // the worker's: tick at which a state was seen on its way to a node

	questions uint64                // the worker's: to the others so far, whether this node leads
	asked     map[uint64][]*confirm // the worker's: who waits for the answer
	sure      []*confirm            // the worker's: who waits until enough is applied

	steps  *mailbox[*pb.Message] // to the worker: answers of writer and applier, messages of other nodes
	writes *mailbox[*pb.Message] // to the writer
	apply  *mailbox[*pb.Message] // to the applier
	asks   chan chan snapshot    // to the applier

	hard   atomic.Pointer[pb.HardState] // the newest; the writer sets it before it writes it
	status atomic.Pointer[Status]       // as of the last tick

	syncing atomic.Int64 // since when the writer waits for the disk, in ns: when something became durable last, or was begun with nothing before it; 0 = it does not wait

	appliedIndex, appliedTerm uint64 // the applier's

	base       atomic.Pointer[snapshot] // nil with one voter
	installing atomic.Int32             // states of another node between the writer and the applier

	leads   atomic.Bool
	leader  atomic.Uint64 // node; 0 = none is known
	term    atomic.Uint64 // in which it led last
	ledTerm atomic.Uint64 // the newest such term of which it has applied an entry, and so everything before
	led     chan struct{} // closed when this node has applied an entry of a term that it leads, and so everything before

	mu       sync.Mutex
	confirms []*confirm  // not asked yet
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

	oldest *commitlog.Position // to which it points; nil = to none, or nobody needs to know
	bare   []byte              // with several voters, when it points to none
	base   *snapshot           // that belongs to it
}

// propose hands a command over; it is answered when it was applied, cannot be any more, or is overdue.
func (g *group) propose(ctx context.Context, c fsm.Command, limit time.Duration) (*proposal, error) {
	p, ok := g.host.answered.Get().(*proposal)
	if !ok {
		p = &proposal{done: make(chan struct{}, 1)}
	}
	p.command, p.ctx, p.until = c, ctx, time.Time{}
	if limit > 0 {
		p.until = g.host.now().Add(limit)
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
			err := p.overdue(now)
			if own.synced && errors.Is(err, ErrTimeout) {
				err = ErrUnreplicated
			}
			if err != nil {
				p.answer(fsm.Result{}, err)
			}
		}
	}
}

// commandAllowance is more than the head of an entry and of a command take.
const commandAllowance = 64

// refuse answers what waits and was not proposed.
func (g *group) refuse(err error) {
	g.mu.Lock()
	batch := g.waiting
	g.waiting, g.bytes, g.writing = nil, 0, 0
	g.mu.Unlock()
	finish(batch, nil, err)
}

// lose answers what was proposed by a leader that leads no more. It may be stored: whoever leads now decides that.
func (g *group) lose() {
	if g.alone {
		return
	}
	g.mu.Lock()
	lost := g.proposed
	g.proposed = map[uint64]*ownEntry{}
	g.mu.Unlock()
	for _, number := range slices.Sorted(maps.Keys(lost)) {
		finish(lost[number].proposals, nil, ErrLeadershipLost)
	}
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

// close answers everything that is left. What was proposed may be stored.
func (g *group) close(err error) {
	g.mu.Lock()
	g.closed = err
	left := g.waiting
	g.waiting = nil
	for _, number := range slices.Sorted(maps.Keys(g.proposed)) {
		left = append(left, g.proposed[number].proposals...)
		delete(g.proposed, number)
	}
	g.mu.Unlock()
	finish(left, nil, err)
	g.refuseConfirms(err)
}

func lastIndex(entries []*pb.Entry) uint64 {
	if len(entries) == 0 {
		return 0
	}
	return entries[len(entries)-1].GetIndex()
}
