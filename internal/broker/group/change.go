package group

import (
	"time"
)

// ChangeKind says what a change is about.
type ChangeKind uint8

// The kinds. Their numbers are stored.
const (
	GroupStored     ChangeKind = 1
	GroupForgotten  ChangeKind = 2 // with its offsets
	OffsetStored    ChangeKind = 3
	OffsetForgotten ChangeKind = 4
)

// Change is what has to be stored of what a coordinator knows. Changes that are applied in their order to a new coordinator lead to the same groups.
type Change struct {
	Kind      ChangeKind
	Group     string
	Stored    *StoredGroup // of GroupStored
	Partition Partition    // of both kinds about offsets
	Offset    Offset       // of OffsetStored
}

// StoredGroup is a group without its offsets.
type StoredGroup struct {
	Generation             int32
	Assigned               bool // the leader of the generation has spoken
	Kind, Protocol, Leader string
	Since                  time.Time // without members since; zero = it has some, or never had
	Members                []StoredMember
}

// StoredMember is a member in the order in which they came.
type StoredMember struct {
	Member, Instance, ClientID, Host string
	Session, Rejoin                  time.Duration
	Protocols                        []Protocol
	Assignment                       []byte
}

func (c *Coordinator) change(x Change) { c.out.Changes = append(c.out.Changes, x) }

// store tells what has become of a group.
func (c *Coordinator) store(g *group) {
	g.stored, g.last = true, g.change()
	c.change(*g.last)
}

func (g *group) change() *Change {
	s := &StoredGroup{Generation: g.generation, Assigned: g.state == Stable, Kind: g.kind, Protocol: g.protocol, Leader: g.leader, Since: g.since}
	for _, m := range g.listed() {
		s.Members = append(s.Members, StoredMember{m.id, m.instance, m.clientID, m.host, m.session, m.rejoin, m.protocols, m.assignment})
	}
	return &Change{Kind: GroupStored, Group: g.id, Stored: s}
}

// Snapshot is the shortest row of changes that leads to the groups as they are stored; what the next [Coordinator.Take] gives is in it.
func (c *Coordinator) Snapshot() (list []Change) {
	for _, g := range c.listed() {
		if g.last != nil {
			list = append(list, *g.last)
		}
		for _, o := range g.commits() {
			list = append(list, Change{Kind: OffsetStored, Group: g.id, Partition: o.Partition, Offset: o.Offset})
		}
	}
	return list
}

// Replay applies a stored change to a coordinator that has not begun.
func (c *Coordinator) Replay(x Change) {
	g := c.groups[x.Group]
	if g == nil {
		g = newGroup(x.Group)
	}
	switch x.Kind {
	case GroupForgotten:
		delete(c.groups, x.Group)
		return
	case GroupStored:
		g.last = &x
		g.restore(x.Stored)
	case OffsetStored:
		g.offsets[x.Partition] = x.Offset
	case OffsetForgotten:
		delete(g.offsets, x.Partition)
	default:
		return // of a newer version: DecodeChange refuses it
	}
	g.stored = true
	c.groups[x.Group] = g
}

func (g *group) restore(s *StoredGroup) {
	g.generation, g.kind, g.protocol, g.leader, g.since = s.Generation, s.Kind, s.Protocol, s.Leader, s.Since
	clear(g.members)
	clear(g.static)
	g.state = Empty
	if len(s.Members) > 0 {
		g.state = PreparingRebalance
	}
	if s.Assigned {
		g.state = Stable
	}
	for i, x := range s.Members {
		m := &member{id: x.Member, instance: x.Instance, clientID: x.ClientID, host: x.Host, session: x.Session, rejoin: x.Rejoin, protocols: x.Protocols,
			assignment: x.Assignment, place: i}
		g.members[m.id] = m
		if m.instance != "" {
			g.static[m.instance] = m.id
		}
	}
	g.places = len(s.Members)
}

// Begin ends the replay: all members count as heard of just now. A rebalance that had not ended begins again.
func (c *Coordinator) Begin(now time.Time) {
	c.bytes = 0
	for _, g := range c.groups {
		c.bytes += g.weight()
		for p, o := range g.offsets {
			c.bytes += offsetBytes(p, o)
		}
		for _, m := range g.members {
			c.bytes += m.weight()
			m.heard(now)
		}
		switch g.state {
		case Empty:
			g.expiry = now // looked at once
		case PreparingRebalance:
			g.deadline = now.Add(g.wait())
		}
	}
}
