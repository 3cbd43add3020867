package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
	"github.com/waybillmq/waybill/internal/broker/replica"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// Node is one broker node. Its methods may be called from any goroutine; what stores or changes something waits until [Node.Run] has come up.
type Node struct {
	cfg   Config
	id    identity
	found commitlog.Found
	log   *commitlog.Log
	host  *replica.Host
	meta  *metaMachine
	data  []*dataMachine // of groups 1 to DataGroups

	room  *semaphore.Weighted // bytes on their way to the disk
	ready chan struct{}       // closed when Run has come up
	ended chan struct{}       // closed when Run has ended

	moved    signal              // a leader, a topic, or what is open
	making   *semaphore.Weighted // one change of topics at a time, when this node is alone
	recycled chan uint64         // one slot: the newest checkpoint lets reading begin at this segment
}

// Open locks the folder of a node and recovers what it holds. It starts nothing. Damage is a [*commitlog.DamageError] with what to do; a folder in use is
// [vfs.ErrLocked].
func Open(cfg Config, fsys vfs.FS) (*Node, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	id, err := cfg.identity(fsys)
	if err != nil {
		return nil, err
	}
	n, machines := newNode(cfg, id)
	recovery := replica.NewRecovery()
	n.log, n.found, err = commitlog.Open(n.logConfig(fsys), recovery.Record)
	var damage *commitlog.DamageError
	switch {
	case errors.As(err, &damage):
		return nil, fmt.Errorf("broker: %w. Nothing was changed. `waybill broker verify --dir %s` says what is lost; `waybill broker repair --accept-loss --dir %s` sets it aside and goes on", err, cfg.Dir, cfg.Dir)
	case err != nil:
		return nil, fmt.Errorf("broker: %w", err)
	}
	if err := n.recover(machines, recovery); err != nil {
		return nil, err
	}
	if err := cfg.Cluster.fits(n.host.Voters()); err != nil {
		return nil, errors.Join(fmt.Errorf("broker: %s: %w", cfg.Dir, err), n.log.Close())
	}
	return n, nil
}

// identity is that of the folder. A node that is alone makes one for an empty folder; one of a cluster does not: nobody there would know its name.
func (c *Config) identity(fsys vfs.FS) (id identity, err error) {
	if c.Cluster == nil {
		if err := makeFolder(c.Dir, fsys); err != nil {
			return id, err
		}
		id, err = openIdentity(fsys, c.Dir, newUUID())
	} else if id, err = readIdentity(fsys, c.Dir); errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w. Put the right folder back; that of a new node is made by Prepare, which names it", err)
	} else if err == nil {
		err = c.Cluster.check(id)
	}
	if err != nil {
		return id, fmt.Errorf("broker: %w", err)
	}
	return id, nil
}

// newNode returns a node that holds nothing, and the machines of its groups.
func newNode(cfg Config, id identity) (*Node, []replica.Machine) {
	n := &Node{cfg: cfg, id: id, room: semaphore.NewWeighted(inFlight), ready: make(chan struct{}), ended: make(chan struct{}), making: semaphore.NewWeighted(1),
		recycled: make(chan uint64, 1)}
	n.meta = &metaMachine{state: fsm.NewMeta(), moved: n.moved.fire}
	machines := []replica.Machine{n.meta}
	for range DataGroups {
		n.data = append(n.data, newDataMachine(n.moved.fire))
		machines = append(machines, n.data[len(n.data)-1])
	}
	return n, machines
}

func (n *Node) logConfig(fsys vfs.FS) commitlog.Config {
	return commitlog.Config{FS: fsys, Dir: n.cfg.Dir, SegmentBytes: n.cfg.SegmentBytes, Node: n.id.node, Cluster: n.id.cluster}
}

// recover brings the machines to where the log has left them.
func (n *Node) recover(machines []replica.Machine, r *replica.Recovery) (err error) {
	cfg := replica.Config{ID: n.ID(), Voters: []uint64{n.ID()}, Machines: machines, Opens: n.found.Opens, Recycle: n.recycle, Failed: n.cfg.Failed, Moved: n.moved.fire}
	if c := n.cfg.Cluster; c != nil {
		cfg.Voters, cfg.Send = c.Voters, c.Send
	}
	n.host, err = replica.New(cfg, n.log, r)
	if err != nil {
		return errors.Join(fmt.Errorf("broker: %w", err), n.log.Close())
	}
	return nil
}

// recycle is told of a checkpoint.
func (n *Node) recycle(from uint64) {
	select {
	case <-n.recycled:
	default:
	}
	n.recycled <- from
}

// Found is what Open found in the log.
func (n *Node) Found() commitlog.Found { return n.found }

// Cluster is the uuid of the cluster, as text.
func (n *Node) Cluster() string { return n.id.clusterText() }

// Run works until ctx ends: then it lets other nodes lead, marks the log as closed in order, and returns nil; what was being appended is answered, or gets [ErrStopped]. An error of the
// disk ends it at once and for ever: only a new Open may go on.
func (n *Node) Run(ctx context.Context) error {
	defer close(n.ended)
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var chores sync.WaitGroup
	chores.Go(func() {
		select {
		case <-ctx.Done():
			n.handOver(work)
			stop()
		case <-work.Done():
		}
	})
	chores.Go(func() {
		if n.cfg.Cluster != nil {
			chores.Go(func() { n.settling(work) })
		} else if n.host.Led(work) != nil || n.settle(work) != nil {
			return
		}
		close(n.ready)
		n.retention(work)
	})
	err := n.host.Run(work)
	stop()
	chores.Wait()
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	return nil
}

// Ready waits until the node stores and answers. The error is [ErrStopped] or that of ctx.
func (n *Node) Ready(ctx context.Context) error {
	select {
	case <-n.ended:
		return ErrStopped
	default:
	}
	select { // apart from the one below: one channel costs a fraction of three, and every append comes by here
	case <-n.ready:
		return nil
	default:
	}
	select {
	case <-n.ready:
		return nil
	case <-n.ended:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// change proposes a command of the metadata.
func (n *Node) change(ctx context.Context, c fsm.Command) error {
	r, err := n.host.Propose(ctx, 0, c, 0)
	if err != nil {
		return n.whoLeads(0, err)
	}
	return r.Err
}

// propose hands a command of a data group over, and waits for its answer at most until the flush timeout.
func (n *Node) propose(ctx context.Context, group uint16, c fsm.Command) (fsm.Result, error) {
	r, err := n.host.Propose(ctx, group, c, n.cfg.FlushTimeout)
	switch {
	case errors.Is(err, replica.ErrTimeout):
		return r, fmt.Errorf("after %v: %w", n.cfg.FlushTimeout, ErrFlushTimeout)
	case errors.Is(err, replica.ErrUnreplicated):
		return r, fmt.Errorf("after %v: %w", n.cfg.FlushTimeout, ErrReplicationTimeout)
	case err != nil:
		return r, n.whoLeads(group, err)
	}
	return r, r.Err
}
