package spool

import (
	"maps"
	"slices"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/relay"
)

// naive is a lane as simple as can be: what is known of each id.
type naive map[relay.ID]*naiveEntry

type naiveEntry struct {
	message, ack place
	generation   uint16
	taken        bool
}

func (n naive) held() map[uint64]int {
	held := map[uint64]int{}
	for _, e := range n {
		for _, p := range []place{e.message, e.ack} {
			if p != 0 {
				held[p.segment()]++
			}
		}
	}
	return held
}

func (n naive) take(most int) (ids []relay.ID) {
	for _, id := range slices.Sorted(maps.Keys(n)) {
		if e := n[id]; e.message != 0 && !e.taken && len(ids) < most {
			e.taken = true
			ids = append(ids, id)
		}
	}
	return ids
}

// Whatever is done to a lane, it answers like one that is as simple as can be.
func FuzzLane(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 3, 2, 1, 1, 2, 1, 4, 0, 3, 9})
	f.Add([]byte{0, 9, 0, 3, 3, 1, 0, 1, 3, 1, 3, 1, 5, 2, 6, 9, 0, 9})
	f.Fuzz(func(t *testing.T, ops []byte) {
		x := newIndex(nil)
		l, n := &lane{}, naive{}
		at := place(1 << 32)
		for len(ops) >= 2 {
			op, id := ops[0], relay.ID(ops[1])%200+1
			ops = ops[2:]
			at += 1 << 30 // a segment holds four
			g := uint16(op >> 7)
			e := n[id]
			switch op % 7 {
			case 0:
				l.put(x, id, g, at, 10)
				if e == nil || e.generation != g {
					n[id] = &naiveEntry{message: at, generation: g}
				}
			case 1:
				l.acked(x, id, g, at)
				if e == nil || e.ack == 0 || e.generation != g {
					n[id] = &naiveEntry{ack: at, generation: g}
				}
			case 2:
				l.forget(x, id)
				delete(n, id)
			case 3:
				var got []relay.ID
				for _, e := range l.take(int(op>>3)%5+1, 1<<20) {
					got = append(got, e.id)
				}
				if want := n.take(int(op>>3)%5 + 1); !slices.Equal(got, want) {
					t.Fatalf("took %v, want %v", got, want)
				}
			case 4:
				l.rewind()
				for _, e := range n {
					e.taken = false
				}
			case 5:
				l.drop(x, id)
				for other, e := range n {
					if other >= id && e.message != 0 {
						delete(n, other)
					}
				}
			case 6:
				l.shrink()
			}
			if held := n.held(); !maps.Equal(held, x.held) {
				t.Fatalf("segments are needed for %v, want %v", x.held, held)
			}
			messages, acks := 0, 0
			for _, e := range n {
				if e.message != 0 {
					messages++
				}
				if e.ack != 0 {
					acks++
				}
			}
			if l.messages != messages || x.messages != messages || l.acks != acks || l.bytes != int64(10*messages) || x.bytes != int64(10*messages+ackBytes*acks) {
				t.Fatalf("%+v, want %d messages and %d acks", l, messages, acks)
			}
			all := l.list(0, 1<<20, func(e *entry) bool { return !e.empty() })
			if len(all) != len(n) || !slices.IsSortedFunc(all, func(a, b entry) int { return int(a.id - b.id) }) {
				t.Fatalf("%d entries, want %d, ascending", len(all), len(n))
			}
		}
	})
}

func TestTakeBounds(t *testing.T) {
	x := newIndex(nil)
	l := x.lane(kafkaLane)
	for i, bytes := range []int{100, 50, 60, 500, 10} {
		l.put(x, relay.ID(i+1), 0, placeOf(commitlog.Position{Segment: 1, At: int64(8 * i)}), bytes)
	}
	for i, want := range []int{2, 1, 1, 1, 0} {
		if got := l.take(2, 150); len(got) != want {
			t.Errorf("turn %d: %d messages, want %d", i, len(got), want)
		}
	}
}

// An old lane whose entries come and go takes no more room than what it holds.
func TestLaneShrinks(t *testing.T) {
	x := newIndex(nil)
	l := x.lane(kafkaLane)
	l.put(x, 1, 0, 1<<32, 1)
	for i := range 10_000 {
		l.put(x, relay.ID(i+2), 0, 1<<32, 1)
		if i > 0 {
			x.forget(kafkaLane, []relay.ID{relay.ID(i + 1)})
		}
	}
	if len(l.entries) > 200 || cap(l.entries) > 2000 || l.messages != 2 {
		t.Errorf("%d entries in room for %d hold %d messages", len(l.entries), cap(l.entries), l.messages)
	}
}

func TestHistory(t *testing.T) {
	h, err := newHistory([]relay.Generation{{From: 5, UUID: textA}, {From: 10, UUID: textB}})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[relay.ID]string{5: "A", 9: "A", 10: "B", 99: "B", 4: ""} {
		got := ""
		switch u, ok := h.of(id); {
		case ok && u == uuidA:
			got = "A"
		case ok:
			got = "B"
		}
		if got != want {
			t.Errorf("id %d is of %q, want %q", id, got, want)
		}
	}
	for _, bad := range [][]relay.Generation{nil, {{UUID: "x"}}, {{UUID: textA + "00"}}} {
		if _, err := newHistory(bad); err == nil {
			t.Errorf("%v is a history", bad)
		}
	}
}
