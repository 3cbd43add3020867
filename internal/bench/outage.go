package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/internal/spool"
	"github.com/waybillmq/waybill/relay"
)

// outage is a broker that is down until the degraded cache has everything but what is in flight.
type outage struct {
	dir    string
	want   int64 // messages in the cache
	cached atomic.Int64
	filled chan struct{} // closed when they are there
	up     atomic.Bool
	stop   func() error // ends the cache
}

// newOutage makes one for a job whose cache is in dir.
func newOutage(j *job) *outage {
	inFlight := int64(stubLanes * stubLimits.MaxBatch)
	return &outage{dir: j.Cache, want: max(j.Rows-inFlight, 1), filled: make(chan struct{}), stop: func() error { return nil }}
}

// configure lets a relay meet the outage.
func (o *outage) configure(opt *relay.Options) {
	opt.Cache = o.open
	opt.Events.Cached = func(_ string, n int) {
		if now := o.cached.Add(int64(n)); now >= o.want && now-int64(n) < o.want {
			close(o.filled)
		}
	}
	opt.ProbeInitial, opt.ProbeCap = 50*time.Millisecond, 50*time.Millisecond // when it is noticed that the broker is back is not what is measured
	made := opt.Destinations[0].New
	opt.Destinations[0].New = func() (relay.Publisher, error) {
		p, err := made()
		return &downPublisher{Publisher: p, outage: o}, err
	}
}

func (o *outage) open(lease relay.Lease) (relay.Cache, error) {
	s, _, err := spool.Open(spool.Config{FS: vfs.OS{}, Dir: o.dir}, spool.Owner{System: lease.System, Generations: lease.Generations})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	o.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	return s, nil
}

// fill waits until everything is cached.
func (o *outage) fill(ctx context.Context, ended <-chan error) error {
	limit := time.NewTimer(5 * time.Minute)
	defer limit.Stop()
	select {
	case <-o.filled:
		return nil
	case <-limit.C:
		return errors.New("the cache is not full of the backlog after 5 min")
	case err := <-ended:
		return errors.Join(errors.New("the relay ended"), err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// downPublisher is a destination that does not answer before the outage is over.
type downPublisher struct {
	relay.Publisher
	outage *outage
}

func (p *downPublisher) Publish(ctx context.Context, lane relay.Lane, batch []*relay.Message) []relay.Outcome {
	if p.outage.up.Load() {
		return p.Publisher.Publish(ctx, lane, batch)
	}
	outcomes := make([]relay.Outcome, len(batch))
	for i := range outcomes {
		outcomes[i] = relay.Outcome{Kind: relay.Unavailable, Scope: relay.ScopeDestination, Class: relay.ClassUnreachable}
	}
	return outcomes
}
