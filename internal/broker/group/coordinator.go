package group

import (
	"slices"
	"time"
)

// Coordinator is the coordinator of some groups. It may not be called from two goroutines at once. It keeps the slices that it is given, and gives away its own: nobody
// may change them.
type Coordinator struct {
	cfg    Config
	groups map[string]*group
	bytes  int64 // of groups, members and offsets, as they weigh
	out    Effects
}

// Effects are what calls have led to.
type Effects struct {
	Changes []Change // to be stored, in this order, before an answer leaves: those here, and what the calls have returned
	Answers []Answer
}

// Answer is that of a Join or a Sync; one of both is set.
type Answer struct {
	Token Token
	Join  *JoinAnswer
	Sync  *SyncAnswer
}

// New returns a coordinator of no group.
func New(cfg Config) *Coordinator {
	return &Coordinator{cfg: cfg.complete(), groups: map[string]*group{}}
}

// Take gives what the calls since the last one have led to.
func (c *Coordinator) Take() Effects {
	e := c.out
	c.out = Effects{}
	return e
}

// made returns a new group; nil when there is no room for it.
func (c *Coordinator) made(id string) *group {
	g := newGroup(id)
	if len(c.groups) >= c.cfg.Groups || c.bytes+g.weight() > c.cfg.Bytes {
		return nil
	}
	c.take(g)
	return g
}

// take makes a group one of the coordinator's.
func (c *Coordinator) take(g *group) {
	if c.groups[g.id] == nil {
		c.groups[g.id] = g
		c.bytes += g.weight()
	}
}

// give drops a group without members; its offsets are not counted any more.
func (c *Coordinator) give(g *group) {
	delete(c.groups, g.id)
	c.bytes -= g.weight()
}

func newGroup(id string) *group {
	return &group{id: id, members: map[string]*member{}, static: map[string]string{}, pending: map[string]time.Time{}, offsets: map[Partition]Offset{}}
}

// Tick ends what has taken too long: rebalances, silent members, ids that nobody used, old offsets. It is to be called every 100 ms or so.
func (c *Coordinator) Tick(now time.Time) {
	var due []string
	for id, g := range c.groups {
		if g.due(now) {
			due = append(due, id)
		}
	}
	slices.Sort(due)
	for _, id := range due {
		c.tick(now, c.groups[id])
	}
}

// passed says that a deadline that is set has come.
func passed(now, deadline time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }

func (g *group) due(now time.Time) bool {
	if passed(now, g.deadline) || g.state == Empty && (passed(now, g.expiry) || len(g.offsets) == 0) {
		return true
	}
	for _, until := range g.pending {
		if passed(now, until) {
			return true
		}
	}
	for _, m := range g.members {
		if m.gone(now) {
			return true
		}
	}
	return false
}

func (m *member) gone(now time.Time) bool { return !m.waits() && passed(now, m.deadline) }

func (c *Coordinator) tick(now time.Time, g *group) {
	for id, until := range g.pending {
		if passed(now, until) {
			c.dropPending(g, id)
		}
	}
	for _, m := range g.listed() {
		if m.gone(now) {
			c.remove(now, g, m)
		}
	}
	c.joinsDone(now, g)
	switch {
	case !passed(now, g.deadline):
	case g.state == PreparingRebalance && g.first && g.grew && g.left > 0:
		c.putOff(now, g)
	case g.state == PreparingRebalance:
		c.begin(now, g)
	default:
		c.dropUnsynced(now, g)
	}
	c.expire(now, g)
	c.forgetEmpty(g)
}

// dropUnsynced removes the members that have not asked for their assignment in time.
func (c *Coordinator) dropUnsynced(now time.Time, g *group) {
	g.deadline = time.Time{}
	for _, m := range g.listed() {
		if m.unsynced {
			c.remove(now, g, m)
		}
	}
}

// forgetEmpty drops a group that holds nothing.
func (c *Coordinator) forgetEmpty(g *group) {
	if g.state == Empty && len(g.offsets) == 0 && len(g.pending) == 0 {
		c.give(g)
		if g.stored {
			c.change(Change{Kind: GroupForgotten, Group: g.id})
		}
	}
}
