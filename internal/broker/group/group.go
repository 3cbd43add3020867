package group

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// State is where a group stands.
type State uint8

// The states; Dead is that of a group that does not exist.
const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead
)

func (s State) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}[s]
}

type group struct {
	id         string
	state      State
	generation int32
	kind       string // the protocol type, as "consumer"; "" = offsets only
	protocol   string // the way of assignment of this generation
	leader     string // member id
	members    map[string]*member
	static     map[string]string    // instance id → member id
	pending    map[string]time.Time // ids that were given out and have not joined yet → until when
	places     int
	stored     bool      // a change has named it
	last       *Change   // the newest that was stored; nil = only offsets were
	deadline   time.Time // of the joins or the syncs of this rebalance; zero = none runs

	first bool          // the rebalance of a group that was empty: it waits for more members
	left  time.Duration // of that wait
	grew  bool          // a member has come since it was last put off

	offsets map[Partition]Offset
	since   time.Time // Empty since; zero = it never had members
	expiry  time.Time // no offset expires before
}

// listed are the members in the order in which they came.
func (g *group) listed() []*member {
	return slices.SortedFunc(maps.Values(g.members), func(a, b *member) int { return cmp.Compare(a.place, b.place) })
}

// check says whether a request comes from a member, by its id or by its instance.
func (g *group) check(member, instance string) Code {
	if instance != "" {
		switch id, ok := g.static[instance]; {
		case !ok:
			return UnknownMemberID
		case id != member:
			return FencedInstanceID
		}
		return None
	}
	if g.members[member] == nil {
		return UnknownMemberID
	}
	return None
}

// common are the ways of assignment that every member knows, but for the one that is left out.
func (g *group) common(without string) map[string]bool {
	count, n := map[string]int{}, 0
	for id, m := range g.members {
		if id == without {
			continue
		}
		n++
		for _, p := range m.protocols {
			count[p.Name]++
		}
	}
	all := map[string]bool{}
	for name, c := range count {
		if c == n {
			all[name] = true
		}
	}
	return all
}

// suits says that a member of this kind, with these ways, can be in the group.
func (g *group) suits(id, kind string, list []Protocol) bool {
	if kind == "" || len(list) == 0 || repeats(list) {
		return false
	}
	if len(g.members) == 0 || len(g.members) == 1 && g.members[id] != nil && g.kind == kind {
		return true
	}
	known := g.common(id)
	return g.kind == kind && slices.ContainsFunc(list, func(p Protocol) bool { return known[p.Name] })
}

// repeats says that a way is named twice, which would count for two members.
func repeats(list []Protocol) bool {
	names := map[string]bool{}
	for _, p := range list {
		names[p.Name] = true
	}
	return len(names) < len(list)
}

// choose is the way of assignment of the next generation: that which most members like best among those that all know; of equals the first by name.
func (g *group) choose() string {
	known, votes, best := g.common(""), map[string]int{}, ""
	for _, m := range g.members {
		for _, p := range m.protocols {
			if known[p.Name] {
				votes[p.Name]++
				break
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(votes)) {
		if best == "" || votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// wait is how long a rebalance waits: as long as the most patient member says.
func (g *group) wait() (d time.Duration) {
	for _, m := range g.members {
		d = max(d, m.rejoin)
	}
	return d
}

func (g *group) joined() (n int) {
	for _, m := range g.members {
		if m.joining != 0 {
			n++
		}
	}
	return n
}

// roster is what the leader needs to know.
func (g *group) roster() (list []JoinedMember) {
	for _, m := range g.listed() {
		list = append(list, JoinedMember{m.id, m.instance, m.metadata(g.protocol)})
	}
	return list
}
