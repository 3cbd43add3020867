package replica

import (
	"fmt"
	"iter"
	"strings"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// simMachine remembers every command, and of those that were not trimmed where they lie, as the broker does of its records.
type simMachine struct {
	w      *world
	node   *simNode
	group  uint16
	log    *commitlog.Log
	last   uint64 // index of the newest entry with commands
	items  []appliedCommand
	start  int                        // place of the oldest command that is kept
	places map[int]commitlog.Position // by place; of a command that a state brought along there is none
}

func (m *simMachine) Apply(at commitlog.Position, term uint64, e fsm.Entry) []fsm.Result {
	r, err := m.log.ReadAt(at)
	if err != nil || r.Term != term || r.Stream != m.group || r.Index <= m.last {
		m.w.fail("group %d: node %d applies an entry of term %d behind %d, its log has %d of term %d: %v", m.group, m.node.id, term, m.last, r.Index, r.Term, err)
	}
	m.last = r.Index
	var results []fsm.Result
	for _, c := range e.Commands {
		body := string(c.Body)
		results = append(results, fsm.Result{Base: int64(len(m.items))})
		item := appliedCommand{body, r.Index, term}
		m.w.history.apply(m.node.id, m.group, len(m.items), item)
		m.places[len(m.items)] = at
		m.add(item)
	}
	return results
}

// add takes a command. One with a colon trims up to a place.
func (m *simMachine) add(c appliedCommand) {
	m.items = append(m.items, c)
	var serial, to int
	if n, _ := fmt.Sscanf(c.body, "c%d:%d", &serial, &to); n == 2 {
		for ; m.start < min(to, len(m.items)); m.start++ {
			delete(m.places, m.start)
		}
	}
}

// readable: what is kept can be read from the node's own log.
func (m *simMachine) readable() error {
	for place := m.start; place < len(m.items); place++ {
		at, known := m.places[place]
		if !known {
			return fmt.Errorf("group %d: node %d does not know where command %d lies, and %d is the oldest that is kept", m.group, m.node.id, place, m.start)
		}
		r, err := m.log.ReadAt(at)
		if c := m.items[place]; err != nil || r.Stream != m.group || r.Index != c.index || r.Term != c.term || !strings.Contains(string(r.Body), c.body) {
			return fmt.Errorf("group %d: node %d cannot read command %d at %v: %v", m.group, m.node.id, place, at, err)
		}
	}
	return nil
}

func (m *simMachine) Bare(dst []byte) []byte {
	dst = fmt.Appendf(dst, "%d\n", m.start)
	for _, c := range m.items {
		dst = fmt.Appendf(dst, "%s %d %d\n", c.body, c.index, c.term)
	}
	return dst
}

func (m *simMachine) Snapshot(dst []byte) []byte {
	dst = m.Bare(dst)
	for place := m.start; place < len(m.items); place++ {
		if at, known := m.places[place]; known {
			dst = fmt.Appendf(dst, "@ %d %d %d\n", place, at.Segment, at.At)
		}
	}
	return dst
}

func (m *simMachine) Oldest() (at commitlog.Position, points bool) {
	for place := m.start; place < len(m.items); place++ {
		if at, points = m.places[place]; points {
			break
		}
	}
	return at, points
}

func (m *simMachine) Forward(bare []byte, entries iter.Seq2[uint64, fsm.Entry]) ([]byte, error) {
	other := &simMachine{}
	if err := other.parse(bare); err != nil {
		return nil, err
	}
	for term, e := range entries {
		for _, c := range e.Commands {
			known := m.w.history.groups[m.group].applied[len(other.items)]
			if known.body != string(c.Body) || known.term != term {
				m.w.fail("group %d: node %d brings its base forward over %q at %d, where %+v is", m.group, m.node.id, c.Body, len(other.items), known)
			}
			other.add(known)
		}
	}
	return other.Bare(nil), nil
}

func (m *simMachine) parse(b []byte) error {
	m.items, m.last, m.places = nil, 0, map[int]commitlog.Position{}
	head, rest, _ := strings.Cut(string(b), "\n")
	if _, err := fmt.Sscan(head, &m.start); err != nil {
		return err
	}
	for line := range strings.Lines(rest) {
		var c appliedCommand
		var place int
		var at commitlog.Position
		if n, _ := fmt.Sscanf(line, "@ %d %d %d", &place, &at.Segment, &at.At); n == 3 {
			m.places[place] = at
			continue
		}
		if _, err := fmt.Sscanf(line, "%s %d %d", &c.body, &c.index, &c.term); err != nil {
			return err
		}
		m.items, m.last = append(m.items, c), c.index
	}
	return nil
}

func (m *simMachine) Restore(b []byte) error {
	if err := m.parse(b); err != nil {
		return err
	}
	m.w.history.restored(m.node.id, m.group, m.items)
	if m.node.up {
		m.w.note("group %d: node %d takes over a state of %d commands", m.group, m.node.id, len(m.items))
		m.w.taken++
	}
	return nil
}
