package relay_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// caches gives each ownership a cache, many of them with too little room or with damage.
type caches struct {
	mu    sync.Mutex
	rand  *rand.Rand
	given map[string]*relaytest.Cache // by relay, the newest
	all   []*relaytest.Cache
}

func (c *caches) open(lease relay.Lease) (relay.Cache, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.given[lease.Owner]; old != nil && old.Status().Closed == nil {
		old.Begin()
		return old, nil
	}
	cache := &relaytest.Cache{}
	if c.rand.IntN(2) == 0 {
		cache.Room = 1 + c.rand.IntN(100)
	}
	if c.rand.IntN(3) == 0 {
		for range 10 {
			cache.Damage(relay.ID(c.rand.IntN(400)))
		}
	}
	if c.given == nil {
		c.given = map[string]*relaytest.Cache{}
	}
	c.given[lease.Owner] = cache
	c.all = append(c.all, cache)
	return cache, nil
}

func (c *caches) used() (puts, acks int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cache := range c.all {
		p, a := cache.Used()
		puts, acks = puts+p, acks+a
	}
	return puts, acks
}

// close makes every cache fail.
func (c *caches) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cache := range c.given {
		cache.Close()
	}
}

// simulatedPuts and simulatedAcks count what all seeds put into caches.
var simulatedPuts, simulatedAcks atomic.Int64

// TestSimulationOfTheCache runs the engine against a broker that is down most of the time, with caches that are full, damaged or gone. Nothing is lost, no key
// changes its order.
func TestSimulationOfTheCache(t *testing.T) {
	eachSeed(t, simulateCache)
	if simulatedPuts.Load() == 0 || simulatedAcks.Load() == 0 {
		t.Errorf("all seeds put %d messages and %d acks into caches: the simulation shows nothing", simulatedPuts.Load(), simulatedAcks.Load())
	}
}

func simulateCache(t *testing.T, seed int64) {
	given := &caches{rand: rand.New(rand.NewPCG(uint64(seed), 24))}
	simulateOutages(t, seed, given)
	puts, acks := given.used()
	simulatedPuts.Add(int64(puts))
	simulatedAcks.Add(int64(acks))
}

// simulateOutages is a broker that is down most of the time and changes its lanes, while the outbox is read again and again from the beginning; nil = without
// caches.
func simulateOutages(t *testing.T, seed int64, given *caches) {
	rnd := rand.New(rand.NewPCG(uint64(seed), 23))
	config := relaytest.BrokerConfig{Lanes: 1 + rnd.IntN(4), Dedupes: rnd.IntN(2) == 0, Fences: rnd.IntN(2) == 0, Latency: time.Duration(rnd.IntN(20)) * time.Millisecond,
		MaxBatch: 1 + rnd.IntN(20)}
	w := newWorld(t, config)
	w.rand = rnd
	if given != nil {
		w.cache = given.open
	}
	w.opt.ReadRows, w.opt.Ahead = 3+rnd.IntN(40), 10+rnd.IntN(100)
	if rnd.IntN(3) == 0 {
		w.opt.InlineBytes = 3 // payloads have 3 to 5 bytes
	}
	w.opt.Routes[0].Retry.MaxAttempts = 1000
	w.opt.Routes[0].Retry.MaxAge = 1000 * time.Hour
	w.opt.Routes[0].Retry.Cap = 5 * time.Second
	w.opt.ProbeCap = time.Second
	w.start()
	if rnd.IntN(3) == 0 {
		w.start()
	}
	rewinds := 1
	var ambiguous atomic.Int64
	w.broker.Script(mischief(rand.New(rand.NewPCG(uint64(seed), 25)), &ambiguous))
	var open []*relaytest.Tx
	for n := range 60 + rnd.IntN(60) {
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
		open = w.business(n, open)
		switch rnd.IntN(20) {
		case 0, 1, 2:
			w.broker.Down()
		case 3, 4:
			w.broker.Up()
		case 5:
			w.broker.LaneDown(relay.Lane{Topic: "t", Index: 0}, rnd.IntN(2) == 0)
		case 6:
			w.relays[0].r.LanesChanged("d")
		case 7:
			w.relays[0].r.Rescan()
		case 8:
			if rnd.IntN(4) == 0 && given != nil {
				given.close() // with acks in it
				rewinds++
			}
		case 9:
			w.stores[0].Fail(relaytest.OpSettle, rnd.IntN(12), context.DeadlineExceeded)
		case 11:
			for _, op := range []relaytest.Op{relaytest.OpSettle, relaytest.OpRead, relaytest.OpClaim, relaytest.OpRenew, relaytest.OpHeld} {
				w.stores[0].Fail(op, 20, context.DeadlineExceeded)
			}
			rewinds++
		case 10:
			w.broker.Down()
			w.broker.Up() // for the time of no answer
		default:
			rewinds += w.fault()
		}
	}
	for _, tx := range open {
		_ = tx.Commit()
	}
	w.broker.Script(nil)
	w.broker.Up()
	w.broker.LaneDown(relay.Lane{Topic: "t", Index: 0}, false)
	w.db.Up()
	w.resume()
	w.awaitDrained(20 * time.Minute)
	if given != nil {
		w.await("the owner's cache empty", time.Minute, func() bool { return given.empty(w.relays) })
	}
	w.stopAll()
	relaytest.Check(t, relaytest.Bounds{Q: config.MaxBatch*5 + 50, Rewinds: rewinds + int(ambiguous.Load()), Placed: true}, w.db, w.broker)
}

