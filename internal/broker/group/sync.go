package group

import (
	"time"

	"github.com/waybillmq/waybill/internal/kp"
)

// SyncRequest is Kafka's SyncGroup.
type SyncRequest struct {
	Identity
	Kind, Protocol string            // version 5 and above; "" = not said
	Assignments    map[string][]byte // of the leader: by member id
}

// SyncAnswer is what a Sync leads to.
type SyncAnswer struct {
	Code           Code
	Kind, Protocol string
	Assignment     []byte
}

// Sync asks for a member's assignment; the leader brings those of all. The answer comes when the leader has spoken.
func (c *Coordinator) Sync(now time.Time, t Token, r SyncRequest) {
	if code := c.sync(now, t, &r); code != None {
		c.out.Answers = append(c.out.Answers, Answer{Token: t, Sync: &SyncAnswer{Code: code}})
	}
}

func (c *Coordinator) sync(now time.Time, t Token, r *SyncRequest) Code {
	g, m, code := c.member(r.Identity)
	switch {
	case code != None:
		return code
	case r.Generation != g.generation:
		return IllegalGeneration
	case r.Kind != "" && r.Kind != g.kind, r.Protocol != "" && r.Protocol != g.protocol:
		return InconsistentGroupProtocol
	case g.state == PreparingRebalance:
		return RebalanceInProgress
	}
	more := c.bytes
	for _, a := range r.Assignments {
		more += int64(len(a))
	}
	if more > c.cfg.Bytes {
		return GroupMaxSizeReached
	}
	if m.syncing != 0 { // an older one is told to come again
		c.answerSync(m, SyncAnswer{Code: RebalanceInProgress})
	}
	m.syncing, m.unsynced = t, false
	if (g.state == CompletingRebalance || kp.Planted(kp.LateLeaderBelieved)) && m.id == g.leader {
		c.assign(g, r.Assignments)
		g.state = Stable
		c.store(g)
	}
	if g.state == Stable {
		c.answerSyncs(now, g)
	}
	return None
}

// assign gives each member what the leader says, nothing when it says nothing of it.
func (c *Coordinator) assign(g *group, all map[string][]byte) {
	for id, m := range g.members {
		m.assignment = all[id]
		c.bytes += int64(len(m.assignment))
	}
}

func (c *Coordinator) answerSyncs(now time.Time, g *group) {
	unsynced := false
	for _, m := range g.listed() {
		if m.syncing != 0 {
			m.heard(now)
			c.answerSync(m, SyncAnswer{Kind: g.kind, Protocol: g.protocol, Assignment: m.assignment})
		}
		unsynced = unsynced || m.unsynced
	}
	if !unsynced {
		g.deadline = time.Time{}
	}
}

// answerSync answers the Sync that m waits in.
func (c *Coordinator) answerSync(m *member, a SyncAnswer) {
	c.out.Answers = append(c.out.Answers, Answer{Token: m.syncing, Sync: &a})
	m.syncing = 0
}

// member finds the member that a request comes from, and its group.
func (c *Coordinator) member(r Identity) (*group, *member, Code) {
	g := c.groups[r.Group]
	switch {
	case r.Group == "":
		return nil, nil, InvalidGroupID
	case g == nil:
		return nil, nil, UnknownMemberID
	}
	if code := g.check(r.Member, r.Instance); code != None && (code != FencedInstanceID || !kp.Planted(kp.InstanceNotFenced)) {
		return nil, nil, code
	}
	if m := g.members[r.Member]; m != nil {
		return g, m, None
	}
	return g, g.members[g.static[r.Instance]], None
}

// Heartbeat keeps a member alive, and tells it when it is to join again.
func (c *Coordinator) Heartbeat(now time.Time, r Identity) Code {
	g, m, code := c.member(r)
	switch {
	case code != None:
		return code
	case r.Generation != g.generation:
		return IllegalGeneration
	}
	if !m.fresh {
		m.heard(now)
	}
	if g.state == PreparingRebalance {
		return RebalanceInProgress
	}
	return None
}

// LeaveRequest is Kafka's LeaveGroup: the members that leave, each by its id, its instance id or both.
type LeaveRequest struct {
	Group   string
	Members []Leaver
}

// Leaver is a member that leaves.
type Leaver struct{ Member, Instance string }

// Leave removes members at once. codes[i] belongs to Members[i].
func (c *Coordinator) Leave(now time.Time, r LeaveRequest) (codes []Code, whole Code) {
	if r.Group == "" {
		return nil, InvalidGroupID
	}
	for _, l := range r.Members {
		codes = append(codes, c.leave(now, r.Group, l))
	}
	return codes, None
}

func (c *Coordinator) leave(now time.Time, id string, l Leaver) Code {
	g := c.groups[id]
	if g == nil {
		return UnknownMemberID
	}
	if _, ok := g.pending[l.Member]; ok && l.Member != "" && l.Instance == "" {
		c.dropPending(g, l.Member)
		c.joinsDone(now, g)
		return None
	}
	if known, ok := g.static[l.Instance]; ok && l.Member == "" {
		l.Member = known
	}
	if code := g.check(l.Member, l.Instance); code != None {
		return code
	}
	c.remove(now, g, g.members[l.Member])
	return None
}
