package postgres

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/relay"
)

// maxHoleRanges bounds the ranges that one statement is given; beyond it neighbours are asked for together, across the smallest gaps. 10,000 ranges cost a
// read 10 ms.
const maxHoleRanges = 10_000

// hole is a range of ids, both ends included, none of which was seen yet: drawn by transactions that are open or have rolled back.
type hole struct {
	lo, hi relay.ID
	since  time.Time // when the range was first passed over
}

// holes is what a main reader has not seen below its position.
//
//	ranges ascending, disjoint, inside (0, after]
//	an id in (0, after] that lies in no range was listed, or proven empty
//
// It is a plain value without I/O; its owner is the reader.
type holes struct {
	after  relay.ID // highest id listed
	ranges []hole
}

// answer is what one ids statement saw, in one snapshot.
type answer struct {
	ids  []relay.ID // ascending: everything pending above after and in the ranges asked for, or the lowest of it when full
	xmin int64      // every transaction below it had ended
	full bool       // the statement's limit was reached: nothing is known behind the last id
}

// probe is a question whether holes will stay empty: last was the sequence's position before xid was drawn. Whoever owns an id up to last had drawn its
// xid before that, so below xid (next_id draws the xid first). An answer with xmin > xid sees all that they committed.
type probe struct {
	asked bool
	last  relay.ID
	xid   int64
}

// apply takes an answer in: an id in a hole splits it, one above after leaves a gap behind it. It returns the ids that were not seen before, and closes
// what the probe proves empty. The probe is consumed when it was answered.
func (h *holes) apply(a answer, p *probe, now time.Time) []relay.ID {
	before := h.after
	fresh := make([]relay.ID, 0, len(a.ids))
	for _, id := range a.ids {
		if h.see(id, now) {
			fresh = append(fresh, id)
		}
	}
	if p.asked && a.xmin > p.xid {
		bound := min(p.last, before)
		if a.full && len(a.ids) > 0 {
			bound = min(bound, a.ids[len(a.ids)-1])
		}
		h.drop(bound)
		*p = probe{}
	}
	return fresh
}

// see says whether id is new, and remembers it as seen.
func (h *holes) see(id relay.ID, now time.Time) bool {
	if id > h.after {
		if id > h.after+1 && !kp.Planted(kp.ForgetHoles) {
			h.ranges = append(h.ranges, hole{h.after + 1, id - 1, now})
		}
		h.after = id
		return true
	}
	i := h.find(id)
	if i == len(h.ranges) || h.ranges[i].lo > id {
		return false
	}
	switch r := &h.ranges[i]; {
	case r.lo == id && r.hi == id:
		h.ranges = slices.Delete(h.ranges, i, i+1)
	case r.lo == id:
		r.lo = id + 1
	case r.hi == id:
		r.hi = id - 1
	default:
		upper := hole{id + 1, r.hi, r.since}
		r.hi = id - 1
		h.ranges = slices.Insert(h.ranges, i+1, upper)
	}
	return true
}

// find returns the index of the first range that ends at id or above it.
func (h *holes) find(id relay.ID) int {
	return sort.Search(len(h.ranges), func(i int) bool { return h.ranges[i].hi >= id })
}

// has says whether id lies in a hole.
func (h *holes) has(id relay.ID) bool {
	i := h.find(id)
	return i < len(h.ranges) && h.ranges[i].lo <= id
}

// drop closes everything up to and with bound.
func (h *holes) drop(bound relay.ID) {
	i := h.find(bound + 1)
	h.ranges = slices.Delete(h.ranges, 0, i)
	if len(h.ranges) > 0 && h.ranges[0].lo <= bound {
		h.ranges[0].lo = bound + 1
	}
}

// putBack makes ids unseen again, because the answer that listed them was lost with its connection. ids ascend, were seen, and are at most after.
func (h *holes) putBack(ids []relay.ID, now time.Time) {
	for i := 0; i < len(ids); {
		j := i + 1
		for j < len(ids) && ids[j] == ids[j-1]+1 {
			j++
		}
		h.ranges = append(h.ranges, hole{ids[i], ids[j-1], now})
		i = j
	}
	slices.SortFunc(h.ranges, func(a, b hole) int { return cmp.Compare(a.lo, b.lo) })
}

// restart moves the position without hiding anything: what lies between the old and the new one is unseen.
func (h *holes) restart(after relay.ID, now time.Time) {
	if after > h.after {
		h.ranges = append(h.ranges, hole{h.after + 1, after, now})
	} else {
		i := sort.Search(len(h.ranges), func(i int) bool { return h.ranges[i].lo > after })
		h.ranges = h.ranges[:i]
		if i > 0 {
			h.ranges[i-1].hi = min(h.ranges[i-1].hi, after)
		}
	}
	h.after = after
}

// ask returns at most limit ranges that cover every hole up to and with upTo, and how many ids that were already seen lie inside them: an answer has to be
// that much longer, and those ids are dropped from it by apply.
func (h *holes) ask(limit int, upTo relay.ID) (lo, hi []int64, seen int64) {
	n := sort.Search(len(h.ranges), func(i int) bool { return h.ranges[i].lo > upTo })
	if n == 0 {
		return []int64{}, []int64{}, 0
	}
	widest := int64(-1) // gaps up to this width are bridged
	spare := 0          // and so many of exactly this width are not
	if n > limit {
		gaps := make([]int64, n-1)
		for i := range gaps {
			gaps[i] = int64(h.ranges[i+1].lo - h.ranges[i].hi - 1)
		}
		slices.Sort(gaps)
		widest = gaps[n-limit-1]
		for i := n - limit; i < len(gaps) && gaps[i] == widest; i++ {
			spare++
		}
	}
	lo, hi = make([]int64, 0, min(n, limit)), make([]int64, 0, min(n, limit))
	for i, r := range h.ranges[:n] {
		if i > 0 {
			gap := int64(r.lo) - hi[len(hi)-1] - 1
			bridge := gap < widest
			if gap == widest {
				if bridge = spare == 0; !bridge {
					spare--
				}
			}
			if bridge {
				hi[len(hi)-1] = int64(min(r.hi, upTo))
				seen += gap
				continue
			}
		}
		lo, hi = append(lo, int64(r.lo)), append(hi, int64(min(r.hi, upTo)))
	}
	return lo, hi, seen
}

// near returns the lowest unseen id that lies at most span below the position.
func (h *holes) near(span relay.ID) relay.ID {
	low := h.after + 1
	for i := len(h.ranges) - 1; i >= 0 && h.ranges[i].hi > h.after-span; i-- {
		low = max(h.ranges[i].lo, h.after-span+1)
	}
	return low
}

// oldest returns since when the oldest range is open; zero = none.
func (h *holes) oldest() time.Time {
	var t time.Time
	for _, r := range h.ranges {
		if t.IsZero() || r.since.Before(t) {
			t = r.since
		}
	}
	return t
}
