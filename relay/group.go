package relay

import (
	"slices"
	"time"

	"github.com/waybillmq/waybill/internal/kp"
)

// group is the outcomes of all lanes that wait for one settlement.
type group struct {
	acked     []ID
	ackedHeld []ID
	receipts  []Receipt
	holds     []hold
	release   []Key
	attempts  []Attempt
	rows      []*Message // of acked and ackedHeld
	batches   []ackedBatch
}

// ackedBatch is what one answer of a lane brought.
type ackedBatch struct {
	lane  *lane
	acked []*Message
	at    []Position
	when  time.Time
	kept  int // of acked, whose acks are in the cache: they count no more among the unsettled ones of the lane
}

// cachedAcks are the acks of a batch as the cache keeps them: those of the main flow. One of a message taken from held is repeated at most once after a crash.
func (b *ackedBatch) cachedAcks() (list []CachedAck) {
	for i, m := range b.acked {
		if m.held == nil {
			list = append(list, CachedAck{ID: m.ID, At: b.at[i], AckedAt: b.when})
		}
	}
	return list
}

// hold is a Hold with the key whose order it touches.
type hold struct {
	Hold
	msg     *Message
	key     Key  // of its message
	fresh   bool // counted as blocking
	returns bool // counted as returning
	leaves  bool // counted as leaving: its key goes on without it
}

func (g *group) size() int { return len(g.acked) + len(g.ackedHeld) + len(g.holds) }

func (g *group) empty() bool { return g.size() == 0 && len(g.release) == 0 }

// settlement is what the store is asked to write. Sequence numbers of receipts count on from seq.
func (g *group) settlement(seq *int64) Settlement {
	s := Settlement{Acked: runs(g.acked, nil), AckedHeld: g.ackedHeld, Receipts: g.receipts, Release: g.release, Attempts: g.attempts}
	for i := range s.Receipts {
		*seq++
		s.Receipts[i].Seq = *seq
	}
	for i := range g.holds {
		s.Hold = append(s.Hold, g.holds[i].Hold)
	}
	return s
}

// held splits off the part that a person's lock holds up.
func (g *group) held() *group {
	part := &group{holds: g.holds, release: g.release, attempts: g.attempts}
	g.holds, g.release, g.attempts = nil, nil, nil
	return part
}

// join appends to g what other decides about keys that g decides about too, so that the store sees one key's changes in their order.
func (g *group) join(other *group) {
	mine := map[Key]bool{}
	for i := range g.holds {
		mine[g.holds[i].key] = true
	}
	for _, k := range g.release {
		mine[k] = true
	}
	holds, release, attempts := other.holds, other.release, other.attempts
	other.holds, other.release, other.attempts = nil, nil, nil
	moved := map[ID]bool{}
	for _, h := range holds {
		to := other
		if h.key.Key != "" && mine[h.key] {
			to, moved[h.ID] = g, true
		}
		to.holds = append(to.holds, h)
	}
	for _, k := range release {
		to := other
		if mine[k] {
			to = g
		}
		to.release = append(to.release, k)
	}
	for _, a := range attempts {
		to := other
		if moved[a.ID] {
			to = g
		}
		to.attempts = append(to.attempts, a)
	}
}

// ack records a batch, or the part of it, that was acked.
func (f *flow) ack(l *lane, acked []*Message, at []Position, now time.Time) {
	g := f.out
	for _, m := range acked {
		if m.held != nil {
			g.ackedHeld = append(g.ackedHeld, m.ID)
		} else {
			g.acked = append(g.acked, m.ID)
		}
		f.leave(m, rowResolved)
		g.rows = append(g.rows, m)
		f.landed(m, true)
	}
	g.receipts = receipts(l.dest.Name, l.id, acked, at, g.receipts)
	g.batches = append(g.batches, ackedBatch{lane: l, acked: acked, at: at, when: now})
	l.unsettled += len(acked)
}

// landed ends the flight of a message taken from held: acked, or going back.
func (f *flow) landed(m *Message, acked bool) {
	if m.held == nil || !m.held.counted {
		return
	}
	m.held.counted = false
	k, _ := m.OrderKey()
	c := f.keys.get(k)
	if c == nil {
		return
	}
	c.flying--
	f.keys.touch(c)
	if acked && c.head == m.ID {
		c.head, m.held.headed = 0, true
		c.leaving++
		f.keys.headed(c)
	}
	f.release(k, c)
}

