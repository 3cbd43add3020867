package relay_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// asPanicking names the goroutine that panics in a process that this test starts.
const asPanicking = "WAYBILL_TEST_PANIC"

// Whichever goroutine panics, the whole process ends with it, and says why: nothing goes on half alive.
func TestPanicEndsTheProcess_G3(t *testing.T) {
	if at := os.Getenv(asPanicking); at != "" {
		panicAt(t, at)
		return
	}
	for _, at := range []string{"reader", "claimer", "lane", "settler", "keeper", "held", "event"} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), asPanicking+"="+at)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "panic: planted in "+at) {
			t.Errorf("a panic in the %s: %v\n%s", at, err, out)
		}
	}
}

// panicAt runs a relay until it panics, or for some seconds.
func panicAt(t *testing.T, at string) {
	w := newWorld(t, relaytest.BrokerConfig{})
	w.opt.Lease, w.opt.WriteTimeout, w.opt.TCPTimeout, w.opt.Quarantine = time.Second, 50*time.Millisecond, 50*time.Millisecond, time.Second
	planted := func(where string) {
		if where == at {
			panic("planted in " + at)
		}
	}
	w.wrap = func(p relay.Publisher) relay.Publisher { return panickingPublisher{p, planted} }
	w.store = func(s relay.Store) relay.Store { return panickingStore{s, planted} }
	w.opt.Events.Settled = func(int, int, time.Duration) { planted("event") }
	w.start()
	w.db.Send("t", "k", "1")
	time.Sleep(10 * time.Second) // the panic ends it long before
	w.stopAll()
}

type panickingPublisher struct {
	relay.Publisher
	planted func(string)
}

func (p panickingPublisher) Publish(ctx context.Context, lane relay.Lane, batch []*relay.Message) []relay.Outcome {
	p.planted("lane")
	return p.Publisher.Publish(ctx, lane, batch)
}

type panickingStore struct {
	relay.Store
	planted func(string)
}

func (s panickingStore) Read(ctx context.Context, l relay.Lease, after relay.ID, limit relay.ReadLimit) (relay.Page, error) {
	s.planted("reader")
	return s.Store.Read(ctx, l, after, limit)
}

func (s panickingStore) Claim(ctx context.Context, l relay.Lease, upTo relay.ID, in relay.Incarnation) error {
	s.planted("claimer")
	return s.Store.Claim(ctx, l, upTo, in)
}

func (s panickingStore) Settle(ctx context.Context, l relay.Lease, t relay.Settlement) (relay.Settled, error) {
	s.planted("settler")
	return s.Store.Settle(ctx, l, t)
}

func (s panickingStore) Renew(ctx context.Context, l relay.Lease, p relay.Progress) (relay.Lease, error) {
	s.planted("keeper")
	return s.Store.Renew(ctx, l, p)
}

func (s panickingStore) Held(ctx context.Context, l relay.Lease, open []string, limit relay.HeldLimit) (relay.Taken, error) {
	s.planted("held")
	return s.Store.Held(ctx, l, open, limit)
}
