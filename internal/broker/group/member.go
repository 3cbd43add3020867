package group

import (
	"bytes"
	"slices"
	"time"
)

// Token names a request that waits for its answer. The caller draws it: never zero, never twice.
type Token uint64

// Protocol is a way of assignment that a member knows, and what it subscribes to in the words of that way.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Identity is what a member says of itself in every request.
type Identity struct {
	Group      string
	Member     string // its id; "" = none yet, or none at all
	Instance   string // of a static member; "" = dynamic
	Generation int32  // -1 = none
}

type member struct {
	id, instance    string
	clientID, host  string
	session, rejoin time.Duration // session timeout; how long a rebalance waits for it
	protocols       []Protocol    // the one it likes best first
	assignment      []byte
	place           int // grows with each member of the group: answers and votes have an order

	fresh    bool      // never been in a generation
	unsynced bool      // has not asked for its assignment of this generation
	joining  Token     // of the Join that waits; 0 = none
	syncing  Token     // of the Sync that waits; 0 = none
	deadline time.Time // it has gone unless it is heard of before; counts while it waits only when it is fresh
}

// waits says that a request of m is open: it need not be heard of.
func (m *member) waits() bool { return m.joining != 0 && !m.fresh || m.syncing != 0 }

func (m *member) heard(now time.Time) { m.deadline = now.Add(m.session) }

func (m *member) metadata(protocol string) []byte {
	i := slices.IndexFunc(m.protocols, func(p Protocol) bool { return p.Name == protocol })
	if i < 0 {
		return nil
	}
	return m.protocols[i].Metadata
}

// knows says that m has joined with just these ways.
func (m *member) knows(list []Protocol) bool {
	return slices.EqualFunc(m.protocols, list, func(a, b Protocol) bool { return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata) })
}

// What things weigh beside the bytes of their names.
const (
	groupWeight    = 512
	pendingWeight  = 96
	memberWeight   = 256
	protocolWeight = 48
	offsetWeight   = 96
)

// weight is that of a group beside its members and offsets.
func (g *group) weight() int64 {
	n := int64(groupWeight + len(g.id) + len(g.kind))
	for id := range g.pending {
		n += pendingBytes(id)
	}
	return n
}

func pendingBytes(id string) int64 { return int64(pendingWeight + len(id)) }

func (m *member) weight() int64 {
	n := memberWeight + len(m.id) + len(m.instance) + len(m.clientID) + len(m.host) + len(m.assignment)
	return int64(n) + protocolsWeight(m.protocols)
}

func protocolsWeight(list []Protocol) (n int64) {
	for _, p := range list {
		n += int64(protocolWeight + len(p.Name) + len(p.Metadata))
	}
	return n
}
