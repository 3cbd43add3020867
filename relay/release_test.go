package relay_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// slowRelease gives the ownership up and is slow to write that down, until a renewal was told so.
type slowRelease struct {
	relay.Store
	releasing atomic.Bool
	fenced    chan struct{}
}

func (s *slowRelease) Release(ctx context.Context, lease relay.Lease) error {
	s.releasing.Store(true)
	select {
	case <-s.fenced:
		time.Sleep(100 * time.Millisecond)
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.Store.Release(ctx, lease)
}

func (s *slowRelease) Renew(ctx context.Context, lease relay.Lease, p relay.Progress) (relay.Lease, error) {
	if s.releasing.Load() {
		close(s.fenced)
		return relay.Lease{}, relay.ErrFenced
	}
	return s.Store.Renew(ctx, lease, p)
}

// R7: a renewal that comes while the outbox is given back ends nothing but itself: else the next owner would wait for the lease, and keep a quiet time.
func TestRenewalBesideTheRelease_R7(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, relaytest.BrokerConfig{})
		slow := &slowRelease{fenced: make(chan struct{})}
		w.store = func(s relay.Store) relay.Store { slow.Store = s; return slow }
		r := w.start()
		w.db.Send("t", "k", "1")
		w.awaitDrained(time.Minute)
		began := w.db.Owner().Until.Add(-w.opt.Lease) // a renewal comes each sixth of the lease
		time.Sleep(time.Until(began.Add(w.opt.Lease/6 - time.Second)))
		r.stop(t)
		if !slow.releasing.Load() || !w.db.Owner().Released {
			t.Errorf("it was not given back: %+v", w.db.Owner())
		}
	})
}
