package relaytest

import (
	"cmp"
	"fmt"
	"slices"
)

// Sum is a digest of everything that all copies of a message must share: payload, key, headers, type.
type Sum [32]byte

// Fact is a committed message, as an oracle that shares no code with the relay knows it.
type Fact struct {
	Topic, Key string
	N          int64  // its place in the commit order of (Topic, Key): unique and ascending there, gaps allowed
	Token      string // names the message, inside its content; unique
	MessageID  string // what consumers dedupe by; empty = not known beforehand
	Sum        Sum
	Unordered  bool // has no place in the order: without a key, scheduled, let pass or replayed by a person
}

// Delivery is one record that the broker stored.
type Delivery struct {
	Topic, Key string
	N          int64
	Token      string
	MessageID  string
	Sum        Sum
	Lane       string
	Offset     int64
	Replay     bool // asked for by a person: neither a first delivery nor a duplicate
}

// Place is where a receipt says that a message lies.
type Place struct {
	Lane   string
	Offset int64
}

// Fate is what the outbox says about a message that it has not sent.
type Fate uint8

// The fates. A message without one is marked sent.
const (
	Waits     Fate = iota + 1 // pending: the run was not drained
	Stuck                     // held: its key waits behind it
	LetPass                   // held, and its key goes on without it
	GivenUp                   // discarded by a person
	Postponed                 // held as scheduled
)

// Evidence is what a run leaves behind for Judge.
type Evidence struct {
	Committed []Fact
	Aborted   []string // tokens of messages that rolled back or that a crash took back
	Delivered []Delivery
	Fates     map[string]Fate  // by token: what is not sent
	Receipts  map[string]Place // by token; nil = not compared. Offset -1 = the broker gave none
}

// Bounds is how many duplicates are allowed.
type Bounds struct {
	Q       int  // how far a repeat may go back inside its key: RELIABILITY formula, B × (1 + S) at most
	Rewinds int  // hard owner changes + ambiguous answers + holes; each may repeat up to Q messages of a key
	Placed  bool // the number of lanes stayed the same: a key has one lane
}

// Invariant names what a finding breaks.
type Invariant string

// The invariants.
const (
	I1 Invariant = "I1 no loss"
	I2 Invariant = "I2 no phantom"
	I3 Invariant = "I3 no false mark"
	I4 Invariant = "I4 first-delivery order"
	I5 Invariant = "I5 bounded rewind"
	I6 Invariant = "I6 bounded count"
	I7 Invariant = "I7 identity"
	I8 Invariant = "I8 placement"
)

// Flaw is one broken invariant at one message.
type Flaw struct {
	Invariant  Invariant
	Topic, Key string
	N          int64
	Token      string
	Text       string
}

func (f Flaw) String() string {
	return fmt.Sprintf("%s: topic %q key %q n %d (%s): %s", f.Invariant, f.Topic, f.Key, f.N, f.Token, f.Text)
}

// Verdict is what Judge found. Counts are exact; Flaws describes the first ones.
type Verdict struct {
	Written, Sent, Stored, Held, Discarded, Pending int // committed; of them marked sent; records at the broker; …

	Lost       int // I1: committed, not at the broker, and nowhere visible
	Phantom    int // I2: at the broker, never committed
	FalseMarks int // I3: marked sent without a receipt, or the receipt names another place
	OutOfOrder int // I4: first delivered behind a newer one of its key, or overtaken while it waits
	Duplicates int // repeats; allowed within Bounds
	Rewound    int // I5: repeats that go back further than Q
	Excess     int // I6: repeats of a key beyond Q × Rewinds
	Altered    int // I7: copies that differ, or a message id used twice
	Misplaced  int // I8: keys found on more than one lane

	Flaws []Flaw // at most MaxFlaws of each invariant
}

// MaxFlaws is how many flaws of one invariant a verdict describes; it counts them all.
const MaxFlaws = 10

// Green says that no invariant is broken. It says nothing about Pending: whether a run had to drain is the caller's question.
func (v *Verdict) Green() bool {
	return v.Lost+v.Phantom+v.FalseMarks+v.OutOfOrder+v.Rewound+v.Excess+v.Altered+v.Misplaced == 0
}

