package group

import "time"

// JoinRequest is Kafka's JoinGroup.
type JoinRequest struct {
	Identity
	NewID           string // becomes the member's id if it has none: the caller draws it, unlike all others
	ClientID, Host  string // for people
	Session, Rejoin time.Duration
	Kind            string // the protocol type
	Protocols       []Protocol
	NeedsID         bool // version 4 and above: who has no id is told one first
	MaySkip         bool // version 9 and above: a leader may be told to leave the assignment as it is
}

// JoinAnswer is what a Join leads to. Members is for the leader alone.
type JoinAnswer struct {
	Code                           Code
	Generation                     int32
	Kind, Protocol, Leader, Member string
	Skip                           bool
	Members                        []JoinedMember
}

// JoinedMember is what a leader learns of a member.
type JoinedMember struct {
	Member, Instance string
	Metadata         []byte
}

// Join lets a member into a group, or back into it. The answer comes when the new generation begins, unless it needs none.
func (c *Coordinator) Join(now time.Time, t Token, r JoinRequest) {
	if code := c.join(now, t, &r); code != None {
		c.answerJoin(t, JoinAnswer{Code: code, Generation: -1, Member: r.Member})
	}
}

// longestName is the most bytes of the name of a group, of its kind or of an instance: each change and many answers repeat them.
const longestName = 255

// join returns why it refuses; if it does not, the answer has its own way.
func (c *Coordinator) join(now time.Time, t Token, r *JoinRequest) Code {
	g := c.groups[r.Group]
	switch {
	case r.Group == "" || len(r.Group) > longestName || len(r.Instance) > longestName:
		return InvalidGroupID
	case r.Session < c.cfg.MinSession || r.Session > c.cfg.MaxSession:
		return InvalidSessionTimeout
	case g == nil && r.Member != "":
		return UnknownMemberID
	case g == nil:
		g = newGroup(r.Group)
	}
	if r.Rejoin <= 0 { // version 0 has no such field
		r.Rejoin = r.Session
	}
	r.Rejoin = min(r.Rejoin, c.cfg.MaxSession) // a member that has gone while it waits holds its group for no longer
	_, pending := g.pending[r.Member]
	known := r.Member
	if r.Member == "" && r.Instance != "" {
		known = g.static[r.Instance]
	}
	switch {
	case r.Member != "" && pending && r.Instance != "":
		return UnknownMemberID // the id was given to a dynamic member
	case r.Member != "" && !pending:
		if code := g.check(r.Member, r.Instance); code != None {
			return code
		}
	}
	if len(r.Kind) > longestName || !g.suits(known, r.Kind, r.Protocols) {
		return InconsistentGroupProtocol
	}
	if code := c.room(g, g.members[known], pending, r); code != None {
		return code
	}
	c.take(g)
	switch {
	case r.Member == "" && known != "":
		c.replace(now, t, g, g.members[known], r)
	case r.Member == "" && r.Instance == "" && r.NeedsID:
		g.pending[r.NewID] = now.Add(r.Session)
		c.bytes += pendingBytes(r.NewID)
		c.answerJoin(t, JoinAnswer{Code: MemberIDRequired, Generation: -1, Member: r.NewID})
	case r.Member == "" || pending:
		c.add(now, t, g, r)
	default:
		c.rejoin(now, t, g, g.members[known], r)
	}
	return None
}

// room says whether a join fits: was is the member that it is of, nil for a new one.
func (c *Coordinator) room(g *group, was *member, pending bool, r *JoinRequest) Code {
	more := protocolsWeight(r.Protocols)
	if was != nil {
		more -= protocolsWeight(was.protocols)
	} else {
		more += int64(memberWeight + len(r.NewID) + len(r.Instance) + len(r.ClientID) + len(r.Host))
	}
	if c.groups[g.id] == nil {
		more += g.weight()
	}
	if pending {
		more -= pendingBytes(r.Member)
	}
	if len(g.members) == 0 {
		more += int64(len(r.Kind) - len(g.kind))
	}
	switch {
	case was == nil && !pending && len(g.members)+len(g.pending) >= c.cfg.Members,
		c.groups[g.id] == nil && len(c.groups) >= c.cfg.Groups,
		more > 0 && c.bytes+more > c.cfg.Bytes:
		return GroupMaxSizeReached
	}
	return None
}

