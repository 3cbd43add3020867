package relay_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

var (
	simSeeds = flag.Int("sim.seeds", 300, "seeds of the simulation")
	simFirst = flag.Int64("sim.first", 1, "its first seed")
)

// world is an outbox in memory, a broker, and relays on them, inside a synctest bubble.
type world struct {
	t      testing.TB
	rand   *rand.Rand
	db     *relaytest.Database
	broker *relaytest.Broker
	opt    relay.Options
	stores []*relaytest.Memory
	relays []*running
	wrap   func(relay.Publisher) relay.Publisher // of each one that is made
	waker  func(relay.Waker) relay.Waker         // of each store
	store  func(relay.Store) relay.Store
	cache  func(relay.Lease) (relay.Cache, error)
}

type running struct {
	r      *relay.Relay
	cancel context.CancelFunc
	done   chan error
}

func newWorld(t testing.TB, config relaytest.BrokerConfig) *world {
	w := &world{t: t, db: relaytest.NewDatabase().Strict(), broker: relaytest.NewBroker(config), opt: relay.Defaults(),
		wrap: func(p relay.Publisher) relay.Publisher { return p }, waker: func(w relay.Waker) relay.Waker { return w }, store: func(s relay.Store) relay.Store { return s }}
	w.opt.Routes = []relay.Route{{Name: "all", Destination: "d", Retry: relay.DefaultRetry()}}
	return w
}

// start runs one more relay.
func (w *world) start() *running {
	w.t.Helper()
	opt := w.opt
	opt.Instance = fmt.Sprintf("relay-%d", len(w.relays)+1)
	store := w.db.Store()
	w.stores = append(w.stores, store)
	opt.Store, opt.Waker, opt.Pauser = w.store(store), w.waker(store), store
	for _, route := range opt.Routes { // all lead to the one broker
		if slices.ContainsFunc(opt.Destinations, func(d relay.Destination) bool { return d.Name == route.Destination }) {
			continue
		}
		opt.Destinations = append(opt.Destinations, relay.Destination{Name: route.Destination, Capabilities: w.broker.Capabilities(), New: func() (relay.Publisher, error) {
			return w.wrap(w.broker.Publisher(opt.Instance)), nil
		}})
	}
	opt.Cache = w.cache
	r, err := relay.New(opt)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	run := &running{r: r, cancel: cancel, done: make(chan error, 1)}
	go func() { run.done <- r.Run(ctx) }()
	w.relays = append(w.relays, run)
	return run
}

func (r *running) stop(t testing.TB) {
	t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func (w *world) stopAll() {
	for _, r := range w.relays {
		r.stop(w.t)
	}
	w.relays = nil
	if n := w.broker.Clients(); n != 0 {
		w.t.Errorf("%d publishers were not closed", n)
	}
}

// await advances simulated time until done holds.
func (w *world) await(what string, limit time.Duration, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(limit); !done(); {
		if time.Now().After(end) {
			for _, r := range w.relays {
				w.t.Errorf("status: %+v", r.r.Status())
			}
			for _, h := range w.db.HeldRows() {
				w.t.Logf("held: %+v", h)
			}
			w.t.Errorf("after %s: not %s; pending %v, held %d", limit, what, w.db.Pending(), len(w.db.HeldRows()))
			w.stopAll()
			w.t.FailNow()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *world) awaitDrained(limit time.Duration) {
	w.t.Helper()
	w.await("drained", limit, func() bool { return len(w.db.Pending()) == 0 && len(w.db.HeldRows()) == 0 })
}

// TestSimulation runs the engine against random transactions and random faults of database and broker, and judges what the broker stored. A failure prints
// its seed: go test ./relay -run TestSimulation -sim.first=SEED -sim.seeds=1
func TestSimulation(t *testing.T) {
	eachSeed(t, simulate)
}

// eachSeed runs a simulation with every seed that the flags name, each in a bubble of its own.
func eachSeed(t *testing.T, simulation func(t *testing.T, seed int64)) {
	seeds := *simSeeds
	if testing.Short() {
		seeds = min(seeds, 50)
	}
	for i := range seeds {
		seed := *simFirst + int64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { simulation(t, seed) })
		})
	}
}

