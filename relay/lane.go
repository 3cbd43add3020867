package relay

import (
	"slices"
	"time"
)

// lane is the engine's side of an ordered stream: its queue, its one batch in flight, its back-off. The engine's lock guards every field but wake.
type lane struct {
	id   Lane
	dest *destination
	wake chan struct{} // one slot

	queue  []*Message // in the order of sending
	bytes  int        // weight of queue and tail
	open   []*Message // the batch in flight, or to be presented again unchanged
	busy   bool       // a Publish of open is running
	gone   bool       // its destination got other lanes
	barred bool       // waits for its turn after an outage (ramp)
	kept   []Key      // closed keys of which open may have stored messages: what of them is in queue waits there until that is known

	spooled bool       // the degraded cache may have messages of it: behind queue, before tail
	lowest  ID         // of what was put there
	tail    []*Message // rows that wait behind the cache, or behind what is on its way there. Whether their keys are closed is looked at when they leave
	moving  bool       // somebody is at the cache for it
	rewind  bool       // what the cache handed out was let go, and has to be handed out again
	forget  []ID       // came from the cache and went on to the store
	going   []ID       // of forget, on their way to the cache
	noRoom  time.Time  // until then nothing is put: the cache was full

	from ID // behind: rows from this id on are not in memory, the catch-up reader brings them; 0 = live

	unsettled int     // messages acked and not settled
	fails     int     // failed presentations of open in a row
	fault     Outcome // the last of them
	retryAt   time.Time

	unknowns     int       // unknown answers for open in a row
	firstUnknown time.Time // of them
	maybe        bool      // the last answer for open was unknown: something of it may be stored
	acksThen     uint64    // the destination's acks at firstUnknown
	healthyAt    time.Time // since when Check answers well although this lane, the only active one, gets unknowns; zero = does not
	checkedAt    time.Time
	moves        int // moves without an attempt since the last ack
	lonely       int // answers in which others of this batch passed and the rest was unavailable
}

func (l *lane) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lane) push(m *Message) {
	l.queue = append(l.queue, m)
	l.bytes += m.Weight()
}

// unfill puts unsent messages of open back in front of the queue.
func (l *lane) unfill(msgs []*Message) {
	l.queue = append(msgs, l.queue...)
	for _, m := range msgs {
		l.bytes += m.Weight()
	}
}

// keep lets messages of a closed key wait in the queue until the open batch is answered.
func (l *lane) keep(k Key) {
	if !slices.Contains(l.kept, k) {
		l.kept = append(l.kept, k)
	}
}

// hasHead says whether there is anything to send.
func (l *lane) hasHead() bool {
	return len(l.open) > 0 || len(l.queue) > 0 || l.spooled || len(l.tail) > 0
}

// fill moves the next messages of the queue into open: at most maxBatch and maxBytes, always at least one; two of one key only where a batch is stored
// whole or not at all, or a failure in its middle would put the second before the first.
func (l *lane) fill(maxBatch, maxBytes int, atomic bool) {
	n, bytes := 0, 0
	var keys map[Key]bool
	for _, m := range l.queue {
		w := m.Weight()
		if n == maxBatch || n > 0 && bytes+w > maxBytes {
			break
		}
		if k, keyed := m.OrderKey(); keyed && !atomic {
			if keys[k] {
				break
			}
			if keys == nil {
				keys = map[Key]bool{}
			}
			keys[k] = true
		}
		n++
		bytes += w
	}
	l.open = append(l.open[:0], l.queue[:n]...)
	l.bytes -= bytes
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
}

// calm forgets the failures of the batch that was in flight.
func (l *lane) calm() {
	l.fails, l.unknowns, l.lonely, l.moves = 0, 0, 0, 0
	l.retryAt, l.healthyAt, l.firstUnknown, l.maybe, l.fault = time.Time{}, time.Time{}, time.Time{}, false, Outcome{}
}

// pull takes every message for which match holds out of the queue.
func (l *lane) pull(match func(*Message) bool, each func(*Message)) {
	kept := l.queue[:0]
	for _, m := range l.queue {
		if match(m) {
			l.bytes -= m.Weight()
			each(m)
			continue
		}
		kept = append(kept, m)
	}
	clear(l.queue[len(kept):])
	l.queue = kept
}
