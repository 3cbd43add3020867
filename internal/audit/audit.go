// Package audit compares what was produced, what is marked sent, and what lies at the broker, and names each difference. It is pure: the caller reads the
// three sides. Words are exact: produced = rows of message_log; sent = ids in receipts; stored = what was read back from the broker.
package audit

import (
	"crypto/sha256"
	"fmt"
	"slices"
)

// Sum is a digest of topic, key and payload.
type Sum [sha256.Size]byte

// SumOf digests what all copies of a message share. A nil payload is a tombstone and differs from an empty one.
func SumOf(topic, key string, payload []byte) (sum Sum) {
	h := sha256.New()
	fmt.Fprintf(h, "%d %d %t\n%s%s", len(topic), len(key), payload == nil, topic, key)
	h.Write(payload)
	h.Sum(sum[:0])
	return sum
}

// Produced is a row of message_log.
type Produced struct {
	ID         int64
	MessageID  string
	Topic, Key string
	Sum        Sum
	Event      Sum  // of the same message as its route sends it, where that is another form; zero = it is not
	Unordered  bool // asked for no order: no key, or scheduled
	Waits      bool // pending or held: not sent on purpose
	Discarded  bool
}

// Place is where something lies at a broker. A negative offset: the broker confirmed without telling the place, and anywhere is right.
type Place struct {
	Lane   string
	Offset int64
}

// Stored is a record read back from a broker, handed to Compare in the broker's own order per lane.
type Stored struct {
	At        Place
	ID        int64 // as the record says
	MessageID string
	Sum       Sum
}

// Kind names a difference.
type Kind string

// The differences.
const (
	Missing    Kind = "missing"      // marked sent, not at the broker where the receipt says
	Unsent     Kind = "unsent"       // neither sent nor waiting: an id that nobody accounts for
	Foreign    Kind = "foreign"      // at the broker, no row
	Duplicate  Kind = "duplicate"    // an extra copy
	Altered    Kind = "altered"      // another content than the row's
	OutOfOrder Kind = "out_of_order" // the first copy of a key comes before an older one's
)

// Difference is one finding.
type Difference struct {
	Kind      Kind   `json:"kind"`
	ID        int64  `json:"id,string"`
	MessageID string `json:"message_id"`
	At        Place  `json:"at"`
}

// MaxDifferences is how many are named; all are counted.
const MaxDifferences = 100

// Result is the comparison.
type Result struct {
	Written    int `json:"written"` // produced
	Sent       int `json:"sent"`    // distinct ids in receipts
	Stored     int `json:"stored"`  // distinct messages of ours at the broker
	Pending    int `json:"pending"` // waiting: pending or held
	Discarded  int `json:"discarded"`
	Unread     int `json:"unread,omitempty"` // sent, and not judged: the place that the receipt names could not be read
	Lost       int `json:"lost"`             // missing + unsent
	Phantom    int `json:"phantom"`          // foreign
	OutOfOrder int `json:"out_of_order"`
	Duplicates int `json:"duplicates"`
	Altered    int `json:"altered"`

	Differences []Difference `json:"differences,omitempty"`
}

// Clean says that nothing was lost, invented, reordered or changed. Duplicates are judged against the published bound by the caller.
func (r *Result) Clean() bool { return r.Lost+r.Phantom+r.OutOfOrder+r.Altered == 0 }

func (r *Result) add(count *int, d Difference) {
	*count++
	if len(r.Differences) < MaxDifferences {
		r.Differences = append(r.Differences, d)
	}
}

// Compare compares all rows of a window, the places that its receipts name, and what the broker stored there and between. produced must ascend by id.
func Compare(produced []Produced, sent map[int64]Place, stored []Stored) Result {
	return CompareRead(produced, sent, stored, nil)
}

// Span is which offsets of a lane were read: From and those that follow, up to, and without, To.
type Span struct{ From, To int64 }

// Read is what was read back, by lane; nil = everything. Of a lane that was read in part the order of keys is judged by itself.
type Read map[string]Span

func (w Read) covers(at Place) bool {
	span := w[at.Lane]
	return w == nil || at.Offset >= 0 && span.From <= at.Offset && at.Offset < span.To
}

// CompareRead is Compare of what could be read. A message whose place was not read is counted as such, and is no difference.
func CompareRead(produced []Produced, sent map[int64]Place, stored []Stored, read Read) Result {
	var r Result
	rows := make(map[int64]*Produced, len(produced))
	for i := range produced {
		rows[produced[i].ID] = &produced[i]
	}
	first := compareStored(&r, rows, stored)
	type key struct{ topic, key, lane string }
	newest := map[key]int64{}
	at := map[Place]int64{}
	for i := range stored {
		at[stored[i].At] = stored[i].ID
	}
	for i := range produced {
		p := &produced[i]
		r.Written++
		place, isSent := sent[p.ID]
		switch {
		case isSent:
			r.Sent++
			id, there := at[place]
			if place.Offset < 0 {
				id, there = p.ID, first[p.ID] != 0
			}
			switch {
			case there && id == p.ID:
			case read.covers(place):
				r.add(&r.Lost, Difference{Missing, p.ID, p.MessageID, place})
			default:
				r.Unread++
			}
		case p.Waits:
			r.Pending++
		case p.Discarded:
			r.Discarded++
		default:
			r.add(&r.Lost, Difference{Kind: Unsent, ID: p.ID, MessageID: p.MessageID})
		}
		if n, ok := first[p.ID]; ok && !p.Unordered {
			k := key{topic: p.Topic, key: p.Key}
			if read != nil { // a message that a route, or a new number of partitions, sends elsewhere has no order with those before
				k.lane = stored[n-1].At.Lane
			}
			if n < newest[k] {
				r.add(&r.OutOfOrder, Difference{OutOfOrder, p.ID, p.MessageID, stored[n-1].At})
			}
			newest[k] = max(newest[k], n)
		}
	}
	slices.SortStableFunc(r.Differences, func(a, b Difference) int { return int(a.ID - b.ID) })
	return r
}

// compareStored judges each record against its row, and returns where the first copy of each id stands, from 1.
func compareStored(r *Result, rows map[int64]*Produced, stored []Stored) map[int64]int64 {
	first := make(map[int64]int64, len(stored))
	for i := range stored {
		s := &stored[i]
		p := rows[s.ID]
		switch {
		case p == nil || p.MessageID != s.MessageID:
			r.add(&r.Phantom, Difference{Foreign, s.ID, s.MessageID, s.At})
			continue
		case p.Sum != s.Sum && (p.Event == Sum{} || p.Event != s.Sum):
			r.add(&r.Altered, Difference{Altered, s.ID, s.MessageID, s.At})
		}
		if first[s.ID] != 0 {
			r.add(&r.Duplicates, Difference{Duplicate, s.ID, s.MessageID, s.At})
			continue
		}
		first[s.ID] = int64(i + 1)
		r.Stored++
	}
	return first
}