// release asks the store to give the next messages of a closed key their turn when nothing of it is left here.
func (f *flow) release(k Key, c *closedKey) {
	if c.wantsRelease() {
		c.releasing = true
		f.out.release = append(f.out.release, k)
	}
}

// hold sends a message to held.
func (f *flow) hold(m *Message, h Hold) {
	h.ID = m.ID
	if m.passed() {
		h.Passed = true
	}
	k, keyed := m.OrderKey()
	out := hold{Hold: h, msg: m, key: k}
	switch c := f.keys.get(k); {
	case !keyed || h.State == Scheduled || kp.Planted(kp.FailedToTail):
	case h.Passed:
		if c != nil && c.head == m.ID { // the key goes on without it; landing asks for the next ones
			c.head, out.leaves = 0, true
			c.leaving++
			f.keys.headed(c)
		}
	default:
		if c == nil || h.State != Blocked {
			c = f.keys.close(k, m.ID)
		}
		if out.fresh = h.State == Blocked && m.held == nil; out.fresh {
			c.blocking++
		} else {
			out.returns = true
			c.returning++
		}
		f.keys.touch(c)
	}
	f.leave(m, rowResolved)
	f.out.holds = append(f.out.holds, out)
	f.landed(m, false)
	if ev := f.opt.Events.Held; ev != nil {
		ev(h.Destination, m.Topic, h.State, h.Failure)
	}
}

// block sets a message aside behind the head of its key. What taking it added to its attempts is given back.
func (f *flow) block(m *Message) {
	h := Hold{State: Blocked}
	if m.route != nil {
		h.Destination = m.route.Destination
	}
	if m.held != nil {
		h.Attempts = m.held.Attempts - 1
	}
	f.hold(m, h)
}

// untangle takes back releases of keys that have messages returning in the same group: the store must not give the next ones their turn while a head comes
// back. When those holds are written, the release is asked for again.
func (f *flow) untangle(g *group) {
	held := map[Key]bool{}
	for i := range g.holds {
		if g.holds[i].returns {
			held[g.holds[i].key] = true
		}
	}
	g.release = slices.DeleteFunc(g.release, func(k Key) bool {
		if c := f.keys.get(k); held[k] && c != nil {
			c.releasing = false
		}
		return held[k]
	})
}

// settled takes the store's answer to a group; still are the released keys that have rows left.
func (f *flow) settled(g *group, still []Key) {
	for _, m := range g.rows {
		f.pages.set(m, rowSettled)
		if d := f.byName[m.route.Destination]; d != nil && d.exact != nil {
			d.settled = append(d.settled, m.ID)
		}
		if m.held != nil && m.held.headed {
			k, _ := m.OrderKey()
			f.left(k)
		}
	}
	for i := range g.batches {
		b := &g.batches[i]
		b.lane.unsettled -= len(b.acked) - b.kept
		b.lane.poke()
	}
	f.decided(g, still)
}

// left notes that the store has heard of the end of a head.
func (f *flow) left(k Key) {
	if c := f.keys.get(k); c != nil {
		c.leaving--
		f.keys.headed(c)
	}
}

// decided takes the store's answer to the held part of a group: holds are written, keys released.
func (f *flow) decided(g *group, still []Key) {
	more := make(map[Key]bool, len(still))
	for _, k := range still {
		more[k] = true
	}
	for i := range g.holds {
		h := &g.holds[i]
		f.pages.set(h.msg, rowSettled)
		c := f.keys.get(h.key)
		switch {
		case c == nil:
		case h.fresh:
			c.blocking--
			f.keys.touch(c)
			more[h.key] = true // the release beside it does not see it
		case h.returns:
			c.returning--
			f.keys.headed(c)
		case h.leaves:
			f.left(h.key)
		}
	}
	for _, k := range g.release {
		f.keys.released(k, more[k])
	}
	for i := range g.holds {
		if c := f.keys.get(g.holds[i].key); c != nil {
			f.release(g.holds[i].key, c)
		}
	}
}
