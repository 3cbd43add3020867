package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// Config says which groups a node hosts.
type Config struct {
	ID       uint64        // of this node in raft, never 0
	Voters   []uint64      // of a log that has no membership yet
	Machines []Machine     // one for each group, from group 0 on
	Tick     time.Duration // default 100 ms; an election waits for 10 to 20 of them
	Opens    uint64        // starts of the log so far, this one included
	Recycle  func(uint64)  // may be nil: a checkpoint is complete, and reading begins at this segment from now on
}

// Host runs the groups of a node.
type Host struct {
	cfg       Config
	log       *commitlog.Log
	groups    []*group
	fresh     bool // nothing was ever written
	proposals atomic.Uint64

	checkpointing sync.Mutex
	checkpoint    uint64 // number of the newest that began; guarded by checkpointing

	segment atomic.Uint64
	full    atomic.Bool   // the disk has no room: nothing is proposed
	rolled  chan struct{} // one slot: another segment is in use

	answered sync.Pool // proposals, to be used again

	stop context.CancelCauseFunc // set by Run
	mu   sync.Mutex
	err  error
}

// New brings the groups to where the log has left them: states from the newest checkpoint, and every entry behind it that was known to be committed. Nothing
// runs yet.
func New(cfg Config, log *commitlog.Log, r *Recovery) (*Host, error) {
	if cfg.Tick == 0 {
		cfg.Tick = 100 * time.Millisecond
	}
	h := &Host{cfg: cfg, log: log, fresh: len(r.groups) == 0, checkpoint: cfg.Opens << 32, rolled: make(chan struct{}, 1)}
	h.proposals.Store(cfg.Opens << 32) // never one of another life
	if !r.whole {
		return nil, fmt.Errorf("the newest checkpoint does not fit its parts: %w", ErrRecords)
	}
	for id, machine := range cfg.Machines {
		g, err := h.recover(uint16(id), machine, r.groups[uint16(id)])
		if err != nil {
			return nil, fmt.Errorf("group %d: %w", id, err)
		}
		h.groups = append(h.groups, g)
	}
	if len(r.groups) > len(cfg.Machines) {
		return nil, fmt.Errorf("%d groups in the log, %d are known: %w", len(r.groups), len(cfg.Machines), ErrRecords)
	}
	return h, nil
}

// recover brings one group to where the log has left it.
func (h *Host) recover(id uint16, machine Machine, f *found) (*group, error) {
	g := &group{id: id, host: h, machine: machine, steps: newMailbox[*pb.Message](), writes: newMailbox[*pb.Message](), apply: newMailbox[*pb.Message](),
		asks: make(chan chan snapshot), led: make(chan struct{}), proposed: map[uint64]*ownEntry{}}
	// A group begins behind an entry 1 of term 1 that nobody wrote: raft learns its members from the storage, not from entries.
	g.appliedIndex, g.appliedTerm = 1, 1
	g.store = &storage{log: h.log, stream: id, hard: &pb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(1))}, members: &pb.ConfState{Voters: h.cfg.Voters}}
	if f != nil {
		if f.hard == nil || f.conf == nil {
			return nil, fmt.Errorf("no hard state or no membership: %w", ErrRecords)
		}
		g.store.hard, g.store.members = f.hard, f.conf
		if f.state != nil {
			g.appliedIndex, g.appliedTerm = f.state.index, f.state.term
			if err := machine.Restore(f.state.state); err != nil {
				return nil, err
			}
		}
	}
	g.store.first, g.store.beforeTerm, g.store.last = g.appliedIndex+1, g.appliedTerm, g.appliedIndex
	if _, next := h.log.Bounds(id); next > 0 && slices.Equal(g.store.members.GetVoters(), []uint64{h.cfg.ID}) {
		g.store.hard.Commit = new(max(g.store.hard.GetCommit(), next-1)) // synced on the only voter is committed
	}
	if err := g.replay(); err != nil {
		return nil, err
	}
	if commit := g.store.hard.GetCommit(); commit > g.store.last {
		return nil, fmt.Errorf("entry %d was committed and the log ends with %d: %w", commit, g.store.last, ErrRecords)
	}
	g.store.hard.Commit = new(max(g.store.hard.GetCommit(), g.appliedIndex))
	g.hard.Store(g.store.hard)
	var err error
	g.raw, err = raft.NewRawNode(&raft.Config{ID: h.cfg.ID, ElectionTick: 10, HeartbeatTick: 1, Storage: g.store, Applied: g.appliedIndex, AsyncStorageWrites: true,
		MaxSizePerMsg: 1 << 20, MaxCommittedSizePerReady: 8 << 20, MaxUncommittedEntriesSize: 16 << 20, MaxInflightMsgs: 64, MaxInflightBytes: 4 << 20,
		CheckQuorum: true, PreVote: true, ReadOnlyOption: raft.ReadOnlySafe, DisableProposalForwarding: true, StepDownOnRemoval: true, Logger: quiet})
	return g, err
}