func (c *Coordinator) add(now time.Time, t Token, g *group, r *JoinRequest) {
	id := r.Member
	if id == "" {
		id = r.NewID
	}
	c.dropPending(g, id)
	m := &member{id: id, instance: r.Instance, place: g.places, fresh: true, joining: t, deadline: now.Add(c.cfg.NewMember)}
	g.places++
	m.take(r)
	if len(g.members) == 0 {
		c.bytes += int64(len(r.Kind) - len(g.kind))
		g.kind = r.Kind
	}
	if g.leader == "" {
		g.leader = id
	}
	g.members[id] = m
	if m.instance != "" {
		g.static[m.instance] = id
	}
	g.grew = true
	c.bytes += m.weight()
	c.rebalance(now, g)
}

// dropPending takes back an id that was given out, if it was.
func (c *Coordinator) dropPending(g *group, id string) {
	if _, ok := g.pending[id]; ok {
		delete(g.pending, id)
		c.bytes -= pendingBytes(id)
	}
}

// take notes what a member says with a Join.
func (m *member) take(r *JoinRequest) {
	m.clientID, m.host, m.session, m.rejoin, m.protocols = r.ClientID, r.Host, r.Session, r.Rejoin, r.Protocols
}

// rejoin is the Join of a member that is known.
func (c *Coordinator) rejoin(now time.Time, t Token, g *group, m *member, r *JoinRequest) {
	if same := m.knows(r.Protocols); same && g.state == CompletingRebalance || same && g.state == Stable && m.id != g.leader {
		m.heard(now) // it has not got the answer of this generation, or asks without need
		c.answerJoin(t, g.current(m))
		return
	}
	c.update(m, r)
	c.wait(m, t)
	c.rebalance(now, g)
}

func (c *Coordinator) update(m *member, r *JoinRequest) {
	c.bytes -= m.weight()
	m.take(r)
	c.bytes += m.weight()
}

// wait makes t the Join that m waits in. An older one is told to come again: its connection may still be there.
func (c *Coordinator) wait(m *member, t Token) {
	if m.joining != 0 {
		c.answerJoin(m.joining, JoinAnswer{Code: RebalanceInProgress, Generation: -1, Member: m.id})
	}
	m.joining = t
}

// replace gives a static member's place to a process that has just started. Whoever had it hears that it was fenced.
func (c *Coordinator) replace(now time.Time, t Token, g *group, m *member, r *JoinRequest) {
	was := m.id
	c.refuse(m, FencedInstanceID)
	c.bytes -= m.weight()
	delete(g.members, was)
	m.id = r.NewID
	m.take(r)
	g.members[m.id], g.static[m.instance] = m, m.id
	c.bytes += m.weight()
	leads := g.leader == was
	if leads {
		g.leader = m.id
	}
	m.heard(now)
	m.fresh = false
	if g.state != Stable || g.choose() != g.protocol {
		m.joining = t
		c.rebalance(now, g)
		return
	}
	c.store(g)
	a := g.current(m)
	switch {
	case leads && r.MaySkip:
		a.Skip = true
	case leads: // an older client that leads would assign anew: it is told that somebody else does
		a.Leader, a.Members = was, nil
	}
	c.answerJoin(t, a)
}

// current is the answer to a member of the generation that runs.
func (g *group) current(m *member) JoinAnswer {
	a := JoinAnswer{Generation: g.generation, Kind: g.kind, Protocol: g.protocol, Leader: g.leader, Member: m.id}
	if m.id == g.leader {
		a.Members = g.roster()
	}
	return a
}

func (c *Coordinator) answerJoin(t Token, a JoinAnswer) {
	c.out.Answers = append(c.out.Answers, Answer{Token: t, Join: &a})
}
