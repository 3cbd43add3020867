package fsm

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

var (
	seeds     = flag.Uint64("fsm.seeds", 500, "simulated runs")
	firstSeed = flag.Uint64("fsm.first", 1, "seed of the first run")
)

// request is one append of the simulated relay on its way.
type request struct {
	epoch, seq uint64
	floor      int64
	ids        []int64
}

// lane simulates one lane of a relay in front of one partition: requests are lost, doubled and late, answers are lost, the relay and its database die. The rules
// of the relay's side are those that Cursor states.
type lane struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand

	// the broker
	data *Data
	log  []int64 // the id at each offset

	// the network
	wire []request

	// the database
	nextID   int64
	pending  map[int64]bool // committed and not settled
	late     []int64        // drawn, not committed yet
	volatile map[int64]bool // settled, and a crash of the database takes it back

	// the relay
	epoch, seq uint64
	asked      *request // in flight, or with an unknown outcome
	acked      map[int64]int64
	floor      int64
}

func (l *lane) fail(format string, args ...any) {
	l.t.Helper()
	l.t.Fatalf("-fsm.first %d: %s", l.seed, fmt.Sprintf(format, args...))
}

func sumOf(id int64) uint32 { return uint32(id * 2654435761) }

func sumsOf(ids []int64) []uint32 {
	sums := make([]uint32, len(ids))
	for i, id := range ids {
		sums[i] = sumOf(id)
	}
	return sums
}

// do applies one command.
func (l *lane) do(kind CommandType, body []byte) Result {
	e, err := ParseEntry((&Entry{Time: 1, Commands: []Command{{Type: kind, Body: body}}}).Append(nil))
	if err != nil {
		l.fail("%v", err)
	}
	return l.data.Apply(1, e)[0]
}

func (l *lane) apply(r request) ([]int64, error) {
	request := AppendRequest{Source: &Source{ID: SourceID{7}, Epoch: r.epoch, Seq: r.seq, Floor: r.floor}, IDs: r.ids, Sums: sumsOf(r.ids),
		Batch: batch(len(r.ids), -1, 0, 0)}
	result := l.do(CommandAppend, request.Append(nil))
	if result.Err == nil && !result.Repeat {
		l.log = append(l.log, r.ids...)
	}
	if next := l.data.Partition(0).HighWatermark(); next != int64(len(l.log)) {
		l.fail("the high watermark is %d after %d records", next, len(l.log))
	}
	return result.Offsets, result.Err
}

// commit makes new rows, some of them long after rows with higher ids.
func (l *lane) commit() {
	l.nextID++
	if l.rng.IntN(3) == 0 {
		l.late = append(l.late, l.nextID)
	} else {
		l.pending[l.nextID] = true
	}
	if len(l.late) > 0 && l.rng.IntN(3) == 0 {
		l.pending[l.late[0]] = true
		l.late = l.late[1:]
	}
}