// empty says whether no owner's cache has messages left. One that failed counts as empty.
func (c *caches) empty(relays []*running) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, r := range relays {
		cache := c.given[fmt.Sprintf("relay-%d", i+1)]
		if cache == nil || !r.r.Status().Owner || cache.Status().Closed != nil {
			continue
		}
		for _, d := range cache.Status().Destinations {
			if d.Messages > 0 {
				return false
			}
		}
	}
	return true
}

// TestOutageGoesThroughTheCache: what comes while the broker is down goes into the cache, no message is read twice, and all leave in order when it is back.
func TestOutageGoesThroughTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Lanes: 3, MaxBatch: 10})
		cache := &relaytest.Cache{}
		w.cache = func(relay.Lease) (relay.Cache, error) {
			time.Sleep(w.opt.Lease) // a slow disk: the lease is renewed meanwhile
			return cache, nil
		}
		var behind atomic.Int64
		w.opt.Events.Behind = func(string, relay.Lane, relay.ID, bool) { behind.Add(1) }
		w.opt.Ahead, w.opt.ReadRows = 100, 50
		w.start()
		write := func(n int) {
			tx := w.db.Begin()
			for i := range n {
				tx.Write(relay.Message{Topic: "t", Key: fmt.Sprintf("k%d", i%7), Payload: []byte("x")})
			}
			_ = tx.Commit()
		}
		write(50)
		w.awaitDrained(time.Minute)
		w.broker.Down()
		for range 20 {
			write(100)
			time.Sleep(time.Second)
		}
		cached := func() (n int) {
			for _, d := range w.relays[0].r.Status().Destinations {
				n += d.Cached
			}
			return n
		}
		w.await("nearly all cached", time.Minute, func() bool { return cached() >= 1950 })
		if n := w.relays[0].r.Status().Ahead; n > 100 {
			t.Errorf("%d messages in memory, the bound is 100", n)
		}
		w.broker.Up()
		w.awaitDrained(time.Minute)
		w.await("the cache is empty", time.Minute, func() bool { return cached() == 0 })
		w.stopAll()
		if behind.Load() != 0 {
			t.Error("a lane fell behind although the cache had room")
		}
		if n, _ := cache.Used(); n < 1950 || n > 2000 {
			t.Errorf("%d messages went through the cache, want 1950 to 2000: each once", n)
		}
		relaytest.Check(t, relaytest.Bounds{}, w.db, w.broker)
	})
}

// TestAcksOutliveTheOwnership: while the database is away, lanes go on beyond the bound on unsettled batches, because their acks are in the cache; a relay that
// stops then and starts again settles them, and repeats nothing.
func TestAcksOutliveTheOwnership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Lanes: 2, MaxBatch: 5, Fences: true})
		cache := &relaytest.Cache{}
		w.cache = func(relay.Lease) (relay.Cache, error) { cache.Begin(); return cache, nil }
		w.opt.SettleBatches, w.opt.Ahead, w.opt.ReadRows = 1, 1000, 500
		w.opt.ShutdownTimeout = time.Second
		w.broker.Down()
		w.start()
		tx := w.db.Begin()
		for i := range 400 {
			tx.Write(relay.Message{Topic: "t", Key: fmt.Sprintf("k%d", i%7), Payload: []byte("x")})
		}
		_ = tx.Commit()
		w.broker.Up()
		w.await("something is sent", time.Minute, func() bool { return len(w.broker.Records()) > 0 })
		w.stores[0].Fail(relaytest.OpSettle, 1_000_000, context.DeadlineExceeded)
		w.await("all are sent without a settlement", time.Minute, func() bool { return len(w.broker.Records()) == 400 })
		if n := len(w.db.Pending()); n < 300 {
			t.Fatalf("only %d are unsettled: this shows nothing", n)
		}
		time.Sleep(time.Second) // for the last acks to be kept
		w.stopAll()
		w.stores = nil
		w.start()
		w.awaitDrained(time.Minute)
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{}, w.db, w.broker)
	})
}
