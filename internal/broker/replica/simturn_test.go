package replica

import (
	"context"
	"errors"
	"time"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
)

// pump does what the goroutines of a host do, until all of them would wait. What takes time in the world is scheduled.
func (n *simNode) pump() {
	life := n.life
	for more := true; more; {
		more = false
		for i, g := range n.host.groups {
			w := n.writers[i]
			if ready(g.steps.ready) {
				g.turn()
				more = true
			}
			if !n.stuck[i] && ready(g.writes.ready) {
				n.wrote(i, w.accept())
				more = true
			}
			for n.up && !n.stuck[i] && len(w.planned) > 0 {
				if n.wrote(i, w.begin()); n.up && n.w.chance(0.2) { // the frame may end between any two
					n.write()
				}
				more = true
			}
			for n.up && !n.stuck[i] && len(w.begun) > 0 && ready(w.begun[0].pending.Done()) {
				n.wrote(i, w.next())
				more = true
			}
			if !n.up {
				return
			}
			if g.installing.Load() > 0 && n.w.chance(0.2) { // which must wait
				n.beginCheckpoint()
			}
			if !n.applying[i] && ready(g.apply.ready) {
				n.applying[i] = true
				n.w.after(n.w.dice.Duration(2*time.Millisecond), func() { n.mine(life, func() { n.apply(i) }) })
			}
			if !n.fetching[i] && ready(g.store.wanted) {
				n.fetching[i] = true
				n.w.after(n.w.dice.Duration(20*time.Millisecond), func() {
					n.mine(life, func() { n.fetch(i) })
				})
			}
			if g.leads.Load() {
				n.w.history.leader(g.id, g.term.Load(), n.id)
			}
		}
		n.checkpointStep()
	}
	if ready(n.host.rolled) {
		n.beginCheckpoint()
	}
	n.write()
	n.w.poll()
}

// wrote takes the answer of a writer. One that a full disk has refused tries again later, as the writer's goroutine does.
func (n *simNode) wrote(i int, err error) {
	if !errors.Is(err, commitlog.ErrFull) {
		n.survive(err)
		return
	}
	if !n.stuck[i] {
		n.w.note("group %d: node %d has no room", i, n.id)
	}
	n.host.full.Store(true)
	n.stuck[i] = true
	life := n.life
	n.w.after(fullPause, func() {
		n.mine(life, func() {
			n.stuck[i] = false
			n.writers[i].again()
		})
	})
}

func (n *simNode) apply(i int) {
	n.applying[i] = false
	n.survive(n.host.groups[i].applyWaiting())
}

// fetch does what the goroutine beside the worker does.
func (n *simNode) fetch(i int) {
	n.fetching[i] = false
	n.host.groups[i].fetch()
}

// write puts the next frame on the disk, which is synced later.
func (n *simNode) write() {
	if n.flush != nil {
		return
	}
	was := n.log.Refused()
	f, err := n.log.Write()
	switch n.survive(err); {
	case err != nil:
		return
	case f == nil:
		if n.log.Refused() > was { // the writers hear of it
			n.pump()
		}
		return
	}
	n.flush = f
	life, took := n.life, 100*time.Microsecond+n.w.dice.Duration(2*time.Millisecond)+n.slow
	n.w.after(took, func() {
		n.mine(life, func() {
			n.flush = nil
			n.survive(f.Sync())
			n.cutBetween()
		})
	})
}

// cutBetween is a power cut between two frames that belong together, where a crash would seldom fall by itself.
func (n *simNode) cutBetween() {
	more := false
	for i, w := range n.writers {
		more = more || n.up && (len(w.planned) > 0 || len(w.begun) > 0 && !ready(w.begun[0].pending.Done()) || n.host.groups[i].installing.Load() > 0)
	}
	if n.w.chaos && more && n.w.chance(0.03) {
		n.w.note("node %d: power cut between frames", n.id)
		n.powerCut(n.w.damage())
		n.w.after(n.w.dice.Duration(time.Second), n.restart)
	}
}

// survive ends the life after an error of the disk: the host would, and only a restart reads what the disk has kept.
func (n *simNode) survive(err error) {
	if err == nil {
		return
	}
	n.stop(err.Error())
	if !errors.Is(err, errSimDisk) {
		n.w.fail("node %d: %v", n.id, err)
	}
	n.powerCut(n.w.damage())
	n.w.after(n.w.dice.Duration(3*time.Second), n.restart)
}

func (n *simNode) restart() {
	if !n.up {
		n.start()
	}
}

// beginCheckpoint writes the parts of one.
func (n *simNode) beginCheckpoint() {
	if !n.up || n.check != nil {
		return
	}
	var states []snapshot
	for _, g := range n.host.groups {
		s := g.snapshot()
		g.bring(&s)
		states = append(states, s)
	}
	c, first, err := n.host.newCheckpoint(states)
	if errors.Is(err, errInstalling) {
		return
	}
	if err != nil {
		n.w.fail("node %d: %v", n.id, err)
	}
	n.check, n.parts = c, []commitlog.Pending{first}
	for _, r := range c.parts[1:] {
		n.parts = append(n.parts, n.begin(r))
	}
	n.write()
}

func (n *simNode) begin(records ...commitlog.Record) commitlog.Pending {
	p, err := n.log.Begin(n.log.Refused(), records...)
	if err != nil {
		n.w.fail("node %d: %v", n.id, err)
	}
	return p
}

// checkpointStep ends a checkpoint whose parts are synced.
func (n *simNode) checkpointStep() {
	switch {
	case n.check == nil:
	case n.ending != nil:
		if ready(n.ending.Done()) {
			_, err := n.ending.Wait()
			c := n.check
			if n.check, n.ending = nil, nil; err != nil {
				return
			}
			n.w.note("node %d has a checkpoint", n.id)
			below := n.host.keepFrom(c)
			for _, m := range n.machines {
				if at, points := m.Oldest(); points {
					below = min(below, at.Segment)
				}
			}
			if n.w.chance(0.7) {
				release := n.host.Release
				if n.w.chance(0.2) { // as with a full disk: nobody waits for followers
					release = n.log.Release
				}
				if err := release(below); err != nil {
					n.w.fail("node %d: %v", n.id, err)
				}
			}
		}
	case ready(n.parts[len(n.parts)-1].Done()):
		at, err := n.parts[0].Wait()
		for _, p := range n.parts {
			_, other := p.Wait()
			err = errors.Join(err, other)
		}
		if err != nil { // the disk is full: the next one is as good
			n.check = nil
			return
		}
		n.check.from = at.Segment
		n.ending = new(n.begin(n.host.endCheckpoint(n.check)...))
	}
}

// propose hands over a command as a client does.
func (n *simNode) propose(group uint16, body string, limit time.Duration) (*proposal, error) {
	p, err := n.host.groups[group].propose(context.Background(), simCommand(body), limit)
	if err == nil {
		n.pump()
	}
	return p, err
}
