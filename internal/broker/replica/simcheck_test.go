package replica

import "fmt"

// history is what the simulation knows for certain, gathered from outside: what was proposed, what each client was told, what the first node applied at each
// place. Everything else is compared with it.
type history struct {
	groups [simGroups]groupHistory
	w      *world
}

type groupHistory struct {
	proposed map[string]fate
	applied  []appliedCommand // by place, as the first node did it
	at       map[string]int   // place of a command
	acked    int
	leaders  map[uint64]uint64 // term → node
}

// fate is what a client knows of its command.
type fate int

const (
	pending fate = iota // no answer, or one after which it may be stored
	acked               // stored
	refused             // certainly not stored
)

type appliedCommand struct {
	body        string
	index, term uint64 // of its entry
}

func newHistory(w *world) *history {
	h := &history{w: w}
	for i := range h.groups {
		h.groups[i] = groupHistory{proposed: map[string]fate{}, at: map[string]int{}, leaders: map[uint64]uint64{}}
	}
	return h
}

// leader: at most one per term.
func (h *history) leader(group uint16, term, node uint64) {
	g := &h.groups[group]
	if was, known := g.leaders[term]; known && was != node {
		h.w.fail("group %d: nodes %d and %d both led in term %d", group, was, node, term)
	}
	g.leaders[term] = node
}

// apply: what a node applies was proposed, not refused, stands at one place only, and at the same one on every node.
func (h *history) apply(node uint64, group uint16, place int, c appliedCommand) {
	g := &h.groups[group]
	switch f, known := g.proposed[c.body]; {
	case !known:
		h.w.fail("group %d: node %d applied %q, which nobody proposed", group, node, c.body)
	case f == refused:
		h.w.fail("group %d: node %d applied %q, which was refused", group, node, c.body)
	}
	switch {
	case place < len(g.applied):
		if was := g.applied[place]; was != c {
			h.w.fail("group %d: node %d applied %+v at %d, where %+v was", group, node, c, place, was)
		}
	case place > len(g.applied):
		h.w.fail("group %d: node %d applied %q at %d, the next place is %d", group, node, c.body, place, len(g.applied))
	default:
		if was, twice := g.at[c.body]; twice {
			h.w.fail("group %d: node %d applied %q at %d and at %d", group, node, c.body, was, place)
		}
		g.at[c.body] = place
		g.applied = append(g.applied, c)
	}
}

// restored: what a node takes from a state is a piece of the one history.
func (h *history) restored(node uint64, group uint16, items []appliedCommand) {
	g := &h.groups[group]
	for place, c := range items {
		if place >= len(g.applied) || g.applied[place] != c {
			h.w.fail("group %d: node %d restored %+v at %d, which was never applied there", group, node, c, place)
		}
	}
}

// told: an answer to a client. An ack needs a majority on whose disks the entry is synced now.
func (h *history) told(group uint16, body string, place int64, f fate) {
	g := &h.groups[group]
	g.proposed[body] = f
	if at, stored := g.at[body]; f == refused && stored {
		h.w.fail("group %d: %q was refused, and stands at %d", group, body, at)
	}
	if f != acked {
		return
	}
	g.acked++
	if place < 0 || place >= int64(len(g.applied)) || g.applied[place].body != body {
		h.w.fail("group %d: %q was acked at %d, where it does not stand", group, body, place)
	}
	c, count := g.applied[place], 0
	for _, n := range h.w.nodes {
		if n.synced(group, c) {
			count++
		}
	}
	if count < simNodes/2+1 {
		h.w.fail("group %d: %q (entry %d of term %d) was acked with %d synced copies", group, body, c.index, c.term, count)
	}
}

// complete: every node that runs has applied everything, and what was acked is there.
func (h *history) complete() error {
	for group := range h.groups {
		g := &h.groups[group]
		for _, n := range h.w.nodes {
			if len(n.machines[group].items) != len(g.applied) {
				return fmt.Errorf("group %d: node %d has applied %d commands of %d", group, n.id, len(n.machines[group].items), len(g.applied))
			}
			if a, b := string(n.machines[group].Bare(nil)), string(h.w.nodes[0].machines[group].Bare(nil)); a != b {
				return fmt.Errorf("group %d: the states of nodes %d and %d differ", group, n.id, h.w.nodes[0].id)
			}
			if err := n.machines[group].readable(); err != nil {
				return err
			}
		}
		for body, f := range g.proposed {
			if at, there := g.at[body]; f == acked && (!there || g.applied[at].body != body) {
				return fmt.Errorf("group %d: %q was acked and is lost", group, body)
			}
		}
	}
	return nil
}
