package relay

import (
	"context"
	"slices"
	"testing"
	"time"
)

// shutFlow is a flow of one lane with a message of each key in it, ids from 1; the first `publishing` of them are on their way.
func shutFlow(publishing int, keys ...string) (*flow, *lane) {
	opt := Defaults()
	router, _ := NewRouter(nil)
	d := &destination{Destination: Destination{Name: "d"}, opened: true, lanes: map[Lane]*lane{}, topics: map[string]*pause{},
		signal: make(chan struct{}, 1), breaker: breaker{openAfter: 5, initial: time.Second, ceiling: time.Minute}}
	f := &flow{opt: &opt, router: router, dests: []*destination{d}, byName: map[string]*destination{"d": d}, out: &group{}, lane: func(*lane) {}}
	l := f.laneFor(d, Lane{Topic: "t"})
	route := &Route{Destination: "d", Retry: DefaultRetry()}
	for i, key := range keys {
		m := &Message{ID: ID(i + 1), Topic: "t", Key: key}
		m.route = route
		f.enter(m)
		l.push(m)
	}
	if publishing > 0 {
		l.fill(publishing, 1<<20, true)
		l.busy = true
	}
	return f, l
}

func (f *flow) heldIDs(state HeldState) (ids []ID) {
	for _, h := range f.out.holds {
		if h.State == state {
			ids = append(ids, h.ID)
		}
	}
	return ids
}

func idsOf(ms []*Message) (ids []ID) {
	for _, m := range ms {
		ids = append(ids, m.ID)
	}
	return ids
}

// A message is held as blocked only after every earlier one of its key is settled or held.
func TestClosedKeysWaitForWhatMayBeStored(t *testing.T) {
	rejected, unknown := Outcome{Kind: Rejected, Class: ClassTooLarge}, Outcome{Kind: Unknown, Class: ClassTimeout}
	behind, away, acked := Outcome{Kind: Unavailable, Scope: ScopeKey}, Outcome{Kind: Unavailable, Scope: ScopeLane}, Outcome{Kind: Acked}
	a := Key{"t", "a"}
	now := time.Now()
	check := func(t *testing.T, f *flow, l *lane, open, queue, blocked []ID) {
		t.Helper()
		if got := idsOf(l.open); !slices.Equal(got, open) {
			t.Errorf("open batch %v, want %v", got, open)
		}
		if got := idsOf(l.queue); !slices.Equal(got, queue) {
			t.Errorf("queue %v, want %v", got, queue)
		}
		if got := f.heldIDs(Blocked); !slices.Equal(got, blocked) {
			t.Errorf("blocked %v, want %v", got, blocked)
		}
		bytes := 0
		for _, m := range l.queue {
			bytes += m.Weight()
		}
		if l.bytes != bytes || f.ahead != len(l.open)+len(l.queue) {
			t.Errorf("the lane counts %d bytes, not %d; the flow %d messages, not %d", l.bytes, bytes, f.ahead, len(l.open)+len(l.queue))
		}
	}
	t.Run("unsent behind a refused one, in a batch that may be stored", func(t *testing.T) {
		f, l := shutFlow(3, "a", "a", "b", "a")
		f.resolve(l, []Outcome{rejected, behind, unknown}, 0, now)
		check(t, f, l, []ID{3}, nil, []ID{2, 4})
		if !l.maybe {
			t.Error("the batch that stays is not known as one that may be stored")
		}
	})
	t.Run("what may be stored keeps what is behind it", func(t *testing.T) {
		f, l := shutFlow(3, "a", "a", "a", "a", "b")
		f.resolve(l, []Outcome{rejected, unknown, away}, 0, now)
		check(t, f, l, []ID{2}, []ID{3, 4, 5}, nil)
		late := &Message{ID: 9, Topic: "t", Key: "a"}
		late.route = l.queue[0].route
		f.admit(l, late)
		check(t, f, l, []ID{2}, []ID{3, 4, 5, 9}, nil)
		l.busy = true
		f.resolve(l, []Outcome{unknown}, 0, now)
		check(t, f, l, []ID{2}, []ID{3, 4, 5, 9}, nil)
		l.busy = true
		f.resolve(l, []Outcome{acked}, 0, now)
		check(t, f, l, nil, []ID{5}, []ID{3, 4, 9})
	})
	t.Run("it leaves the lane", func(t *testing.T) {
		f, l := shutFlow(2, "a", "a", "a")
		f.resolve(l, []Outcome{rejected, unknown}, 0, now)
		check(t, f, l, []ID{2}, []ID{3}, nil)
		f.moveOut(l, unknown, true, 0)
		check(t, f, l, nil, nil, []ID{3, 2})
	})
	t.Run("the key opens meanwhile", func(t *testing.T) {
		f, l := shutFlow(2, "a", "a", "a")
		f.resolve(l, []Outcome{rejected, unknown}, 0, now)
		f.keys.open(a)
		l.busy = true
		f.resolve(l, []Outcome{acked}, 0, now)
		check(t, f, l, nil, []ID{3}, nil)
	})
	t.Run("found closed while a batch is out", func(t *testing.T) {
		f, l := shutFlow(1, "a", "b", "a")
		f.keys.close(a, 100)
		f.shutFound([]Key{a, {"t", "c"}})
		check(t, f, l, []ID{1}, []ID{2, 3}, nil)
		f.resolve(l, []Outcome{away}, 0, now)
		check(t, f, l, nil, []ID{2}, []ID{1, 3})
	})
	t.Run("found closed while another key is out", func(t *testing.T) {
		f, l := shutFlow(1, "b", "a", "b")
		f.keys.close(a, 100)
		f.shutFound([]Key{a})
		check(t, f, l, []ID{1}, []ID{3}, []ID{2})
	})
}

// The lanes of a destination change while the session ends, which has closed every publisher.
func TestLanesChangeAfterTheEnd(t *testing.T) {
	s := newSession(&Relay{opt: Defaults()}, Lease{})
	f, l := shutFlow(0)
	s.flow = *f
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.closePublishers()
	if s.opened(l.dest); l.dest.opened {
		t.Error("a destination without a publisher is open")
	}
	if s.drainDestination(ctx, l.dest); !l.gone {
		t.Error("the lanes are still there")
	}
}
