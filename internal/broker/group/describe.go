package group

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
)

// consumers is the protocol type of Kafka's consumers; others, as Kafka Connect, have their own.
const consumers = "consumer"

// Described is a group as people see it.
type Described struct {
	Group, Kind, Protocol string
	State                 State
	Generation            int32
	Members               []DescribedMember
}

// DescribedMember is a member of it.
type DescribedMember struct {
	Member, Instance, ClientID, Host string
	Metadata, Assignment             []byte
}

// Describe says what is known of a group. One that does not exist is [Dead].
func (c *Coordinator) Describe(id string) Described {
	g := c.groups[id]
	if g == nil {
		return Described{Group: id, State: Dead}
	}
	d := Described{Group: id, Kind: g.kind, Protocol: g.protocol, State: g.state, Generation: g.generation}
	for _, m := range g.listed() {
		d.Members = append(d.Members, DescribedMember{m.id, m.instance, m.clientID, m.host, m.metadata(g.protocol), m.assignment})
	}
	return d
}

// List describes all groups by name, without their members.
func (c *Coordinator) List() (list []Described) {
	for _, g := range c.listed() {
		list = append(list, Described{Group: g.id, Kind: g.kind, Protocol: g.protocol, State: g.state, Generation: g.generation})
	}
	return list
}

// Count is how many groups there are.
func (c *Coordinator) Count() int { return len(c.groups) }

// Weight is what a group weighs with its members and offsets, so that an answer about it can be measured before there is one; 0 for none.
func (c *Coordinator) Weight(id string) (bytes int64) {
	g := c.groups[id]
	if g == nil {
		return 0
	}
	bytes = g.weight()
	for _, m := range g.members {
		bytes += m.weight()
	}
	for p, o := range g.offsets {
		bytes += offsetBytes(p, o)
	}
	return bytes
}

// Delete gives up a group without members, and its offsets: one of Kafka's DeleteGroups.
func (c *Coordinator) Delete(id string) Code {
	g := c.groups[id]
	switch {
	case id == "":
		return InvalidGroupID
	case g == nil:
		return GroupIDNotFound
	case g.state != Empty || len(g.pending) > 0:
		return NonEmptyGroup
	}
	for p, o := range g.offsets {
		c.bytes -= offsetBytes(p, o)
	}
	c.give(g)
	c.change(Change{Kind: GroupForgotten, Group: id})
	return None
}

func (c *Coordinator) listed() []*group {
	return slices.SortedFunc(maps.Values(c.groups), func(a, b *group) int { return cmp.Compare(a.id, b.id) })
}

// commits are the offsets of a group by topic and partition.
func (g *group) commits() (list []Commit) {
	for p, o := range g.offsets {
		list = append(list, Commit{p, o})
	}
	slices.SortFunc(list, func(a, b Commit) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition.Partition, b.Partition.Partition))
	})
	return list
}

// subscribed are the topics that members consume. Kafka's consumer protocol: version i16, topics [string], all else behind them.
func (g *group) subscribed() map[string]bool {
	all := map[string]bool{}
	for _, m := range g.members {
		for _, p := range m.protocols {
			for _, topic := range topics(p.Metadata) {
				all[topic] = true
			}
		}
	}
	return all
}

// topics reads them as far as they can be read.
func topics(b []byte) (list []string) {
	if len(b) < 6 {
		return nil
	}
	n := binary.BigEndian.Uint32(b[2:])
	b = b[6:]
	for ; n > 0 && len(b) >= 2; n-- {
		size := int(binary.BigEndian.Uint16(b))
		if size > len(b)-2 {
			return list
		}
		list = append(list, string(b[2:2+size]))
		b = b[2+size:]
	}
	return list
}
