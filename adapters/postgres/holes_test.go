package postgres

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

func TestHolesApply(t *testing.T) {
	now := time.Unix(1, 0)
	cases := []struct {
		name   string
		answer []relay.ID
		full   bool
		xmin   int64
		probe  probe
		fresh  []relay.ID
		open   [][2]relay.ID
		after  relay.ID
	}{
		{"nothing", nil, false, 0, probe{}, nil, [][2]relay.ID{{3, 5}, {8, 9}}, 10},
		{"above leaves a gap", []relay.ID{13}, false, 0, probe{}, []relay.ID{13}, [][2]relay.ID{{3, 5}, {8, 9}, {11, 12}}, 13},
		{"the middle splits", []relay.ID{4}, false, 0, probe{}, []relay.ID{4}, [][2]relay.ID{{3, 3}, {5, 5}, {8, 9}}, 10},
		{"ends shrink, singles vanish", []relay.ID{3, 5, 8, 9}, false, 0, probe{}, []relay.ID{3, 5, 8, 9}, [][2]relay.ID{{4, 4}}, 10},
		{"seen ids are skipped", []relay.ID{1, 2, 6, 7, 10}, false, 0, probe{}, nil, [][2]relay.ID{{3, 5}, {8, 9}}, 10},
		{"a proof closes what it saw empty", []relay.ID{4}, false, 8, probe{true, 100, 7}, []relay.ID{4}, nil, 10},
		{"a proof that is not old enough closes nothing", nil, false, 7, probe{true, 100, 7}, nil, [][2]relay.ID{{3, 5}, {8, 9}}, 10},
		{"ids drawn after the sequence was looked at stay open", nil, false, 8, probe{true, 4, 7}, nil, [][2]relay.ID{{5, 5}, {8, 9}}, 10},
		{"gaps of the same answer stay open", []relay.ID{13}, false, 8, probe{true, 100, 7}, []relay.ID{13}, [][2]relay.ID{{11, 12}}, 13},
		{"a full answer proves nothing behind its end", []relay.ID{3, 4}, true, 8, probe{true, 100, 7}, []relay.ID{3, 4}, [][2]relay.ID{{5, 5}, {8, 9}}, 10},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := holes{after: 10, ranges: []hole{{3, 5, now}, {8, 9, now}}}
			p := c.probe
			fresh := h.apply(answer{ids: c.answer, full: c.full, xmin: c.xmin}, &p, now)
			if !slices.Equal(fresh, c.fresh) && len(fresh)+len(c.fresh) > 0 {
				t.Errorf("fresh %v, want %v", fresh, c.fresh)
			}
			if got := pairs(h); !slices.Equal(got, c.open) || h.after != c.after {
				t.Errorf("holes %v after %d, want %v after %d", got, h.after, c.open, c.after)
			}
			if c.probe.asked && p.asked != (c.xmin <= c.probe.xid) {
				t.Errorf("probe asked = %v after xmin %d, xid %d", p.asked, c.xmin, c.probe.xid)
			}
		})
	}
}

func TestHolesNear(t *testing.T) {
	h := holes{after: 10, ranges: []hole{{lo: 3, hi: 5}, {lo: 8, hi: 9}}}
	for span, want := range map[relay.ID]relay.ID{0: 11, 1: 11, 2: 9, 3: 8, 5: 8, 6: 5, 8: 3, 32: 3} {
		if got := h.near(span); got != want {
			t.Errorf("near(%d) = %d, want %d", span, got, want)
		}
	}
	if got := (&holes{}).near(32); got != 1 {
		t.Errorf("near(32) of a new reader = %d, want 1", got)
	}
}

func pairs(h holes) (out [][2]relay.ID) {
	for _, r := range h.ranges {
		out = append(out, [2]relay.ID{r.lo, r.hi})
	}
	return out
}

func TestHolesAskBridgesTheSmallestGaps(t *testing.T) {
	h := holes{after: 100}
	for _, r := range [][2]relay.ID{{1, 1}, {3, 4}, {10, 10}, {12, 12}, {50, 60}} {
		h.ranges = append(h.ranges, hole{r[0], r[1], time.Time{}})
	}
	cases := []struct {
		limit  int
		upTo   relay.ID
		lo, hi []int64
		seen   int64
	}{
		{5, 100, []int64{1, 3, 10, 12, 50}, []int64{1, 4, 10, 12, 60}, 0},
		{3, 100, []int64{1, 10, 50}, []int64{4, 12, 60}, 2},
		{2, 100, []int64{1, 50}, []int64{12, 60}, 7},
		{1, 100, []int64{1}, []int64{60}, 44},
		{5, 55, []int64{1, 3, 10, 12, 50}, []int64{1, 4, 10, 12, 55}, 0},
		{5, 3, []int64{1, 3}, []int64{1, 3}, 0},
	}
	for _, c := range cases {
		lo, hi, seen := h.ask(c.limit, c.upTo)
		if !slices.Equal(lo, c.lo) || !slices.Equal(hi, c.hi) || seen != c.seen {
			t.Errorf("ask(%d, %d) = %v %v %d, want %v %v %d", c.limit, c.upTo, lo, hi, seen, c.lo, c.hi, c.seen)
		}
	}
}

// FuzzHoles holds holes to a naive model: a set of ids for each question, and a database in which transactions commit late, roll back and are probed.
func FuzzHoles(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, page uint8) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := newNaive(t, r, int(page%7)+1)
		for range 300 {
			m.step()
		}
		m.finish()
	})
}