func simulate(t *testing.T, seed int64) {
	rnd := rand.New(rand.NewPCG(uint64(seed), 17))
	config := relaytest.BrokerConfig{Lanes: 1 + rnd.IntN(4), Dedupes: rnd.IntN(2) == 0, Fences: rnd.IntN(2) == 0, Latency: time.Duration(rnd.IntN(20)) * time.Millisecond,
		MaxBatch: 1 + rnd.IntN(20)}
	w := newWorld(t, config)
	w.rand = rnd
	w.opt.ReadRows, w.opt.Ahead = 3+rnd.IntN(40), 20+rnd.IntN(200)
	if rnd.IntN(3) == 0 {
		w.opt.InlineBytes = 3 // payloads have 3 to 5 bytes
	}
	w.opt.Routes[0].Retry.MaxAttempts = 1000
	w.opt.Routes[0].Retry.MaxAge = 1000 * time.Hour
	w.opt.Routes[0].Retry.Cap = 5 * time.Second
	w.start()
	if rnd.IntN(2) == 0 {
		w.start()
	}
	rewinds := 1
	var ambiguous atomic.Int64
	w.broker.Script(mischief(rand.New(rand.NewPCG(uint64(seed), 18)), &ambiguous))
	steps := 30 + rnd.IntN(60)
	var open []*relaytest.Tx
	for n := range steps {
		time.Sleep(time.Duration(rnd.IntN(400)) * time.Millisecond)
		open = w.business(n, open)
		rewinds += w.fault()
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
	w.stopAll()
	// A database that crashes together with its owner forgets what was settled in the last moments, too.
	relaytest.Check(t, relaytest.Bounds{Q: config.MaxBatch*5 + 50, Rewinds: rewinds + int(ambiguous.Load()), Placed: true}, w.db, w.broker)
}

// TestCrashesOfTheDatabaseRepeatNothing: an owner that lives through a crash of the database repeats what the crash took back at the store, never at the
// broker, however claims, settlements and reads are held up meanwhile.
func TestCrashesOfTheDatabaseRepeatNothing(t *testing.T) {
	eachSeed(t, crashes)
}

func crashes(t *testing.T, seed int64) {
	rnd := rand.New(rand.NewPCG(uint64(seed), 19))
	w := newWorld(t, relaytest.BrokerConfig{Lanes: 1 + rnd.IntN(4), Latency: time.Duration(rnd.IntN(40)) * time.Millisecond, MaxBatch: 1 + rnd.IntN(20)})
	w.rand = rnd
	w.opt.ReadRows, w.opt.Ahead = 3+rnd.IntN(40), 20+rnd.IntN(200)
	w.start()
	var open []*relaytest.Tx
	for n := range 40 {
		open = w.business(n, open)
		if n%4 == 3 {
			for _, op := range []relaytest.Op{relaytest.OpClaim, relaytest.OpSettle, relaytest.OpRead} {
				w.stores[0].Fail(op, rnd.IntN(4), context.DeadlineExceeded)
			}
			w.db.Crash()
			w.db.Up()
		}
		time.Sleep(time.Duration(rnd.IntN(200)) * time.Millisecond)
	}
	for _, tx := range open {
		_ = tx.Commit()
	}
	w.awaitDrained(5 * time.Minute)
	w.stopAll()
	relaytest.Check(t, relaytest.Bounds{}, w.db, w.broker)
}

// business writes messages: keys without overlap inside one goroutine, some transactions left open for a while, some rolled back.
func (w *world) business(n int, open []*relaytest.Tx) []*relaytest.Tx {
	tx := w.db.Begin()
	for j := range 1 + w.rand.IntN(8) {
		key := fmt.Sprintf("k%d", w.rand.IntN(6))
		if len(open) > 0 || w.rand.IntN(4) == 0 {
			key = "" // an open transaction may hold a key's lock; keyless ones never wait
		}
		m := relay.Message{Topic: "t", Key: key, Payload: fmt.Appendf(nil, "%d-%d", n, j)}
		if w.rand.IntN(30) == 0 {
			m.DeliverAfter = time.Now().Add(time.Duration(w.rand.IntN(5)) * time.Second)
		}
		tx.Write(m)
	}
	switch w.rand.IntN(8) {
	case 0:
		tx.Rollback()
	case 1:
		return append(open, tx)
	case 2, 3:
		_ = tx.CommitAsync()
	default:
		_ = tx.Commit()
	}
	if len(open) > 0 && w.rand.IntN(3) == 0 {
		_ = open[0].Commit()
		open = open[1:]
	}
	return open
}

// fault harms database or broker, sometimes. It returns how many rewinds that allows.
func (w *world) fault() int {
	store := w.stores[w.rand.IntN(len(w.stores))]
	down := context.DeadlineExceeded
	switch w.rand.IntN(30) {
	case 0:
		w.db.Crash()
		w.db.Up()
		return 1
	case 1:
		w.db.Promote(0)
		return 1
	case 2:
		w.broker.Down()
	case 3, 4:
		w.broker.Up()
	case 5:
		store.Fail(relaytest.OpClaim, 1+w.rand.IntN(3), down)
	case 6:
		store.Lose(relaytest.OpClaim, 1, down)
	case 7:
		store.Lose(relaytest.OpSettle, 1+w.rand.IntN(2), down)
	case 8:
		store.Fail(relaytest.OpSettle, 1+w.rand.IntN(4), down)
	case 9:
		store.Fail(relaytest.OpRead, 1+w.rand.IntN(4), down)
	case 10:
		store.Fail(relaytest.OpRenew, 1+w.rand.IntN(6), down)
		return 1
	case 11:
		store.Lose(relaytest.OpHeld, 1, down)
	case 12:
		store.Fail(relaytest.OpFetch, 1+w.rand.IntN(3), down)
	case 13:
		w.broker.LaneDown(relay.Lane{Topic: "t", Index: 0}, w.rand.IntN(2) == 0)
	case 14:
		_ = w.db.Pause([]string{"", "d"}[w.rand.IntN(2)], "sim")
	case 15, 16:
		w.resume()
	case 17:
		store.Fail(relaytest.OpPaused, 1+w.rand.IntN(3), down)
	}
	return 0
}

// mischief answers some calls with an ambiguous answer or a refusal.
func mischief(rnd *rand.Rand, ambiguous *atomic.Int64) relaytest.Script {
	return func(relaytest.Call) relaytest.Answer { // under the broker's lock
		switch rnd.IntN(12) {
		case 0:
			ambiguous.Add(1)
			return relaytest.LoseAnswer()
		case 1:
			return relaytest.LoseBatch()
		case 2:
			return relaytest.Refuse(relaytest.LaneGone)
		case 3:
			if rnd.IntN(4) == 0 {
				return relaytest.Refuse(relaytest.NoTopic)
			}
		}
		return relaytest.Answer{}
	}
}

// resume ends every pause.
func (w *world) resume() {
	_, _ = w.db.Resume(""), w.db.Resume("d")
}
