package relay_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// announcing notes how often the outbox had been read when an epoch was announced.
type announcing struct {
	relay.Publisher
	seen func()
}

func (a announcing) Open(ctx context.Context, epoch relay.Epoch) error {
	err := a.Publisher.Open(ctx, epoch)
	a.seen()
	return err
}

// A new owner announces its epoch to a broker before it reads anything, however long the broker takes to hear it.
func TestEpochIsAnnouncedBeforeTheFirstRead_C5(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{Fences: true})
		var mu sync.Mutex
		var reads []int
		w.wrap = func(p relay.Publisher) relay.Publisher {
			p.(*relaytest.Publisher).Delay(relaytest.OpOpen, 3*time.Second)
			return announcing{p, func() {
				mu.Lock()
				defer mu.Unlock()
				reads = append(reads, w.stores[len(w.stores)-1].Calls(relaytest.OpRead))
			}}
		}
		for range 3 {
			w.db.Send("t", "k", "x")
			w.start()
			w.awaitDrained(time.Minute)
			w.stopAll()
		}
		mu.Lock()
		defer mu.Unlock()
		if fmt.Sprint(reads) != "[0 0 0]" {
			t.Errorf("reads before the announcements: %v", reads)
		}
	})
}

// Of 50 relays that start at once one becomes the owner, and the others ask now and then.
func TestManyRelaysStartAtOnce_C15(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{})
		const relays = 50
		for range relays {
			w.start()
		}
		for i := range 600 {
			w.db.Send("t", fmt.Sprintf("k%d", i%7), fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		w.awaitDrained(time.Minute)
		asked := 0
		for _, s := range w.stores {
			asked += s.Calls(relaytest.OpAcquire)
		}
		if o := w.db.Owner(); o.Epoch != 1 {
			t.Errorf("the owner was replaced: %+v", o)
		}
		if most := relays * (10*60/4 + 10); asked > most { // every 5 s, and some more around it
			t.Errorf("%d relays asked %d times in 10 minutes, at most %d are right", relays, asked, most)
		}
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
	})
}

// deaf loses every notification.
type deaf struct{ relay.Waker }

func (deaf) Wake(context.Context) (<-chan struct{}, error) { return make(chan struct{}), nil }

// Without a single notification a message waits for the next poll, no longer.
func TestEveryNotificationIsLost_F3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{})
		w.waker = func(waker relay.Waker) relay.Waker { return deaf{waker} }
		w.start()
		for i := range 100 {
			time.Sleep(time.Duration(i) * 37 * time.Millisecond)
			began := time.Now()
			w.db.Send("t", "k", fmt.Sprint(i))
			w.await("sent", time.Minute, func() bool { return len(w.broker.Records()) > i })
			if took := time.Since(began); i > 0 && took > w.opt.PollIdle+50*time.Millisecond {
				t.Errorf("message %d took %v, the longest pause of the reader is %v", i, took, w.opt.PollIdle)
			}
		}
		w.awaitDrained(time.Minute)
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
	})
}

// While the database refuses every write, for an hour, nothing is sent although the broker is well; then everything leaves, once.
func TestNoClaimNoByte_F17(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{})
		w.start()
		w.db.Send("t", "k", "before")
		w.awaitDrained(time.Minute)
		writes := []relaytest.Op{relaytest.OpAcquire, relaytest.OpRenew, relaytest.OpRelease, relaytest.OpClaim, relaytest.OpSettle, relaytest.OpHeld}
		var unblock []func()
		for _, op := range writes {
			unblock = append(unblock, w.stores[0].Block(op))
		}
		for i := range 100 {
			w.db.Send("t", fmt.Sprintf("k%d", i%9), fmt.Sprint(i))
		}
		time.Sleep(time.Hour)
		if n := len(w.broker.Calls()); n != 1 {
			t.Errorf("%d batches went to the broker, want the one before", n)
		}
		for _, f := range unblock {
			f()
		}
		w.awaitDrained(2 * time.Minute)
		w.stopAll()
		relaytest.Check(t, relaytest.Bounds{Placed: true}, w.db, w.broker)
	})
}
