package relay

import "slices"

// shut sets aside what of a closed key waits in memory, in every lane.
func (f *flow) shut(k Key) {
	for _, d := range f.dests {
		for _, l := range d.order {
			f.setAside(l, k)
		}
	}
}

// shutFound does it for keys that were found closed: there may be very many, and few of them have anything in memory.
func (f *flow) shutFound(keys []Key) {
	if len(keys) == 0 || f.ahead == 0 {
		return
	}
	closed := make(map[Key]bool, len(keys))
	for _, k := range keys {
		closed[k] = true
	}
	var found []Key
	for _, d := range f.dests {
		for _, l := range d.order {
			for _, m := range slices.Concat(l.open, l.queue) {
				if k, keyed := m.OrderKey(); keyed && closed[k] {
					delete(closed, k)
					found = append(found, k)
				}
			}
		}
	}
	for _, k := range found {
		f.shut(k)
	}
}

// setAside blocks what of a closed key waits in a lane. What may be stored stays in the open batch until that is known, and what is behind it waits in the
// queue: a message is held as blocked only after every earlier one of its key was, or the next owner would give it its turn before them.
func (f *flow) setAside(l *lane, k Key) {
	c := f.keys.get(k)
	if c == nil {
		return // open again: what waits goes on in its order
	}
	of := func(m *Message) bool { return m.Key == k.Key && m.Topic == k.Topic && !m.passed() && !m.mayGo(c) }
	if l.busy {
		if slices.ContainsFunc(l.open, of) {
			l.keep(k)
			return
		}
		l.pull(of, f.block)
		return
	}
	var behind []*Message
	undecided := false
	l.open = slices.DeleteFunc(l.open, func(m *Message) bool {
		switch {
		case !of(m):
			return false
		case m.maybe:
			undecided = true
			return false
		case undecided:
			behind = append(behind, m)
			return true
		}
		f.block(m)
		return true
	})
	if !undecided {
		l.pull(of, f.block)
		return
	}
	l.unfill(behind)
	l.keep(k)
}

// setAsideKept does it for the keys that waited for the answer to the open batch.
func (f *flow) setAsideKept(l *lane) {
	kept := l.kept
	l.kept = nil
	for _, k := range kept {
		f.setAside(l, k)
	}
}

// mayGo says that a message of a closed key may be sent: its head, or a released one.
func (m *Message) mayGo(c *closedKey) bool { return m.held != nil && (c.head == 0 || c.head == m.ID) }
