package relay

import "time"

// destination is the engine's side of one configured broker. The engine's lock guards every field below pub.
type destination struct {
	Destination
	signal  chan struct{} // one slot: a batch was resolved while draining
	changed chan struct{} // one slot: lanes changed

	pub      Publisher // nil until made
	opened   bool      // Open succeeded under this epoch
	draining bool      // no new batch: lanes changed, a new publisher follows
	lanes    map[Lane]*lane
	order    []*lane // for turns
	from     ID      // lanes made from now on start behind here; 0 = live

	breaker   breaker
	ramp      ramp
	paused    pause
	topics    map[string]*pause  // by target topic
	stopped   *PausedDestination // by a person; nil = not
	quietTo   time.Time          // without a fence: no byte before
	acks      uint64             // batches with an ack
	ackedAt   time.Time          // the last of them
	exact     Exact              // pub, when it is one
	settled   []ID               // for exact: marked sent by commits that a later claim makes durable
	lastFault Outcome            // for people
	cacheFull bool               // the cache refused the last put
}

// pause is a config outcome that stopped a scope. It is tried again after configPause.
type pause struct {
	until time.Time
	since time.Time
	cause Outcome
}

const configPause = 30 * time.Second

func (p *pause) active() bool { return !p.since.IsZero() }

func (p *pause) set(o Outcome, now time.Time) (first bool) {
	first = !p.active()
	if first {
		p.since = now
	}
	p.cause, p.until = o, now.Add(configPause)
	return first
}

// active counts the lanes that have something to send.
func (d *destination) active() int {
	n := 0
	for _, l := range d.order {
		if l.hasHead() {
			n++
		}
	}
	return n
}

// sendable says whether the destination as a whole may be sent to now; held messages are taken for such destinations only.
func (d *destination) sendable(now time.Time) bool {
	return d.opened && !d.draining && d.stopped == nil && !d.breaker.open && !now.Before(d.paused.until) && !now.Before(d.quietTo)
}

// starving says that somebody has to probe, and no lane has anything to do it with.
func (d *destination) starving() bool {
	return d.breaker.open && d.opened && d.stopped == nil && d.active() == 0
}

func (d *destination) pokeAll() {
	for _, l := range d.order {
		l.poke()
	}
}

func (d *destination) poke() {
	select {
	case d.signal <- struct{}{}:
	default:
	}
}

// A lane that is behind is read for when less than hungry batches wait in it, and takes no more than fed: each read is to bring more than what left meanwhile.
const (
	hungry = 2
	fed    = 4
)

// room says whether a lane that is behind may be fed by the catch-up reader, while fewer than that many batches wait in it.
func (l *lane) room(batches int, now time.Time) bool {
	d := l.dest
	sendable := d.sendable(now) || d.starving()
	return sendable && l.fails == 0 && !l.behindCache() && len(l.queue) < batches*d.Capabilities.MaxBatch && l.bytes < batches*d.Capabilities.MaxBytes && !d.topicPaused(l.id.Topic, now)
}

func (d *destination) topicPaused(topic string, now time.Time) bool {
	p := d.topics[topic]
	return p != nil && now.Before(p.until)
}

// lowest is the lowest id that the lanes of the destination, or the lanes it has yet to get, wait for from the catch-up reader; 0 = none.
func (d *destination) lowest() ID {
	low := d.from
	for _, l := range d.order {
		if l.from != 0 && (low == 0 || l.from < low) {
			low = l.from
		}
	}
	return low
}
