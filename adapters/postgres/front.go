package postgres

import (
	"maps"
	"slices"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Where the rows of a key that is released, or the rows that are due, begin in their index. Behind a long release lie as many dead entries, which nobody may
// remove while a snapshot is held; a search that walks them with every page takes longer and longer, under the lock of the owner row.
const (
	frontRows = 100 // least rows of a key in one take for its front to be worth keeping
	maxFronts = 16  // keys
)

// fronts are, for each key, an id below which held has no row that counts: neither passed nor scheduled. A take shows it, because such a row would have stopped
// it, and it is so once what was taken has left. After that only a message that is held anew, a scheduled one that falls due, and a crash that takes a settlement
// back can bring one, and each of them takes the front away. People's acts make no row count that did not before. Pure; whoever holds taken.deciding uses it.
type fronts struct {
	shown map[relay.Key]relay.ID // the highest id of what was taken; it has not left yet
	at    map[relay.Key]relay.ID
}

func newFronts() fronts { return fronts{map[relay.Key]relay.ID{}, map[relay.Key]relay.ID{}} }

// took notes what a take has shown.
func (f fronts) took(messages []relay.HeldMessage) {
	count := map[relay.Key]int{}
	for i := range messages {
		m := &messages[i]
		k, keyed := m.OrderKey()
		if !keyed || m.Passed || m.State != relay.Blocked {
			continue
		}
		if count[k]++; count[k] < frontRows && f.at[k] == 0 {
			continue
		}
		if _, known := f.shown[k]; known || len(f.shown) < maxFronts {
			f.shown[k] = max(f.shown[k], m.ID)
		}
	}
}

// released takes the answer to a release: all that was taken of these keys has left, and still are those that have rows.
func (f fronts) released(keys, still []relay.Key) {
	for _, k := range keys {
		id, shown := f.shown[k]
		_, known := f.at[k]
		delete(f.shown, k)
		switch {
		case !slices.Contains(still, k):
			delete(f.at, k)
		case shown && (known || len(f.at) < maxFronts):
			f.at[k] = id
		}
	}
}

// below takes away what a message that is held anew comes to lie under.
func (f fronts) below(holds []relay.Hold) {
	for i := range holds {
		under := func(_ relay.Key, id relay.ID) bool { return holds[i].ID <= id }
		maps.DeleteFunc(f.shown, under)
		maps.DeleteFunc(f.at, under)
	}
}

// clear forgets them all: the next searches begin where the index does.
func (f fronts) clear() {
	clear(f.shown)
	clear(f.at)
}

// of are the fronts of the given keys, 0 = none.
func (f fronts) of(keys []relay.Key) []int64 {
	at := make([]int64, len(keys))
	for i, k := range keys {
		at[i] = int64(f.at[k])
	}
	return at
}

// args are all of them, as arrays.
func (f fronts) args() (topics, keys []string, at []int64) {
	topics, keys, at = []string{}, []string{}, []int64{}
	for k, id := range f.at {
		topics, keys, at = append(topics, k.Topic), append(keys, k.Key), append(at, int64(id))
	}
	return topics, keys, at
}

const (
	fullLookEvery = time.Second
	fullLookShare = 20 // a look that leaves nothing out takes at most one part in so many of the time
)

// dueFront is the due time from which a take looks. Rows that are due earlier are possible (an act that began before, a clock that was set back) and may wait
// for the next full look: a take never passes over a lower row of a key, whether it has found it or not.
type dueFront struct {
	at     int64 // microseconds since 1970; 0 = none
	fullAt time.Time
	took   time.Duration // by the last full look
}

// from is where to look now; 0 = everywhere.
func (d *dueFront) from(now time.Time) int64 {
	if now.Sub(d.fullAt) >= max(fullLookEvery, fullLookShare*d.took) {
		return 0
	}
	return d.at
}

// looked notes a look from `from` on. first is the earliest due time of what it took, 0 = nothing; page says that there was more than it took.
func (d *dueFront) looked(from int64, began, now time.Time, first int64, page bool) {
	if from == 0 {
		d.fullAt, d.took = now, now.Sub(began)
		if first > 0 {
			d.at = min(d.at, first)
		}
	}
	if page {
		d.at = first
	}
}
