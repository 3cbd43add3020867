package replica

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

const (
	simNodes  = 3
	simGroups = 2
)

var errSimDisk = errors.New("the simulated disk fails")

// simNode is a node of the simulation: a disk, and while it is up a host over it. One goroutine calls what the goroutines of a host would.
type simNode struct {
	w    *world
	id   uint64
	life int // counts starts: what was scheduled for an earlier life is void
	up   bool

	mem      *vfs.Memory
	unsynced map[string][]region // frames by segment that no sync has covered yet
	opsLeft  int                 // of an Open, before the power fails; -1 = it does not
	cutImage *vfs.Memory         // what that power cut left
	failSync bool                // the next sync fails
	full     bool                // no file can be made
	slow     time.Duration       // of each sync, besides the usual

	log      *commitlog.Log
	host     *Host
	writers  []*writer
	machines [simGroups]*simMachine
	covered  [simGroups]uint64 // index that the state covered with which this life began
	flush    *commitlog.Flush
	applying [simGroups]bool // scheduled
	fetching [simGroups]bool
	stuck    [simGroups]bool // the writer waits for room

	check   *checkpoint // on its way
	parts   []commitlog.Pending
	ending  *commitlog.Pending
	offset  time.Duration // of its clock
	resumes time.Duration // paused until then
}

// region is a piece of a file.
type region struct{ from, to int64 }

// hook watches the disk, independently of the log, and fails it.
func (n *simNode) hook(op vfs.Op) (int, error) {
	if n.opsLeft >= 0 && op.Kind != vfs.Read && op.Kind != vfs.Open {
		if n.opsLeft == 0 {
			if n.cutImage == nil {
				n.cutImage = n.mem.Crash(n.w.damage(), n.w.rng)
			}
			return 0, errSimDisk
		}
		n.opsLeft--
	}
	if n.full && op.Kind == vfs.Create {
		return 0, syscall.ENOSPC
	}
	if !strings.HasPrefix(op.Name, "log/") {
		return 0, nil
	}
	switch op.Kind {
	case vfs.Write:
		n.unsynced[op.Name] = append(n.unsynced[op.Name], region{op.Offset, op.Offset + int64(op.Len)})
	case vfs.Datasync:
		if n.failSync {
			n.failSync = false
			return 0, errSimDisk
		}
		delete(n.unsynced, op.Name)
	}
	return 0, nil
}

// synced says whether an entry is on this node's disk for good, by what the disk has seen.
func (n *simNode) synced(group uint16, c appliedCommand) bool {
	if n.host == nil {
		return false
	}
	if max(n.covered[group], n.host.groups[group].store.covered()) >= c.index {
		return true
	}
	term, err := n.log.Term(group, c.index)
	at, ok := n.log.Position(group, c.index)
	if err != nil || !ok || term != c.term {
		return false
	}
	for _, r := range n.unsynced[fmt.Sprintf("log/%08d.seg", at.Segment)] {
		if at.At >= r.from && at.At < r.to {
			return false
		}
	}
	return true
}

// start opens the log and begins a life. A power cut may come first, as often as the seed wants.
func (n *simNode) start() {
	n.failSync, n.full = false, false
	for {
		n.opsLeft = -1
		if n.w.chaos && n.w.chance(0.15) {
			n.opsLeft = n.w.rng.IntN(40)
		}
		err := n.open()
		if err == nil {
			break
		}
		if n.cutImage == nil {
			n.w.fail("node %d does not start: %v", n.id, err)
		}
		n.w.note("node %d: power cut while it starts", n.id)
		n.mem, n.cutImage, n.unsynced = n.cutImage, nil, map[string][]region{}
	}
	n.opsLeft = -1
	n.life++
	n.up = true
	n.w.note("node %d starts, life %d", n.id, n.life)
	for _, g := range n.host.groups {
		g.start()
	}
	n.pump()
	life := n.life
	n.w.after(n.w.dice.Duration(100*time.Millisecond), func() { n.tick(life) })
}

func (n *simNode) open() (err error) {
	r := NewRecovery()
	var found commitlog.Found
	log, found, err := commitlog.Open(commitlog.Config{FS: vfs.Inject(n.mem, n.hook), Dir: ".", SegmentBytes: simSegment, Spares: 1}, r.Record)
	if err != nil {
		return err
	}
	cfg := Config{ID: n.id, Voters: []uint64{1, 2, 3}, Opens: found.Opens, Send: func(m Message) { n.w.send(n, m) },
		Failed: func(op string, err error) { n.w.fail("node %d: %s: %v", n.id, op, err) }}
	for group := range n.machines {
		n.machines[group] = &simMachine{w: n.w, node: n, group: uint16(group), log: log, places: map[int]commitlog.Position{}}
		cfg.Machines = append(cfg.Machines, n.machines[group])
	}
	host, err := New(cfg, log, r)
	if err == nil && host.fresh {
		if _, err = log.Begin(log.Refused(), host.first()...); err == nil {
			var f *commitlog.Flush
			if f, err = log.Write(); err == nil {
				err = f.Sync()
			}
		}
	}
	if err != nil {
		return errors.Join(err, log.Close())
	}
	for group := range n.covered {
		n.covered[group] = 0
		if f := r.groups[uint16(group)]; f != nil && f.state != nil {
			n.covered[group] = f.state.index
		}
	}
	host.now = func() time.Time { return time.Unix(1e9, 0).Add(n.w.now + n.offset) }
	n.log, n.host, n.writers, n.flush, n.check, n.ending = log, host, nil, nil, nil, nil
	n.applying, n.fetching, n.stuck = [simGroups]bool{}, [simGroups]bool{}, [simGroups]bool{}
	host.partSize, host.frameSize = 1<<10, 1<<10 // much comes in pieces
	for _, g := range host.groups {
		g.store.keep = simTail
		n.writers = append(n.writers, newWriter(g))
	}
	return nil
}

// stop ends a life at once, as kill -9 does: what was written and not synced stays in the page cache.
func (n *simNode) stop(why string) {
	if !n.up {
		return
	}
	n.w.note("node %d ends: %s", n.id, why)
	n.up = false
	if err := n.log.Close(); err != nil {
		n.w.fail("node %d: %v", n.id, err)
	}
	for _, g := range n.host.groups {
		g.close(ErrStopped)
	}
	n.w.poll()
}

// powerCut takes away what was not synced, or some of it.
func (n *simNode) powerCut(d vfs.Damage) {
	n.stop("power cut")
	n.mem, n.unsynced, n.failSync = n.mem.Crash(d, n.w.rng), map[string][]region{}, false
}

// mine runs f if this life still lasts; a paused node does it later.
func (n *simNode) mine(life int, f func()) {
	switch {
	case !n.up || n.life != life:
	case n.resumes > n.w.now:
		n.w.after(n.resumes-n.w.now, func() { n.mine(life, f) })
	default:
		f()
		if n.up && n.life == life {
			n.pump()
		}
	}
}

func (n *simNode) tick(life int) {
	n.mine(life, func() {
		for _, g := range n.host.groups {
			g.tick()
		}
		n.w.after(90*time.Millisecond+n.w.dice.Duration(20*time.Millisecond), func() { n.tick(life) })
	})
}