// send presents the batch again whose outcome is unknown, with a new number, or a new one: any rows that are pending and were not acked, in any order.
func (l *lane) send() {
	if l.asked == nil {
		var ids []int64
		for id := range l.pending {
			if _, known := l.acked[id]; !known {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 {
			return
		}
		slices.Sort(ids)
		l.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		l.asked = &request{ids: ids[:1+l.rng.IntN(min(5, len(ids)))]}
	}
	l.seq++
	l.lift()
	r := request{epoch: l.epoch, seq: l.seq, floor: l.floor, ids: l.asked.ids}
	*l.asked = r
	l.wire = append(l.wire, r)
}

// lift raises the floor over the known offsets that are settled for good.
func (l *lane) lift() {
	ids := make([]int64, 0, len(l.acked))
	for id := range l.acked {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b int64) int { return int(l.acked[a] - l.acked[b]) })
	for _, id := range ids {
		if l.pending[id] || l.volatile[id] {
			return
		}
		l.floor = max(l.floor, l.acked[id]+1)
		delete(l.acked, id)
	}
}

// deliver takes any request from the network, and leaves a copy there at times. The answer reaches the relay if it still waits for it.
func (l *lane) deliver() {
	if len(l.wire) == 0 {
		return
	}
	at := l.rng.IntN(len(l.wire))
	r := l.wire[at]
	if l.rng.IntN(3) > 0 {
		l.wire = slices.Delete(l.wire, at, at+1)
	}
	offsets, err := l.apply(r)
	if l.asked == nil || l.asked.epoch != r.epoch || l.asked.seq != r.seq || l.rng.IntN(4) == 0 {
		return
	}
	partial := (*PartialError)(nil)
	switch {
	case errors.As(err, &partial):
		offsets = partial.Offsets
	case errors.Is(err, ErrStale): // a copy of this very request was there first
		return
	case err != nil:
		l.fail("request %+v: %v", r, err)
	}
	for i, offset := range offsets {
		if offset >= 0 {
			if l.log[offset] != r.ids[i] {
				l.fail("id %d is said to be at %d, where %d is", r.ids[i], offset, l.log[offset])
			}
			l.acked[r.ids[i]] = offset
		}
	}
	l.asked = nil
}

// settle marks what was acked, at first in a way that a crash of the database takes back.
func (l *lane) settle() {
	for id := range l.acked {
		if l.pending[id] && l.rng.IntN(2) == 0 {
			delete(l.pending, id)
			l.volatile[id] = true
		}
	}
}

func (l *lane) crashDatabase() {
	for id := range l.volatile {
		l.pending[id] = true
	}
	clear(l.volatile)
	l.restart() // it reads everything again
}

// restart is a new owner: it knows the database, and what the broker tells of its window.
func (l *lane) restart() {
	l.epoch++
	l.seq = 0
	l.asked = nil
	clear(l.acked)
	result := l.do(CommandState, le.AppendUint64(append(le.AppendUint32(nil, 0), 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), l.epoch))
	if result.Err != nil {
		l.fail("state: %v", result.Err)
	}
	l.seq, l.floor = result.Cursor.Seq, result.Cursor.Floor
	for _, s := range result.Cursor.Stored {
		if s.Sum != sumOf(s.ID) {
			l.fail("id %d has another checksum", s.ID)
		}
		if s.Offset >= l.floor {
			l.acked[s.ID] = s.Offset
		}
	}
}

func (l *lane) check() {
	seen := map[int64]bool{}
	for _, id := range l.log {
		if seen[id] {
			l.fail("id %d is stored twice", id)
		}
		seen[id] = true
	}
	for id := int64(1); id <= l.nextID; id++ {
		if !l.pending[id] && !slices.Contains(l.late, id) && !seen[id] {
			l.fail("id %d is settled and was never stored", id)
		}
	}
}

// Every message is stored once, whatever is lost, doubled, late or killed, and although the broker goes on from snapshots.
func TestSourceIsStoredOnce(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		l := &lane{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 2)), data: NewData(), pending: map[int64]bool{}, volatile: map[int64]bool{}, acked: map[int64]int64{}}
		l.do(CommandOpen, le.AppendUint32(nil, 0))
		l.restart()
		for step := range 300 {
			if step%41 == 0 {
				l.data = restored(t, l.data)
			}
			switch l.rng.IntN(20) {
			case 0, 1, 2, 3:
				l.commit()
			case 4, 5, 6, 7, 8:
				l.send()
			case 9, 10, 11, 12, 13, 14:
				l.deliver()
			case 15, 16:
				l.settle()
			case 17:
				clear(l.volatile) // flushed
			case 18:
				if l.rng.IntN(4) == 0 {
					l.restart()
				}
			case 19:
				if l.rng.IntN(4) == 0 {
					l.crashDatabase()
				}
			}
			l.check()
		}
		for _, id := range l.late {
			l.pending[id] = true
		}
		l.late = nil
		for n := 0; len(l.pending) > 0; n++ { // and in the end everything is stored
			if n > 10_000 {
				l.fail("%d messages are never stored", len(l.pending))
			}
			l.wire = nil
			l.send()
			l.deliver()
			l.settle()
			clear(l.volatile)
		}
		l.check()
	}
}
