package relay_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// Very many keys are closed. The start asks for them page by page; after an act of a person the relay asks for the keys that it touched, and for all only when
// they are too many to be named. What other messages wait for meanwhile is one page at most.
func TestManyClosedKeysAreAskedForInPages_D7(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys = 12_001 // three pages
		w := newWorld(t, relaytest.BrokerConfig{Dedupes: true})
		dead := holdDead(t, w.db, keys)
		r := w.start()
		defer w.stopAll()
		w.await("it owns", time.Minute, func() bool { return r.r.Status().Owner && w.stores[0].Calls(relaytest.OpHeld) > 0 })
		calls := func(what string, want int, do func()) {
			t.Helper()
			before := w.stores[0].Calls(relaytest.OpClosed)
			do()
			if got := w.stores[0].Calls(relaytest.OpClosed) - before; got != want {
				t.Errorf("%s: %d calls of Closed, want %d", what, got, want)
			}
		}
		if got := w.stores[0].Calls(relaytest.OpClosed); got != 3 {
			t.Errorf("at the start: %d calls of Closed, want 3", got)
		}
		arrives := func(key string, sent bool) {
			t.Helper()
			id := w.db.Send("t", key, "x")
			gone := func() bool { return !slices.Contains(w.db.Pending(), id) }
			w.await("it is read", 2*time.Second, gone)
			held := slices.ContainsFunc(w.db.HeldRows(), func(h relaytest.HeldRow) bool { return h.ID == id })
			if held == sent {
				t.Errorf("a message with key %s: held %v, want %v", key, held, !sent)
			}
		}
		for _, i := range []int{0, 4999, 5000, keys - 1} { // the first and last of pages
			arrives(fmt.Sprint("dead", i), false)
		}
		act := func(ids ...relay.ID) func() {
			return func() {
				if n, err := w.db.Discard(ids...); err != nil || n != len(ids) {
					t.Fatalf("discard: %d, %v", n, err)
				}
				time.Sleep(3 * time.Second)
			}
		}
		calls("one key", 1, act(dead[7]))
		arrives("dead7", true)
		calls("several keys", 3, act(dead[20:24]...))
		arrives("dead22", true)
		w.stores[0].Delay(relaytest.OpClosed, time.Second)
		calls("at a slow database", 3, func() {
			act(dead[30:40]...)()
			arrives("other", true)
		})
		w.stores[0].Delay(relaytest.OpClosed, 0)
		calls("in a quiet quarter of an hour", 3*15, func() { time.Sleep(15*time.Minute + 30*time.Second) })
		w.stores[0].Delay(relaytest.OpClosed, 4*time.Second)
		calls("when an answer takes 12 s", 3*4, func() { time.Sleep(15*time.Minute + 30*time.Second) })
	})
}

// holdDead leaves n dead messages behind, each with a key of its own: dead0 and so on.
func holdDead(t *testing.T, db *relaytest.Database, n int) (ids []relay.ID) {
	t.Helper()
	tx := db.Begin()
	for i := range n {
		ids = append(ids, tx.Publish("t", fmt.Sprint("dead", i), "x"))
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	s := db.Store()
	lease, err := s.Acquire(t.Context(), relay.Terms{Owner: "before", Lease: time.Minute, Configured: []string{"d"}})
	if err != nil {
		t.Fatal(err)
	}
	var hold []relay.Hold
	after := relay.ID(0)
	for len(hold) < n {
		page, err := s.Read(t.Context(), lease, after, relay.ReadLimit{Rows: n, InlineBytes: 10, PageBytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		after = page.After
		for i := range page.Messages {
			hold = append(hold, relay.Hold{ID: page.Messages[i].ID, State: relay.Dead, Attempts: 1, Destination: "d", Failure: &relay.Failure{Outcome: relay.Rejected}})
		}
		if len(page.Messages) == 0 {
			continue
		}
		if err := s.Claim(t.Context(), lease, page.Messages[len(page.Messages)-1].ID, page.Incarnation); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Settle(t.Context(), lease, relay.Settlement{Hold: hold}); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	return ids
}
