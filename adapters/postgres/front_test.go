package postgres

import (
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

func takenOf(key string, first, last relay.ID) (out []relay.HeldMessage) {
	for id := first; id <= last; id++ {
		out = append(out, relay.HeldMessage{Message: relay.Message{ID: id, Topic: "t", Key: key}, State: relay.Blocked})
	}
	return out
}

func TestFronts(t *testing.T) {
	k, other := relay.Key{Topic: "t", Key: "k"}, relay.Key{Topic: "t", Key: "other"}
	both := []relay.Key{k, other}
	for _, c := range []struct {
		name string
		do   func(f fronts)
		want relay.ID
	}{
		{"nothing taken", func(f fronts) { f.released(both, both) }, 0},
		{"taken and gone", func(f fronts) { f.took(takenOf("k", 1, 500)); f.released(both, both) }, 500},
		{"taken, not gone", func(f fronts) { f.took(takenOf("k", 1, 500)) }, 0},
		{"few", func(f fronts) { f.took(takenOf("k", 1, frontRows-1)); f.released(both, both) }, 0},
		{"few behind a front", func(f fronts) {
			f.took(takenOf("k", 1, 500))
			f.released(both, both)
			f.took(takenOf("k", 501, 503))
			f.released(both, both)
		}, 503},
		{"nothing left", func(f fronts) { f.took(takenOf("k", 1, 500)); f.released(both, both[1:]) }, 0},
		{"held anew below, while it is sent", func(f fronts) {
			f.took(takenOf("k", 1, 500))
			f.below([]relay.Hold{{ID: 500}})
			f.released(both, both)
		}, 0},
		{"held anew below", func(f fronts) {
			f.took(takenOf("k", 1, 500))
			f.released(both, both)
			f.below([]relay.Hold{{ID: 7}})
		}, 0},
		{"held anew behind", func(f fronts) {
			f.took(takenOf("k", 1, 500))
			f.below([]relay.Hold{{ID: 501}})
			f.released(both, both)
			f.below([]relay.Hold{{ID: 502}})
		}, 500},
		{"a crash while it is sent", func(f fronts) { f.took(takenOf("k", 1, 500)); f.clear(); f.released(both, both) }, 0},
		{"skipped ones show nothing", func(f fronts) {
			all := takenOf("k", 1, 500)
			for i := range all {
				all[i].Passed = true
			}
			f.took(all)
			f.released(both, both)
		}, 0},
	} {
		f := newFronts()
		c.do(f)
		if got := f.of(both); got[0] != int64(c.want) || got[1] != 0 {
			t.Errorf("%s: fronts %v, want %d and 0", c.name, got, c.want)
		}
	}
	f := newFronts()
	for i := range 2 * maxFronts {
		f.took(takenOf(string(rune('a'+i)), 1, frontRows))
	}
	if len(f.shown) != maxFronts {
		t.Errorf("%d keys are remembered, want %d", len(f.shown), maxFronts)
	}
}

func TestDueFront(t *testing.T) {
	var d dueFront
	at := time.Unix(1000, 0)
	look := func(took time.Duration, first int64, page bool) (from int64) {
		from = d.from(at)
		d.looked(from, at, at.Add(took), first, page)
		at = at.Add(took)
		return from
	}
	for i, step := range []struct {
		after, took time.Duration
		first       int64
		page        bool
		want        int64 // where it looks from
	}{
		{0, time.Millisecond, 0, false, 0},                      // the first one
		{0, time.Millisecond, 5, false, 0},                      // nothing known
		{0, time.Millisecond, 7, true, 0},                       // more than a page
		{0, time.Millisecond, 9, true, 7},                       // on from there
		{time.Second, 100 * time.Millisecond, 8, false, 0},      // everywhere, now and then: and something earlier is found
		{time.Second, time.Millisecond, 0, false, 8},            // that look was dear: not so soon again
		{time.Second, time.Millisecond, 0, false, 0},            // but then
		{500 * time.Millisecond, time.Millisecond, 0, false, 8}, // a look that finds nothing takes nothing back
		{500 * time.Millisecond, time.Millisecond, 3, true, 0},  // the clock of the database was set back
		{100 * time.Millisecond, time.Millisecond, 0, false, 3},
	} {
		at = at.Add(step.after)
		if got := look(step.took, step.first, step.page); got != step.want {
			t.Fatalf("step %d looks from %d, want %d", i, got, step.want)
		}
	}
}
