package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// Config says which groups a node hosts.
type Config struct {
	ID       uint64                     // of this node in raft, never 0
	Voters   []uint64                   // of a log that has no membership yet
	Machines []Machine                  // one for each group, from group 0 on
	Tick     time.Duration              // default 100 ms; an election waits for 10 to 20 of them
	Opens    uint64                     // starts of the log so far, this one included
	Recycle  func(uint64)               // may be nil: a checkpoint is complete, and needs nothing below this segment, nor does a follower that comes
	Failed   func(op string, err error) // hears of what goes on without an end of the host; it must not block; nil = nobody does
	Moved    func()                     // another node leads a group, or this one has begun to; it must not block; nil = nobody cares
	Send     func(Message)              // hands a message to the net, for one voter nil. Called from several goroutines, it must not block: what has no room is dropped, and
	// told to [Host.Dropped]
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

	installs sync.Mutex // held while a state of another node, or a checkpoint, begins

	segment atomic.Uint64
	full    atomic.Bool   // the disk has no room: nothing is proposed
	rolled  chan struct{} // one slot: another segment is in use

	answered sync.Pool // proposals, to be used again

	now func() time.Time // the clock, for people and for limits; raft's time are ticks

	partSize  int // bytes of a state that one record holds at most
	frameSize int // bytes of entries that one call puts into the log at most, besides one entry

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
	if cfg.Failed == nil {
		cfg.Failed = func(string, error) {}
	}
	if cfg.Moved == nil {
		cfg.Moved = func() {}
	}
	h := &Host{cfg: cfg, log: log, fresh: len(r.groups) == 0, checkpoint: cfg.Opens << 32, rolled: make(chan struct{}, 1), now: time.Now,
		partSize: min(partBytes, log.MaxBody()-8), frameSize: min(frameBytes, log.MaxBody()-8-2*entryAllowance)}
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
			if !g.alone {
				running.Go(func() { g.fetching(work) })
			}
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
	_, err := h.log.Append(h.first()...)
	return err
}

// first are the records with which a log begins.
func (h *Host) first() (records []commitlog.Record) {
	for _, g := range h.groups {
		records = append(records, confRecord(g.id, g.store.members), hardRecord(g.id, g.store.hard, g.store.hard.GetCommit()))
	}
	return records
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

// Voters are the nodes that replicate, as the log says.
func (h *Host) Voters() []uint64 { return slices.Clone(h.groups[0].store.conf().GetVoters()) }

// Leads says whether this node leads a group, and has applied everything that was committed before it did.
func (h *Host) Leads(group uint16) bool {
	g := h.groups[group]
	return g.leads.Load() && g.ledTerm.Load() == g.term.Load()
}

// Leader is the node that leads a group, as far as this one knows; 0 = it knows of none.
func (h *Host) Leader(group uint16) uint64 { return h.groups[group].leader.Load() }

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
// else [ErrStopped], [ErrLeadershipLost], [ErrTimeout] or [ErrUnreplicated] after limit (0 = none), or that of ctx, then it may be stored. Limit and ctx are looked at every
// [Config.Tick], so that a command needs neither a timer nor a select. It keeps nothing of the command.
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
