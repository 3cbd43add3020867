package waybillbroker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// world is an outbox in memory and a node, inside a synctest bubble; relays come and go.
type world struct {
	t     *testing.T
	db    *relaytest.Database
	node  *node
	lossy *lossy
	opt   relay.Options
}

// start runs a relay until the returned function is called: killed (its connections cut, nothing settled) or stopped in order.
func (w *world) start() (end func(kill bool)) {
	w.t.Helper()
	store := w.db.Store()
	opt := w.opt
	opt.Instance, opt.Store, opt.Waker = "relay", store, store
	opt.Lease, opt.WriteTimeout, opt.TCPTimeout, opt.Quarantine = 3*time.Second, 300*time.Millisecond, 300*time.Millisecond, time.Second
	opt.Routes = []relay.Route{{Name: "all", Destination: "bundled", Retry: relay.DefaultRetry()}}
	opt.Destinations = []relay.Destination{{Name: "bundled", Capabilities: Capabilities(), New: func() (relay.Publisher, error) {
		return New(Config{Broker: w.lossy, Unsettled: func(_ context.Context, ids []relay.ID) (open []relay.ID, err error) {
			left := w.db.Pending()
			for _, h := range w.db.HeldRows() {
				left = append(left, h.ID)
			}
			for _, id := range ids {
				if slices.Contains(left, id) {
					open = append(open, id)
				}
			}
			return open, nil
		}})
	}}}
	r, err := relay.New(opt)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return func(kill bool) {
		if kill {
			store.Fail(relaytest.OpSettle, 1000, context.DeadlineExceeded) // what is acked now is never marked
			store.Fail(relaytest.OpRelease, 1000, context.DeadlineExceeded)
			store.Fail(relaytest.OpRenew, 1000, context.DeadlineExceeded)
			time.Sleep(30 * time.Millisecond)
		}
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}
}

// drained advances simulated time until nothing is left to send.
func (w *world) drained() {
	w.t.Helper()
	const limit = 20 * time.Second
	for end := time.Now().Add(limit); len(w.db.Pending())+len(w.db.HeldRows()) > 0; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("after %s: %d messages are pending, %d are held", limit, len(w.db.Pending()), len(w.db.HeldRows()))
		}
	}
}

// A relay that ends between ack and mark stores nothing twice: the next one finds what lies there. Nor does a lost answer, a lost request, or a node that loses
// its power.
func TestNothingIsStoredTwice(t *testing.T) { synctest.Test(t, nothingIsStoredTwice) }

func nothingIsStoredTwice(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	memory := vfs.NewMemory()
	w := &world{t: t, db: relaytest.NewDatabase(), node: startNode(t, "node", memory), opt: relay.Defaults()}
	w.lossy = &lossy{Broker: w.node.Node}
	w.opt.ShutdownTimeout = 300 * time.Millisecond
	for topic, partitions := range map[string]int{"a": 1, "b": 3} {
		if err := w.node.CreateTopic(t.Context(), broker.Topic{Name: topic, Partitions: partitions}); err != nil {
			t.Fatal(err)
		}
	}
	var written atomic.Int64
	for life := range 8 {
		end := w.start()
		for range 150 {
			tx := w.db.Begin()
			for range 1 + rnd.IntN(4) {
				topic := []string{"a", "b"}[rnd.IntN(2)]
				tx.Publish(topic, fmt.Sprint("k", rnd.IntN(9)), fmt.Sprint(written.Add(1)))
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			switch rnd.IntN(40) {
			case 0:
				w.lossy.request.Store(1)
			case 1:
				w.lossy.answer.Store(1)
			case 2:
				time.Sleep(20 * time.Millisecond)
			}
		}
		w.lossy.request.Store(0)
		w.lossy.answer.Store(0)
		kill := life%4 != 3
		if !kill {
			w.drained()
		}
		end(kill)
		if life%3 == 2 {
			image := memory.Crash(vfs.Damage{Writes: rnd.Float64(), Names: rnd.Float64(), Grows: rnd.Float64()}, rnd)
			if err := w.node.stop(); err != nil {
				t.Fatal(err)
			}
			memory = image
			w.node = startNode(t, "node", memory)
			w.lossy.Broker = w.node.Node
		}
	}
	end := w.start()
	w.drained()
	end(false)
	times := map[string]int{}
	high := map[string]int64{}
	for _, topic := range []string{"a", "b"} {
		for _, r := range readAll(t, w.node.Node, topic) {
			times[string(r.Message.Payload)]++
			k := topic + r.Message.Key
			if int64(r.Message.ID) < high[k] {
				t.Errorf("key %s: message %d lies behind %d", k, r.Message.ID, high[k])
			}
			high[k] = int64(r.Message.ID)
		}
	}
	for i := range written.Load() {
		if n := times[fmt.Sprint(i+1)]; n != 1 {
			t.Errorf("message %d is stored %d times", i+1, n)
		}
	}
	if int64(len(times)) != written.Load() {
		t.Errorf("%d messages are stored, %d were written", len(times), written.Load())
	}
}

// The floor rises to what is durably marked, so that what the broker remembers does not grow without end.
func TestFloorRises(t *testing.T) { synctest.Test(t, floorRises) }

func floorRises(t *testing.T) {
	w := &world{t: t, db: relaytest.NewDatabase(), node: startNode(t, "node", vfs.NewMemory()), opt: relay.Defaults()}
	w.lossy = &lossy{Broker: w.node.Node}
	if err := w.node.CreateTopic(t.Context(), broker.Topic{Name: "a", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	end := w.start()
	for i := range 300 {
		w.db.Send("a", fmt.Sprint("k", i%5), fmt.Sprint(i))
		if i%50 == 49 {
			w.drained()
		}
	}
	w.drained()
	for range 3 { // each claim makes durable what was marked before, each request tells the floor of then
		w.db.Send("a", "k0", "one more")
		w.drained()
	}
	end(false)
	sources, err := sourcesOf([]relay.Generation{{UUID: w.db.Messages()[0].MessageID[:36]}})
	if err != nil {
		t.Fatal(err)
	}
	state, err := w.node.SourceState(t.Context(), sources[0].id, 1<<40, "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	if state.Floor < 295 || len(state.Stored) > 10 {
		t.Errorf("floor %d, %d messages remembered", state.Floor, len(state.Stored))
	}
}

func TestLedger(t *testing.T) {
	l := newLedger()
	for i, offset := range []int64{3, 4, 7, 9} {
		l.add(relay.ID(i+1), offset)
	}
	l.add(9, 5) // found late
	want := func(floor int64) {
		t.Helper()
		if l.floor != floor {
			t.Errorf("floor %d, want %d", l.floor, floor)
		}
	}
	want(-1)
	l.settle(2)
	want(-1)
	l.settle(1)
	want(5)
	if l.settle(1) || l.settle(77) {
		t.Error("an id that is not there was settled")
	}
	l.settle(4)
	l.settle(3)
	want(5)
	l.settle(9)
	want(10)
	l.add(10, 8)
	if len(l.items) != 0 {
		t.Error("something below the floor was added")
	}
}
