package relay

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// noCache is a cache of which only Has is asked.
type noCache struct{ Cache }

func (noCache) Has(CacheLane, ID) bool { return false }

// cachedFlow is a flow of one lane whose destination is down, with messages 1 to n in the queue, each of a key of its own.
func cachedFlow(n int) (*flow, *lane) {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	f, l := shutFlow(0, keys...)
	f.cache, f.mainAfter = noCache{}, ID(n)
	f.router, _ = NewRouter([]Route{{Name: "all", Topic: "*", Destination: "d", Retry: DefaultRetry()}})
	l.dest.breaker.open, l.dest.Capabilities = true, Capabilities{MaxBatch: 2, MaxBytes: 1 << 20}
	return f, l
}

func (f *flow) row(l *lane, id ID, key string) {
	page := newLivePage([]Message{{ID: id, Topic: "t", Key: key}}, time.Now())
	f.pages.pages = append(f.pages.pages, page)
	m := &page.msgs[0]
	m.page, m.route = page, &Route{Destination: "d", Retry: DefaultRetry()}
	f.admit(l, m)
	f.mainAfter = max(f.mainAfter, id)
}

func (f *flow) spillOne(t *testing.T) errand {
	t.Helper()
	all := f.spill(time.Now())
	if len(all) != 1 {
		t.Fatalf("%d errands", len(all))
	}
	return all[0]
}

func messages(ids ...ID) (list []*Message) {
	for _, id := range ids {
		list = append(list, &Message{ID: id, Topic: "t", Key: fmt.Sprint("k", id)})
	}
	return list
}

func TestRowsGoThroughTheCache(t *testing.T) {
	f, l := cachedFlow(3)
	e := f.spillOne(t)
	if got := idsOf(e.put); !slices.Equal(got, []ID{1, 2, 3}) || len(l.queue) != 0 || f.ahead != 3 {
		t.Fatalf("put %v, queue %v, ahead %d", got, idsOf(l.queue), f.ahead)
	}
	f.row(l, 4, "x") // while they are on their way
	if len(l.queue) != 0 || !slices.Equal(idsOf(l.tail), []ID{4}) || f.spills(l, time.Now()) {
		t.Fatalf("queue %v, tail %v", idsOf(l.queue), idsOf(l.tail))
	}
	f.putDone(e, 3, nil, time.Now())
	if f.ahead != 1 || !l.spooled || f.lowWater() != 0 {
		t.Errorf("ahead %d, spooled %v, low water %d", f.ahead, l.spooled, f.lowWater())
	}
	l.dest.breaker.alive()
	if _, refill, _ := f.take(l, true, time.Now()); !refill {
		t.Fatal("the cache comes before the tail")
	}
	f.nextDone(f.goes(l), messages(1, 2, 3), time.Now())
	if !slices.Equal(idsOf(l.queue), []ID{1, 2, 3}) || !slices.Equal(idsOf(l.tail), []ID{4}) {
		t.Fatalf("queue %v, tail %v", idsOf(l.queue), idsOf(l.tail))
	}
	for want := range slices.Chunk([]ID{1, 2, 3}, 2) {
		batch, _, _ := f.take(l, true, time.Now())
		if !slices.Equal(idsOf(batch), want) {
			t.Fatalf("batch %v, want %v", idsOf(batch), want)
		}
		acked := make([]Outcome, len(batch))
		for i := range acked {
			acked[i].Kind = Acked
		}
		f.resolve(l, acked, 0, time.Now())
	}
	if _, refill, _ := f.take(l, true, time.Now()); !refill {
		t.Fatal("whether the cache is empty is asked")
	}
	e = f.goes(l)
	if !slices.Equal(e.forget, []ID{1, 2, 3}) {
		t.Errorf("to be forgotten: %v", e.forget)
	}
	f.nextDone(e, nil, time.Now())
	if batch, _, _ := f.take(l, true, time.Now()); !slices.Equal(idsOf(batch), []ID{4}) || l.behindCache() {
		t.Errorf("at last: %v", idsOf(batch))
	}
}

// What did not fit waits behind what did; when there is no room in memory either, it is the catch-up reader's.
func TestFullCacheLeavesTheRestBehindIt(t *testing.T) {
	f, l := cachedFlow(4)
	now := time.Now()
	f.putDone(f.spillOne(t), 2, ErrCacheFull, now)
	if !slices.Equal(idsOf(l.tail), []ID{3, 4}) || len(l.queue) != 0 || f.spills(l, now) {
		t.Fatalf("tail %v, queue %v", idsOf(l.tail), idsOf(l.queue))
	}
	f.drop(l)
	if l.from != 3 || f.ahead != 0 || f.lowWater() != 0 {
		t.Errorf("behind from %d, ahead %d, low water %d", l.from, f.ahead, f.lowWater())
	}
	f.row(l, 5, "x")
	if f.spills(l, now.Add(time.Hour)) {
		t.Error("what comes behind a gap must not be put: it would overtake")
	}
}

// What the cache handed out and memory let go is still in the cache: it counts below the low-water mark, and nothing has to be read again.
func TestHandedOutRowsAreLetGo(t *testing.T) {
	f, l := cachedFlow(2)
	f.putDone(f.spillOne(t), 2, nil, time.Now())
	f.nextDone(f.goes(l), messages(1, 2), time.Now())
	f.nextDone(f.goes(l), nil, time.Now())
	f.drop(l)
	if l.from != 0 || !l.rewind || !l.spooled || f.ahead != 0 || f.lowWater() != 0 {
		t.Errorf("behind from %d, rewind %v, ahead %d, low water %d", l.from, l.rewind, f.ahead, f.lowWater())
	}
}

// A lane whose cache cannot be read goes on from the table, from the lowest message that is not in memory.
func TestLaneLeavesTheCache(t *testing.T) {
	f, l := cachedFlow(6)
	f.putDone(f.spillOne(t), 6, nil, time.Now())
	f.row(l, 7, "x")
	f.nextDone(f.goes(l), messages(1, 2), time.Now())
	f.leaveCache(l, 3)
	if l.from != 3 || len(l.tail) != 0 || !slices.Equal(idsOf(l.queue), []ID{1, 2}) {
		t.Errorf("behind from %d, tail %v, queue %v", l.from, idsOf(l.tail), idsOf(l.queue))
	}
	f.uncache(l, 0)
	f.drop(l)
	if l.from != 1 || l.spooled {
		t.Errorf("after it was dropped from memory too: behind from %d", l.from)
	}
}

// A message of a closed key is not blocked before what of its key is in the cache.
func TestClosedKeyWaitsBehindTheCache(t *testing.T) {
	f, l := cachedFlow(1)
	e := f.spillOne(t)
	k := Key{"t", "k0"}
	f.keys.close(k, 77) // meanwhile its head failed
	f.shut(k)
	f.row(l, 2, "k0")
	f.putDone(e, 0, errors.New("disk"), time.Now())
	if got := f.heldIDs(Blocked); len(got) != 0 || !slices.Equal(idsOf(l.tail), []ID{1, 2}) {
		t.Fatalf("blocked %v, tail %v", got, idsOf(l.tail))
	}
	l.dest.breaker.alive()
	f.take(l, true, time.Now())
	if got := f.heldIDs(Blocked); !slices.Equal(got, []ID{1, 2}) {
		t.Errorf("blocked %v", got)
	}
}
