package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// warmFor is the part of a run that comes before it, untimed.
const warmFor = 5

// prepareAppend makes a sink ready: the broker, or files beside which it is measured.
func prepareAppend(ctx context.Context, j *job) (_ *task, err error) {
	if err := os.MkdirAll(j.Dir, 0o700); err != nil {
		return nil, err
	}
	var p *producers
	t := &task{check: func() error { return nil }}
	switch j.Kind {
	case jobGroups:
		g, err := makeGroups(j.Dir)
		if err != nil {
			return nil, err
		}
		t.close, p = g.close, newProducers(j.Load, g)
	case jobFiles:
		f, err := makeFiles(j.Dir, j.Load.Lanes)
		if err != nil {
			return nil, err
		}
		t.close, p = f.close, newProducers(j.Load, f)
	default:
		n, err := startNode(ctx, j.Dir, j.Segment, j.Keep)
		if err != nil {
			return nil, err
		}
		t.close = n.stop
		if err := n.makeTopic(ctx, j.Load.Lanes); err != nil {
			return nil, errors.Join(err, n.stop())
		}
		p = newProducers(j.Load, n.sink(j.Load))
		t.check = func() error { return n.check(context.WithoutCancel(ctx), p) }
		defer func() {
			if err == nil {
				n.settle(ctx)
			}
		}()
	}
	warm := after(j.For / warmFor)
	if _, err := p.run(ctx, func() bool { return warm() && p.bytes.Load() >= j.Bytes }); err != nil {
		return nil, errors.Join(err, t.close())
	}
	quietDisk()
	t.run = func(ctx context.Context) (time.Duration, error) {
		before, began := p.sent(), time.Now()
		took, err := p.run(ctx, after(j.For))
		all := time.Since(began)
		t.Count, t.P50, t.P99 = p.sent()-before, quantile(took, 0.5), quantile(took, 0.99)
		return all, err
	}
	return t, nil
}

// sink appends as a source where a lane has one request in flight.
func (n *node) sink(l load) sink {
	if l.Depth == 1 {
		return source{n}
	}
	return clients{n}
}

// check reads back what was acked.
func (n *node) check(ctx context.Context, p *producers) error {
	t, err := n.readBack(ctx, p.Lanes, p.Depth == 1, -1)
	if err != nil {
		return fmt.Errorf("read back what was acked: %w", err)
	}
	return t.verdict(p.ackedByLane(), false)
}

func (p *producers) ackedByLane() []int64 {
	acked := make([]int64, p.Lanes)
	for i := range acked {
		acked[i] = p.acked[i].Load()
	}
	return acked
}
