package alerts

import (
	"cmp"
	"slices"
	"time"
)

// Status is what an event says of its alert.
type Status string

// The statuses of what is posted.
const (
	Firing   Status = "firing"
	Resolved Status = "resolved"
	Test     Status = "test" // a person wanted to see whether it arrives
)

// Event is an alert that begins, still lasts, or is over.
type Event struct {
	Condition
	Status Status
	At     time.Time
	Until  time.Time // of one that fires: if nothing more is heard until then, nobody watches any more. Zero = it is over
}

// quiet is how long a condition must be away before its alert is over: one that comes and goes is one alert.
const quiet = time.Minute

// late is how much later than promised the next post may come.
const late = 30 * time.Minute

// Machine decides what is posted: an alert once when it begins, again each time that repeat has passed, and once when it is over. It knows no clock. Not safe
// for concurrent use.
type Machine struct {
	repeat time.Duration
	known  map[string]*alert
}

// alert is a condition that was seen.
type alert struct {
	Condition
	began  time.Time // it was first seen
	seen   time.Time // it was last seen
	firing bool
	posted time.Time // by us, that it fires; zero = another relay did, or nobody
}

// NewMachine returns one that knows of no alert.
func NewMachine(repeat time.Duration) *Machine {
	return &Machine{repeat: repeat, known: map[string]*alert{}}
}

// Look is what was seen at one moment.
type Look struct {
	At         time.Time
	Conditions []Condition
	Partial    func(Rule) bool // what is missing of that rule may hold all the same; nil = nothing may
	Posts      bool            // this relay posts; else it only keeps track, to take over
}

// Step takes the next look, which is later than the one before, and returns what to post.
func (m *Machine) Step(l Look) (events []Event) {
	for _, c := range l.Conditions {
		a := m.known[c.ID()]
		if a == nil {
			a = &alert{began: l.At}
			m.known[c.ID()] = a
		}
		if c.Since.IsZero() {
			c.Since = a.began
		}
		a.Condition, a.seen = c, l.At
		a.firing = a.firing || l.At.Sub(a.began) >= c.lasting
	}
	for id, a := range m.known {
		switch over := l.At.Sub(a.seen) >= quiet || !a.firing && a.seen != l.At; {
		case a.seen != l.At && l.Partial != nil && l.Partial(a.Rule):
			a.seen = l.At.Add(-time.Nanosecond) // as if it was there a moment ago: the quiet time begins with the next whole look
		case over:
			delete(m.known, id)
			if a.firing && l.Posts {
				events = append(events, Event{Condition: a.Condition, Status: Resolved, At: l.At})
			}
		case a.firing && l.Posts && (a.posted.IsZero() || l.At.Sub(a.posted) >= m.repeat):
			a.posted = l.At
			events = append(events, Event{Condition: a.Condition, Status: Firing, At: l.At, Until: l.At.Add(m.repeat + late)})
		}
	}
	slices.SortFunc(events, func(a, b Event) int { return cmp.Compare(a.ID(), b.ID()) })
	return events
}