func (v *Verdict) String() string {
	return fmt.Sprintf("written %d sent %d stored %d held %d discarded %d pending %d: lost %d phantom %d false_marks %d out_of_order %d duplicates %d "+
		"(too far back %d, too many %d) altered %d misplaced %d", v.Written, v.Sent, v.Stored, v.Held, v.Discarded, v.Pending, v.Lost, v.Phantom, v.FalseMarks,
		v.OutOfOrder, v.Duplicates, v.Rewound, v.Excess, v.Altered, v.Misplaced)
}

func (v *Verdict) flaw(count *int, inv Invariant, f Fact, format string, args ...any) {
	if *count++; *count <= MaxFlaws {
		v.Flaws = append(v.Flaws, Flaw{inv, f.Topic, f.Key, f.N, f.Token, fmt.Sprintf(format, args...)})
	}
}

// Judge compares what was committed with what the broker stored: one pass over the records, exact, no sampling. Delivered is in the order of the broker inside
// each lane; lanes may be mixed in any way. It panics when the oracle contradicts itself (a token or a place in the order used twice): then there is no verdict.
func Judge(e Evidence, bounds Bounds) Verdict {
	v := Verdict{Written: len(e.Committed), Stored: len(e.Delivered)}
	j := newJudge(&v, e)
	for i := range e.Delivered {
		j.delivered(&e.Delivered[i], bounds)
	}
	for k := range j.keys {
		j.closeKey(k, bounds)
	}
	return v
}

type judge struct {
	v       *Verdict
	e       Evidence
	facts   []Fact           // by key, then n
	keys    []keyState       // in the order of facts
	byToken map[string]int32 // → facts
	first   []int32          // per fact: its first delivery + 1; 0 = none
	right   []bool           // per fact: a delivery lies where the receipt says
	ids     map[string]int32 // message id → fact
	aborted map[string]struct{}
	keyOf   []int32 // per fact → keys
}

// keyState is what is known about one key while the records pass by.
type keyState struct {
	from, to int   // facts
	high     int64 // highest n delivered among those that have an order
	repeats  int
	lane     string
	strays   bool // found on another lane too
}

func newJudge(v *Verdict, e Evidence) *judge {
	n := len(e.Committed)
	j := &judge{v: v, e: e, facts: slices.Clone(e.Committed), byToken: make(map[string]int32, n), first: make([]int32, n), right: make([]bool, n),
		ids: make(map[string]int32, n), aborted: make(map[string]struct{}, len(e.Aborted)), keyOf: make([]int32, n)}
	slices.SortFunc(j.facts, func(a, b Fact) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Key, b.Key), cmp.Compare(a.N, b.N))
	})
	for i := range j.facts {
		f := &j.facts[i]
		fresh := i == 0 || j.facts[i-1].Topic != f.Topic || j.facts[i-1].Key != f.Key
		if !fresh && j.facts[i-1].N == f.N {
			broken(fmt.Sprintf("the oracle gave n %d of topic %q key %q twice: %s and %s", f.N, f.Topic, f.Key, j.facts[i-1].Token, f.Token))
		}
		if fresh {
			j.keys = append(j.keys, keyState{from: i})
		}
		k := len(j.keys) - 1
		j.keys[k].to, j.keyOf[i] = i+1, int32(k)
		if other, twice := j.byToken[f.Token]; twice {
			broken(fmt.Sprintf("the oracle gave token %s twice: n %d and %d", f.Token, j.facts[other].N, f.N))
		}
		j.byToken[f.Token] = int32(i)
		if f.MessageID != "" {
			if other, twice := j.ids[f.MessageID]; twice {
				v.flaw(&v.Altered, I7, *f, "its message id %s is also that of %s", f.MessageID, j.facts[other].Token)
			}
			j.ids[f.MessageID] = int32(i)
		}
	}
	for _, token := range e.Aborted {
		j.aborted[token] = struct{}{}
	}
	return j
}

