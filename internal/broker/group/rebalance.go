package group

import (
	"time"

	"github.com/waybillmq/waybill/internal/kp"
)

// rebalance begins one unless it runs, and ends it when all are there.
func (c *Coordinator) rebalance(now time.Time, g *group) {
	if g.state == PreparingRebalance {
		c.joinsDone(now, g)
		return
	}
	for _, m := range g.listed() {
		if m.syncing != 0 {
			m.heard(now)
			c.answerSync(m, SyncAnswer{Code: RebalanceInProgress})
		}
	}
	g.first, g.left = g.state == Empty, 0
	g.state = PreparingRebalance
	g.deadline = now.Add(g.wait())
	if g.first {
		g.left = g.wait()
		c.putOff(now, g)
	}
	c.joinsDone(now, g)
}

// putOff lets the first rebalance wait for more members.
func (c *Coordinator) putOff(now time.Time, g *group) {
	d := min(c.cfg.FirstDelay, g.left)
	g.grew, g.left, g.deadline = false, g.left-d, now.Add(d)
}

// joinsDone begins the generation when there is nobody to wait for.
func (c *Coordinator) joinsDone(now time.Time, g *group) {
	all := !g.first && len(g.pending) == 0 && g.joined() == len(g.members)
	if g.state == PreparingRebalance && (all || len(g.members) == 0) {
		c.begin(now, g)
	}
}

// begin begins the next generation with those that have joined, and static members that have not.
func (c *Coordinator) begin(now time.Time, g *group) {
	for _, m := range g.listed() {
		if m.joining == 0 && m.instance == "" {
			c.drop(g, m)
		}
	}
	if len(g.members) > 0 && g.joined() == 0 { // only static members, and all away: their session timeouts end this
		g.deadline = now.Add(g.wait())
		return
	}
	if !kp.Planted(kp.GenerationKept) {
		g.generation++
	}
	if len(g.members) == 0 {
		c.empty(now, g)
		return
	}
	if m := g.members[g.leader]; m == nil || m.joining == 0 {
		g.leader = g.elect()
	}
	g.protocol, g.state, g.deadline = g.choose(), CompletingRebalance, now.Add(g.wait())
	for _, m := range g.members {
		c.bytes -= int64(len(m.assignment))
		m.assignment, m.unsynced = nil, true
	}
	c.store(g)
	for _, m := range g.listed() {
		if m.joining == 0 {
			continue
		}
		m.fresh = false
		m.heard(now)
		c.answerJoin(m.joining, g.current(m))
		m.joining = 0
	}
}

// elect is the first member that has joined.
func (g *group) elect() string {
	for _, m := range g.listed() {
		if m.joining != 0 {
			return m.id
		}
	}
	return ""
}

func (c *Coordinator) empty(now time.Time, g *group) {
	g.state, g.protocol, g.leader, g.deadline, g.since = Empty, "", "", time.Time{}, now
	g.expiry = now.Add(c.cfg.Retention)
	c.store(g)
}

// remove takes a member out, and lets the others share what it had.
func (c *Coordinator) remove(now time.Time, g *group, m *member) {
	c.drop(g, m)
	c.rebalance(now, g)
}

// drop takes a member out. What it waits for is answered.
func (c *Coordinator) drop(g *group, m *member) {
	c.refuse(m, UnknownMemberID)
	c.bytes -= m.weight()
	delete(g.members, m.id)
	if m.instance != "" {
		delete(g.static, m.instance)
	}
	if g.leader == m.id {
		g.leader = "" // a new one is elected when the generation begins
	}
}

// refuse answers what m waits for.
func (c *Coordinator) refuse(m *member, code Code) {
	if m.joining != 0 && !kp.Planted(kp.AnswerForgotten) {
		c.answerJoin(m.joining, JoinAnswer{Code: code, Generation: -1, Member: m.id})
	}
	m.joining = 0
	if m.syncing != 0 {
		c.answerSync(m, SyncAnswer{Code: code})
	}
}