// naive is a database of transactions and the reader's holes beside it.
type naive struct {
	t       *testing.T
	r       *rand.Rand
	limit   int
	last    relay.ID             // of the sequence
	xid     int64                // of the newest transaction
	open    map[int64][]relay.ID // running transactions by xid
	pending map[relay.ID]bool    // committed and not handed over
	fate    map[relay.ID]bool    // all committed ids
	seen    map[relay.ID]bool    // handed over once
	h       holes
	p       probe
}

func newNaive(t *testing.T, r *rand.Rand, limit int) *naive {
	return &naive{t: t, r: r, limit: limit, open: map[int64][]relay.ID{}, pending: map[relay.ID]bool{}, fate: map[relay.ID]bool{}, seen: map[relay.ID]bool{}}
}

func (m *naive) step() {
	switch m.r.IntN(7) {
	case 0, 1: // a transaction begins, or goes on, and draws ids
		x := m.pick()
		if x == 0 || m.r.IntN(2) == 0 {
			m.xid++
			x = m.xid
		}
		for range 1 + m.r.IntN(4) {
			m.last++
			m.open[x] = append(m.open[x], m.last)
		}
	case 2:
		m.commit(m.pick())
	case 3:
		delete(m.open, m.pick())
	case 4:
		if !m.p.asked {
			last := m.last
			if m.r.IntN(2) == 0 && len(m.open) < 5 { // another transaction comes between the two halves
				m.xid++
				m.last++
				m.open[m.xid] = []relay.ID{m.last}
			}
			m.xid++
			m.p = probe{asked: true, last: last, xid: m.xid}
		}
	case 5:
		m.read()
	case 6:
		if m.r.IntN(10) == 0 && len(m.seen) > 0 { // the connection is lost with a list
			var lost []relay.ID
			for _, id := range slices.Sorted(maps.Keys(m.seen)) {
				if m.r.IntN(3) == 0 && !m.h.has(id) {
					lost = append(lost, id)
					delete(m.seen, id)
					m.pending[id] = true
				}
			}
			m.h.putBack(lost, time.Time{})
			m.p = probe{}
		}
	}
	m.check()
}

// pick returns one of the running transactions, 0 = none.
func (m *naive) pick() int64 {
	if len(m.open) == 0 {
		return 0
	}
	return slices.Sorted(maps.Keys(m.open))[m.r.IntN(len(m.open))]
}

func (m *naive) commit(x int64) {
	for _, id := range m.open[x] {
		m.pending[id], m.fate[id] = true, true
	}
	delete(m.open, x)
}

// read answers as the ids statement does.
func (m *naive) read() int {
	lo, hi, seen := m.h.ask(2+m.r.IntN(4), m.h.after)
	most := m.limit + int(seen)
	var ids []relay.ID
	for id := range m.fate { // rows in flight are still pending in the table
		in := id > m.h.after
		for i := range lo {
			in = in || int64(id) >= lo[i] && int64(id) <= hi[i]
		}
		if in && (m.pending[id] || m.seen[id]) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	full := len(ids) >= most
	if full {
		ids = ids[:most]
	}
	xmin := m.xid + 1
	for x := range m.open {
		xmin = min(xmin, x)
	}
	fresh := m.h.apply(answer{ids: ids, full: full, xmin: xmin}, &m.p, time.Time{})
	for _, id := range fresh {
		if m.seen[id] {
			m.t.Fatalf("id %d came twice", id)
		}
		m.seen[id] = true
		delete(m.pending, id)
	}
	return len(fresh)
}

// check: every id that may still come lies above the position or in a hole, and the ranges keep their invariant.
func (m *naive) check() {
	for i, r := range m.h.ranges {
		if r.lo > r.hi || r.lo < 1 || r.hi > m.h.after || i > 0 && m.h.ranges[i-1].hi >= r.lo {
			m.t.Fatalf("range %d of %v after %d", i, pairs(m.h), m.h.after)
		}
	}
	for id := range m.pending {
		if id <= m.h.after && !m.h.has(id) {
			m.t.Fatalf("id %d is pending and was passed over: %v after %d", id, pairs(m.h), m.h.after)
		}
	}
	for _, ids := range m.open {
		for _, id := range ids {
			if id <= m.h.after && !m.h.has(id) {
				m.t.Fatalf("id %d of an open transaction was passed over: %v after %d", id, pairs(m.h), m.h.after)
			}
		}
	}
}

// finish ends every transaction: everything committed arrives, and every hole closes.
func (m *naive) finish() {
	for len(m.open) > 0 {
		m.commit(m.pick())
	}
	for n := 0; len(m.h.ranges) > 0 || len(m.pending) > 0; n++ {
		if n > 10*len(m.fate)+100 {
			m.t.Fatalf("%d pending, holes %v", len(m.pending), pairs(m.h))
		}
		if !m.p.asked {
			m.xid++
			m.p = probe{asked: true, last: m.last, xid: m.xid}
		}
		m.xid++
		m.read()
		m.check()
	}
}

func TestHolesRestartHidesNothing(t *testing.T) {
	for _, c := range []struct {
		to   relay.ID
		open [][2]relay.ID
	}{{20, [][2]relay.ID{{3, 5}, {8, 9}, {11, 20}}}, {8, [][2]relay.ID{{3, 5}, {8, 8}}}, {4, [][2]relay.ID{{3, 4}}}, {1, nil}} {
		h := holes{after: 10, ranges: []hole{{3, 5, time.Time{}}, {8, 9, time.Time{}}}}
		h.restart(c.to, time.Time{})
		if got := pairs(h); !slices.Equal(got, c.open) || h.after != c.to {
			t.Errorf("restart(%d): %v after %d, want %v", c.to, got, h.after, c.open)
		}
	}
}