// delivered takes the next record.
func (j *judge) delivered(d *Delivery, bounds Bounds) {
	v := j.v
	i, known := j.byToken[d.Token]
	if !known {
		why := "nobody wrote it"
		if _, gone := j.aborted[d.Token]; gone {
			why = "its transaction does not exist: rolled back, or taken back by a crash"
		}
		v.flaw(&v.Phantom, I2, Fact{Topic: d.Topic, Key: d.Key, N: d.N, Token: d.Token}, "stored at lane %s offset %d: %s", d.Lane, d.Offset, why)
		return
	}
	f, k := &j.facts[i], &j.keys[j.keyOf[i]]
	j.identity(f, i, d)
	if place, there := j.e.Receipts[f.Token]; there && place.Lane == d.Lane && (place.Offset < 0 || place.Offset == d.Offset) {
		j.right[i] = true
	}
	if bounds.Placed && !f.Unordered && !k.strays {
		if k.lane == "" {
			k.lane = d.Lane
		}
		if k.lane != d.Lane {
			k.strays = true
			v.flaw(&v.Misplaced, I8, *f, "lies on lane %s, earlier ones of its key on %s", d.Lane, k.lane)
		}
	}
	if d.Replay {
		return
	}
	if j.first[i] != 0 {
		k.repeats++
		v.Duplicates++
		if back := k.high - f.N; !f.Unordered && back >= int64(bounds.Q) {
			v.flaw(&v.Rewound, I5, *f, "repeated at lane %s offset %d, %d behind n %d; the bound is %d", d.Lane, d.Offset, back, k.high, bounds.Q)
		}
		return
	}
	j.first[i] = 1
	if f.Unordered {
		return
	}
	if f.N < k.high {
		v.flaw(&v.OutOfOrder, I4, *f, "first stored at lane %s offset %d, behind n %d", d.Lane, d.Offset, k.high)
	}
	k.high = max(k.high, f.N)
}

func (j *judge) identity(f *Fact, i int32, d *Delivery) {
	v := j.v
	switch {
	case d.Topic != f.Topic || d.Key != f.Key || d.N != f.N || d.Sum != f.Sum:
		v.flaw(&v.Altered, I7, *f, "the copy at lane %s offset %d differs in topic, key or content", d.Lane, d.Offset)
	case f.MessageID == "" && d.MessageID != "":
		if other, used := j.ids[d.MessageID]; used && other != i {
			v.flaw(&v.Altered, I7, *f, "its message id %s is also that of %s", d.MessageID, j.facts[other].Token)
		}
		f.MessageID = d.MessageID
		j.ids[d.MessageID] = i
	case f.MessageID != d.MessageID:
		v.flaw(&v.Altered, I7, *f, "the copy at lane %s offset %d has message id %s, not %s", d.Lane, d.Offset, d.MessageID, f.MessageID)
	}
}

// closeKey looks at one key once all records have passed.
func (j *judge) closeKey(at int, bounds Bounds) {
	v, k := j.v, &j.keys[at]
	for i := k.from; i < k.to; i++ {
		f := &j.facts[i]
		fate := j.e.Fates[f.Token]
		stored := j.first[i] != 0
		switch fate {
		case 0:
			v.Sent++
			j.mark(f, i, stored)
			continue
		case Waits:
			v.Pending++
		case GivenUp:
			v.Discarded++
		default:
			v.Held++
		}
		if (fate == Waits || fate == Stuck) && !stored && !f.Unordered && f.N < k.high {
			v.flaw(&v.OutOfOrder, I4, *f, "still waits, and n %d of its key was sent", k.high)
		}
	}
	if most := bounds.Q * bounds.Rewinds; k.repeats > most {
		v.flaw(&v.Excess, I6, j.facts[k.from], "%d repeats; the bound is %d × %d", k.repeats, bounds.Q, bounds.Rewinds)
		v.Excess += k.repeats - most - 1
	}
}

// mark checks a message that is marked sent.
func (j *judge) mark(f *Fact, i int, stored bool) {
	v := j.v
	if !stored {
		v.flaw(&v.Lost, I1, *f, "committed, marked sent or gone, and not at the broker")
		return
	}
	if j.e.Receipts == nil {
		return
	}
	place, there := j.e.Receipts[f.Token]
	switch {
	case !there:
		v.flaw(&v.FalseMarks, I3, *f, "marked sent, no receipt covers it")
	case !j.right[i]:
		v.flaw(&v.FalseMarks, I3, *f, "its receipt says lane %s offset %d, where it does not lie", place.Lane, place.Offset)
	}
}
