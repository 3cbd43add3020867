package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
)

// latency measures L2: from the moment in which COMMIT has returned to the moment in which a consumer of Kafka holds the message, both on this machine's
// clock. Each round writes at a steady rate; then at the same rate without an outbox, which says how much of it is the machine; and then single messages
// after a silence.
func (b *Bench) latency(ctx context.Context) (figures []Figure, err error) {
	steady := b.latencyMessages()
	single := int(min(max(b.opt.Rows/15_000, 3), 20))
	if err := b.backlog.do(ctx, `TRUNCATE outbox.message_log, outbox.message_pending, outbox.receipts`, sqlPlainTable, `CHECKPOINT`); err != nil {
		return nil, err
	}
	quietDisk()
	t, err := b.makeTopic(ctx)
	if err != nil {
		return nil, err
	}
	w, err := startWorker(b.opt.Worker, &job{Kind: jobRelay, URL: b.server.url, Brokers: b.opt.Kafka, Topic: t.name})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.begin(); err != nil {
		return nil, err
	}
	p, err := startPost(ctx, b.server.url, t, (b.opt.Rounds+warmRounds)*(2*steady+single))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := b.warm(ctx, p, steady); err != nil {
		return nil, err
	}
	all := [4]Figure{
		{ID: "L2", What: "COMMIT to consumer, 1,000 transactions/s, p50", Floor: 6, Aim: 2.5},
		{ID: "L2", What: "COMMIT to consumer, 1,000 transactions/s, p99", Floor: 20, Aim: 5},
		{ID: "L2", What: "COMMIT to consumer, woken after silence, p50", Floor: 4, Aim: 1.6},
		{ID: "L2", What: "COMMIT to consumer, woken after silence, p99", Floor: 15, Aim: 4},
	}
	var straight [2]Figure
	for n := range b.opt.Rounds {
		for _, part := range []struct {
			what  string
			figs  []Figure
			write func() ([]float64, error)
		}{
			{"at a steady rate", all[:2], func() ([]float64, error) { return p.steady(ctx, steady, p.write) }},
			{"without an outbox", straight[:], func() ([]float64, error) { return p.steady(ctx, steady, p.produce) }},
			{"woken after silence", all[2:], func() ([]float64, error) { return p.single(ctx, single) }},
		} {
			m := startMeter(b.ours)
			took, err := part.write()
			if err != nil {
				return nil, err
			}
			p50, p99, foreign := quantile(took, 0.5), quantile(took, 0.99), m.foreign()
			part.figs[0].add1(p50, foreign)
			part.figs[1].add1(p99, foreign)
			b.say("  round %d  COMMIT to consumer %-22s p50 %6.2f ms  p99 %6.2f ms  of %d   foreign CPU %2.0f %%", n+1, part.what, p50, p99, len(took), 100*foreign)
		}
	}
	for i := range straight {
		all[i].Note = fmt.Sprintf("%.2f without an outbox", straight[i].Median())
	}
	if _, err := w.stop(); err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Unit, all[i].Less = "ms", true
	}
	return all[:], p.verdict()
}

const (
	warmRounds = 20  // at most
	warmEnough = 0.9 // of the best so far: less progress is none
)

// warm writes both ways until Kafka is no longer getting faster: a JVM that has just started compiles for the first minute, on the same processors. It is
// the way without an outbox that says when.
func (b *Bench) warm(ctx context.Context, p *post, steady int) error {
	best, idle := math.Inf(1), 0
	for n := 0; n < warmRounds && idle < 3; n++ {
		straight, err := p.steady(ctx, steady, p.produce)
		if err != nil {
			return err
		}
		through, err := p.steady(ctx, steady, p.write)
		if err != nil {
			return err
		}
		took := quantile(straight, 0.5)
		b.say("  warming up  COMMIT to consumer p50 %6.2f ms, without an outbox %6.2f ms", quantile(through, 0.5), took)
		if idle++; took < warmEnough*best {
			best, idle = took, 0
		}
	}
	return nil
}
