package relay

// keyset holds the closed keys: those with a retrying or dead head that was not skipped, until a release has found nothing more behind it. While a key is
// closed, newer messages of it are settled as blocked. It belongs to the engine and not to a lane, because header routes can send one key to two lanes.
// Pure; the engine's lock guards it.
type keyset struct {
	keys    map[Key]*closedKey
	changes uint64 // counts changes, so that an answer of Store.Closed can be told from what happened since it was asked
	opened  map[Key]uint64
}

type closedKey struct {
	head      ID   // retrying or dead; 0 = none: released messages are on their way
	undecided int  // holds of this key on their way to the store
	flying    int  // taken from held and not yet resolved
	releasing bool // a release is on its way to the store
	changed   uint64
}

func (s *keyset) get(k Key) *closedKey {
	if len(s.keys) == 0 {
		return nil
	}
	return s.keys[k]
}

// close makes the key closed with this head, unless it has one already.
func (s *keyset) close(k Key, head ID) *closedKey {
	c := s.keys[k]
	if c == nil {
		if s.keys == nil {
			s.keys = map[Key]*closedKey{}
		}
		c = &closedKey{}
		s.keys[k] = c
	}
	if c.head == 0 {
		c.head = head
	}
	s.touch(c)
	return c
}

func (s *keyset) touch(c *closedKey) {
	s.changes++
	c.changed = s.changes
}

// wantsRelease says that nothing of the key is left in the engine's hands, so that the store must give the next ones their turn, or find none.
func (c *closedKey) wantsRelease() bool {
	return c.head == 0 && c.undecided == 0 && c.flying == 0 && !c.releasing
}

// released takes the store's answer to a release: more = rows are left. It says whether the key opened.
func (s *keyset) released(k Key, more bool) (opened bool) {
	c := s.keys[k]
	if c == nil {
		return false
	}
	c.releasing = false
	s.touch(c)
	if more || c.head != 0 || c.undecided > 0 || c.flying > 0 {
		return false
	}
	s.open(k)
	return true
}

func (s *keyset) open(k Key) {
	s.changes++
	delete(s.keys, k)
	if s.opened != nil {
		s.opened[k] = s.changes
	}
}

// asking begins a question to Store.Closed; heads is its answer.
func (s *keyset) asking() uint64 {
	s.opened = map[Key]uint64{}
	return s.changes
}

// heads takes the store's answer to a question asked at `asked`: all closed keys, or those of only. What changed since then is newer than the answer. It
// returns keys that were open and are closed now, and keys that must be released, because neither the store nor the engine has anything that would.
func (s *keyset) heads(answer []Head, asked uint64, only []Key) (closed, release []Key) {
	named := make(map[Key]bool, len(answer))
	for _, h := range answer {
		named[h.Key] = true
		if _, since := s.opened[h.Key]; since {
			continue
		}
		head := ID(0)
		if h.State == Retrying || h.State == Dead {
			head = h.ID
		}
		c := s.keys[h.Key]
		switch {
		case c == nil:
			c = s.close(h.Key, head)
			closed = append(closed, h.Key)
		case c.changed <= asked && c.undecided == 0: // else the store does not know our newest head yet
			c.head = head
		}
		if !h.Due && c.wantsRelease() {
			c.releasing = true
			release = append(release, h.Key)
		}
	}
	gone := func(k Key, c *closedKey) {
		if !named[k] && c.changed <= asked && c.undecided == 0 && c.flying == 0 && !c.releasing {
			s.open(k)
		}
	}
	if len(only) > 0 {
		for _, k := range only {
			if c := s.keys[k]; c != nil {
				gone(k, c)
			}
		}
	} else {
		for k, c := range s.keys {
			gone(k, c)
		}
	}
	s.opened = nil
	return closed, release
}
