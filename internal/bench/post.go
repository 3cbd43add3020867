package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
)

// post writes messages, and sees them arrive at the broker.
type post struct {
	*writers
	consumer *kgo.Client
	producer *kgo.Client // for what goes without an outbox
	cancel   context.CancelFunc
	reading  sync.WaitGroup

	mu      sync.Mutex // guards what is below; written by the consumer
	arrived []time.Time
	witness *witness
	count   int
	want    int
	reached chan struct{} // closed when count reaches want
	err     error
}

func startPost(ctx context.Context, url string, t *topic, most int) (_ *post, err error) {
	w, err := openWriters(ctx, url, most)
	if err != nil {
		return nil, err
	}
	p := &post{writers: w, arrived: make([]time.Time, most), witness: newWitness(0, int64(most), true)}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.consumer, err = t.consumer(); err != nil {
		return nil, err
	}
	if p.producer, err = t.producer(); err != nil {
		return nil, err
	}
	ctx, p.cancel = context.WithCancel(ctx)
	p.reading.Go(func() { p.consume(ctx) })
	return p, nil
}

func (p *post) close() error {
	if p.consumer != nil {
		if p.cancel != nil {
			p.cancel()
		}
		p.reading.Wait()
		p.consumer.Close()
	}
	if p.producer != nil {
		p.producer.Close()
	}
	return p.writers.close()
}

// consume takes note of what arrives until ctx ends.
func (p *post) consume(ctx context.Context) {
	for {
		fetches := p.consumer.PollFetches(ctx)
		now := time.Now()
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		fetches.EachError(func(_ string, _ int32, err error) { p.err = err })
		fetches.EachRecord(func(r *kgo.Record) {
			if len(r.Value) < 8 {
				p.witness.strange.Add(1)
				return
			}
			n := int64(binary.BigEndian.Uint64(r.Value))
			p.witness.saw(n, string(r.Key))
			if n >= 0 && n < int64(len(p.arrived)) && p.arrived[n].IsZero() {
				p.arrived[n] = now
				if p.count++; p.count == p.want {
					close(p.reached)
				}
			}
		})
		p.mu.Unlock()
	}
}

// steady writes n messages at latencyRate and returns how many milliseconds each took.
func (p *post) steady(ctx context.Context, n int, write func(context.Context, *pgx.Conn, int) error) ([]float64, error) {
	p.expect(n)
	if err := p.pace(ctx, n, write); err != nil {
		return nil, err
	}
	return p.took(ctx, n)
}

// single writes n messages, each after a silence in which the relay goes to sleep.
func (p *post) single(ctx context.Context, n int) ([]float64, error) {
	p.expect(n)
	pause(ctx, time.Second) // after a steady rate the relay polls for so long
	for i := range n {
		pause(ctx, latencySilence+rand.N(100*time.Millisecond)) // not in step with the poll of an idle relay
		if err := p.write(ctx, p.conns[(p.sent+i)%len(p.conns)], p.sent+i); err != nil {
			return nil, err
		}
	}
	return p.took(ctx, n)
}

// expect prepares for n more messages.
func (p *post) expect(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want, p.reached = p.sent+n, make(chan struct{})
}

// produce commits a plain row and hands the message to a producer: what an application without an outbox does, and loses when it dies in between.
func (p *post) produce(ctx context.Context, conn *pgx.Conn, number int) error {
	payload, key := p.message(number)
	if _, err := conn.Exec(ctx, sqlPlain, payload, key); err != nil {
		return err
	}
	p.committed[number] = time.Now()
	p.producer.Produce(ctx, &kgo.Record{Key: []byte(key), Value: payload}, func(_ *kgo.Record, err error) {
		if err != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.err = err
		}
	})
	return nil
}

// took waits until the last n messages have arrived. A message that the consumer had before COMMIT returned took no time.
func (p *post) took(ctx context.Context, n int) ([]float64, error) {
	limit := time.NewTimer(kafkaPatience)
	defer limit.Stop()
	var err error
	select {
	case <-p.reached:
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.C:
		err = fmt.Errorf("not within %s", kafkaPatience)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%d of %d messages arrived at the consumer: %w", p.count, p.want, err), p.err)
	}
	ms := make([]float64, n)
	for i := range ms {
		ms[i] = max(0, p.arrived[p.sent+i].Sub(p.committed[p.sent+i]).Seconds()*1000)
	}
	p.sent += n
	return ms, nil
}

// verdict is nil when everything that was written arrived once and in order.
func (p *post) verdict() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.witness.seen = p.witness.seen[:p.sent]
	return p.witness.verdict()
}
