package relay

// keyset holds the closed keys: those with a retrying or dead head that was not skipped, until a release has found nothing more behind it. While a key is
// closed, newer messages of it are settled as blocked. It belongs to the engine and not to a lane, because header routes can send one key to two lanes.
// Pure; the engine's lock guards it.
type keyset struct {
	keys    map[Key]*closedKey
	changes uint64 // counts changes, so that an answer of Store.Closed can be told from what happened since it was asked for
	opened  map[Key]uint64
	asked   uint64 // changes when the question began that is being answered
	number  uint64 // of that question
}

type closedKey struct {
	head      ID   // retrying or dead; 0 = none: released messages are on their way
	blocking  int  // messages of the main flow on their way to held, behind all that is there
	returning int  // heads, and messages taken from held, on their way back there
	leaving   int  // former heads whose end is on its way to the store
	flying    int  // taken from held and not yet resolved
	releasing bool // a release is on its way to the store
	changed   uint64
	rehead    uint64 // the last change after which the store may know another head
	named     uint64 // number of the last question whose answer named it
}

// settledHead says that the store has heard of all that became of the key's heads here.
func (c *closedKey) settledHead() bool { return c.returning == 0 && c.leaving == 0 }

// empty says that nothing of the key is in the engine's hands.
func (c *closedKey) empty() bool {
	return c.blocking == 0 && c.returning == 0 && c.leaving == 0 && c.flying == 0 && !c.releasing
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
	s.headed(c)
	return c
}

func (s *keyset) touch(c *closedKey) {
	s.changes++
	c.changed = s.changes
}

// headed notes a change of the head, or that the store has heard of one.
func (s *keyset) headed(c *closedKey) {
	s.touch(c)
	c.rehead = s.changes
}

// wantsRelease says that the store must give the next ones their turn, or find none: nothing is in the engine's hands that goes before what lies there. What is
// blocked anew comes behind it; waiting for that, a busy key would never go on.
func (c *closedKey) wantsRelease() bool {
	return c.head == 0 && c.returning == 0 && c.flying == 0 && !c.releasing
}

// released takes the store's answer to a release: more = rows are left. It says whether the key opened.
func (s *keyset) released(k Key, more bool) (opened bool) {
	c := s.keys[k]
	if c == nil {
		return false
	}
	c.releasing = false
	s.touch(c)
	if more || c.head != 0 || !c.empty() {
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

// ask begins a question to Store.Closed, whose answer comes in pages and ends with answered. One question at a time: another one takes its place.
func (s *keyset) ask() {
	s.opened, s.asked = map[Key]uint64{}, s.changes
	s.number++
}

// answer takes a page of the answer. What changed since the question began is newer than it. It returns keys that were open and are closed now; keys that must
// be released, because neither the store nor the engine has anything that would; and keys of which the answer names another head, and may be older than what
// the engine knows: they must be asked for again.
func (s *keyset) answer(page []Head) (closed, release, again []Key) {
	for _, h := range page {
		c := s.keys[h.Key]
		if c != nil {
			c.named = s.number
		}
		if _, since := s.opened[h.Key]; since {
			continue
		}
		head := ID(0)
		if h.State == Retrying || h.State == Dead {
			head = h.ID
		}
		switch {
		case c == nil:
			c = s.close(h.Key, head)
			c.named = s.number
			closed = append(closed, h.Key)
		case c.rehead <= s.asked && c.settledHead():
			c.head = head
		case c.head != head:
			again = append(again, h.Key)
		}
		if !h.Due && c.wantsRelease() {
			c.releasing = true
			release = append(release, h.Key)
		}
	}
	return closed, release, again
}

// answered ends a question about all keys, or those of only: what no page named has no head in the store. It returns keys that must be asked for again.
func (s *keyset) answered(only []Key) (again []Key) {
	unnamed := func(k Key, c *closedKey) {
		switch {
		case c.named == s.number:
		case c.changed <= s.asked && c.empty():
			s.open(k)
		case c.rehead <= s.asked && c.settledHead():
			c.head = 0
		case c.head != 0:
			again = append(again, k)
		}
	}
	if len(only) > 0 {
		for _, k := range only {
			if c := s.keys[k]; c != nil {
				unnamed(k, c)
			}
		}
	} else {
		for k, c := range s.keys {
			unnamed(k, c)
		}
	}
	s.opened = nil
	return again
}
