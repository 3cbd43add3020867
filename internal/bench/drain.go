package bench

import (
	"context"
	"errors"
	"fmt"
)

// Drain measures the whole relay, from PostgreSQL to a real Kafka: K3, K4 and E1, and with L2 its latency.
func Drain(ctx context.Context, opt Options) (figures []Figure, err error) {
	if len(opt.Kafka) == 0 {
		return nil, errors.New("name a Kafka to send to: --kafka HOST:PORT")
	}
	b, err := start(ctx, opt, 300_000)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if b.wants("K3", "K4", "E1") {
		if figures, err = b.throughput(ctx); err != nil {
			return nil, err
		}
	}
	if b.wants("L2") {
		latency, err := b.latency(ctx)
		if err != nil {
			return nil, fmt.Errorf("latency: %w", err)
		}
		figures = append(figures, latency...)
	}
	return b.only(figures), nil
}

func (b *Bench) throughput(ctx context.Context) ([]Figure, error) {
	err := b.fill(ctx, func(ctx context.Context, j job) (sample, error) { return b.toKafka(ctx, b.opt.Rows, j, b.relay) })
	if err != nil {
		return nil, err
	}
	var best job
	var fastest sample
	rows := max(b.opt.Rows/3, min(b.opt.Rows, 2000))
	for _, page := range []int{500, 1000, 2000} {
		j := job{Workers: 1, Page: page}
		s, err := b.toKafka(ctx, rows, j, func(ctx context.Context, j job) (sample, error) { return b.classic(ctx, rows, j) })
		if err != nil {
			return nil, err
		}
		b.say("  ordered loop, %4d rows a page: %9.0f rows/s", page, s.rate(rows))
		if best.Page == 0 || s.seconds < fastest.seconds {
			best, fastest = j, s
		}
	}
	var relayed, looped []sample
	err = b.rounds(ctx, []turn{
		{"relay to Kafka", &relayed, func(ctx context.Context) (sample, error) {
			return b.toKafka(ctx, b.opt.Rows, job{Profile: b.opt.CPUProfile, Idle: true}, b.relay)
		}},
		{"ordered loop to Kafka", &looped, func(ctx context.Context) (sample, error) {
			return b.toKafka(ctx, b.opt.Rows, best, func(ctx context.Context, j job) (sample, error) { return b.classic(ctx, b.opt.Rows, j) })
		}},
	})
	if err != nil {
		return nil, err
	}
	per100k := 100_000 / float64(b.opt.Rows)
	memory := Figure{ID: "E1", What: fmt.Sprintf("resident memory of the relay while it drains %d messages, peak", b.opt.Rows), Unit: "MiB", Floor: 110, Aim: 60, Less: true}
	idle := Figure{ID: "E1", What: fmt.Sprintf("resident memory of the relay %v after the drain", idleAfter), Unit: "MiB", Floor: 40, Aim: 25, Less: true}
	for _, s := range relayed {
		if s.peak > 0 && s.idle > 0 { // else it cannot be told here
			memory.add1(s.peak/(1<<20), s.foreign)
			idle.add1(s.idle/(1<<20), s.foreign)
		}
	}
	return []Figure{
		compare(Figure{ID: "K3", What: "relay to Kafka / best ordered loop", Unit: "rows/s", Floor: 2.5, Aim: 4,
			Note: fmt.Sprintf("loop: 1 worker, %d rows a page", best.Page)}, relayed, looped, func(s sample) float64 { return s.rate(b.opt.Rows) }),
		compare(Figure{ID: "K4", What: "CPU of the relay / of the loop", Unit: "s/100k", Floor: 0.6, Aim: 0.3, Less: true}, relayed, looped,
			func(s sample) float64 { return s.cpu * per100k }),
		compare(Figure{ID: "K4", What: "CPU of PostgreSQL: relay / loop", Unit: "s/100k", Floor: 0.6, Aim: 0.3, Less: true}, relayed, looped,
			func(s sample) float64 { return s.serverCPU * per100k }),
		memory, idle,
	}, nil
}

// toKafka gives a run of rows messages a topic of its own, and reads it back.
func (b *Bench) toKafka(ctx context.Context, rows int64, j job, run func(context.Context, job) (sample, error)) (s sample, err error) {
	t, err := b.makeTopic(ctx)
	if err != nil {
		return s, err
	}
	j.Brokers, j.Topic = b.opt.Kafka, t.name
	if s, err = run(ctx, j); err != nil {
		return s, err
	}
	return s, t.check(ctx, newWitness(b.backlog.first, rows, true))
}