// replay applies what the log holds behind the state up to the commit it knows, and keeps the rest for raft.
func (g *group) replay() error {
	_, next := g.store.log.Bounds(g.id)
	for i := g.appliedIndex + 1; i < next; i++ {
		rec, err := g.store.log.Read(g.id, i)
		if err != nil {
			return err
		}
		e := &pb.Entry{Type: pb.EntryType(rec.Flags).Enum(), Term: &rec.Term, Index: new(i), Data: rec.Body}
		g.store.add([]*pb.Entry{e})
		if i > g.store.hard.GetCommit() {
			continue
		}
		if err := g.applyEntry(e); err != nil {
			return err
		}
		g.store.applied(i)
	}
	return nil
}

// quiet drops raft's own log: what matters to people is said by this package.
var quiet = &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)}

// alone says that this node is the only voter.
func (h *Host) alone() bool {
	voters := h.groups[0].store.members.GetVoters()
	return len(voters) == 1 && voters[0] == h.cfg.ID
}

// Run runs log and groups until ctx ends, or the log fails: then it returns that error. What waits for an answer then gets [ErrStopped].
func (h *Host) Run(ctx context.Context) error {
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	logging, stopLog := context.WithCancel(context.WithoutCancel(ctx))
	h.mu.Lock()
	h.stop = stop
	h.mu.Unlock()
	ended := make(chan error, 1)
	go func() {
		err := h.log.Run(logging)
		if err != nil {
			h.fail(err)
		}
		ended <- err
	}()
	defer context.AfterFunc(ctx, func() { stop(nil) })()

	var running sync.WaitGroup
	err := h.begin()
	if err == nil {
		for _, g := range h.groups {
			running.Go(func() { g.work(work) })
			running.Go(func() { g.write(work) })
			running.Go(func() { g.applying(work) })
		}
		running.Go(func() { h.checkpoints(work) })
		<-work.Done()
	}
	stop(nil)
	running.Wait()
	for _, g := range h.groups {
		g.close(ErrStopped)
	}
	stopLog()
	logged, cause := <-ended, h.cause()
	if logged != nil && !errors.Is(cause, logged) { // most often it is the cause
		err = errors.Join(err, logged)
	}
	return errors.Join(err, cause)
}

// begin writes what raft was told before its first vote, on the first start.
func (h *Host) begin() error {
	if !h.fresh {
		return nil
	}
	var records []commitlog.Record
	for _, g := range h.groups {
		records = append(records, confRecord(g.id, g.store.members), hardRecord(g.id, g.store.hard))
	}
	_, err := h.log.Append(records...)
	return err
}

// fail ends the host: its disk has refused something, and a second try would prove nothing.
func (h *Host) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil && !errors.Is(err, ErrStopped) {
		h.err = err
	}
	if h.stop != nil {
		h.stop(err)
	}
}

func (h *Host) cause() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// Led returns when this node leads every group and has applied all that was committed before, or ctx ends.
func (h *Host) Led(ctx context.Context) error {
	for _, g := range h.groups {
		select {
		case <-g.led:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Propose replicates a command and returns what became of it. The error is [ErrNotLeader] (also with a full disk) or [ErrTooLarge], then nothing was proposed;
// else [ErrStopped], [ErrTimeout] after limit (0 = none), or that of ctx, then it may be stored. Limit and ctx are looked at every [Config.Tick], so that a
// command needs neither a timer nor a select. It keeps nothing of the command.
func (h *Host) Propose(ctx context.Context, group uint16, c fsm.Command, limit time.Duration) (fsm.Result, error) {
	if err := ctx.Err(); err != nil {
		return fsm.Result{}, fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	p, err := h.groups[group].propose(ctx, c, limit)
	if err != nil {
		return fsm.Result{}, err
	}
	<-p.done
	result, err := p.result, p.err
	if err == nil { // else its entry may still name it
		*p = proposal{done: p.done}
		h.answered.Put(p)
	}
	return result, err
}
