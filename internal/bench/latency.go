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

const (
	latencyRate    = 1000 // one-row transactions a second
	latencyWriters = 8    // connections; keyCount is a multiple, so that a key has one writer
	latencySilence = 400 * time.Millisecond
)

const sqlPublish = `SELECT outbox.publish_bytes('order.paid', $1::bytea, key => $2)`

// latency measures L2: from the moment in which COMMIT has returned to the moment in which a consumer of Kafka holds the message, both on this machine's
// clock. Each round writes at a steady rate, and then single messages after a silence.
func (b *Bench) latency(ctx context.Context) (figures []Figure, err error) {
	steady := int(min(max(b.opt.Rows/100, 200), 3000))
	single := int(min(max(b.opt.Rows/15_000, 3), 20))
	if err := b.backlog.do(ctx, `TRUNCATE outbox.message_log, outbox.message_pending, outbox.receipts`, `CHECKPOINT`); err != nil {
		return nil, err
	}
	quietDisk()
	t, err := makeTopic(ctx, b.opt.Kafka)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.remove()) }()
	w, err := startWorker(b.opt.Worker, &job{Kind: jobRelay, URL: b.server.url, Brokers: b.opt.Kafka, Topic: t.name})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.begin(); err != nil {
		return nil, err
	}
	p, err := startPost(ctx, b.server.url, t, (b.opt.Rounds+1)*(steady+single))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	warm, err := p.steady(ctx, steady)
	if err != nil {
		return nil, err
	}
	b.say("  warm: COMMIT to consumer p50 %.2f ms", quantile(warm, 0.5))
	all := [4]Figure{
		{ID: "L2", What: "COMMIT to consumer, 1,000 transactions/s, p50", Floor: 6, Aim: 2.5},
		{ID: "L2", What: "COMMIT to consumer, 1,000 transactions/s, p99", Floor: 20, Aim: 5},
		{ID: "L2", What: "COMMIT to consumer, woken after silence, p50", Floor: 4, Aim: 1.6},
		{ID: "L2", What: "COMMIT to consumer, woken after silence, p99", Floor: 15, Aim: 4},
	}
	for n := range b.opt.Rounds {
		for part, write := range []func() ([]float64, error){
			func() ([]float64, error) { return p.steady(ctx, steady) },
			func() ([]float64, error) { return p.single(ctx, single) },
		} {
			m := startMeter(b.ours)
			took, err := write()
			if err != nil {
				return nil, err
			}
			p50, p99, foreign := quantile(took, 0.5), quantile(took, 0.99), m.foreign()
			all[2*part].add1(p50, foreign)
			all[2*part+1].add1(p99, foreign)
			b.say("  round %d  COMMIT to consumer %-22s p50 %6.2f ms  p99 %6.2f ms  of %d   foreign CPU %2.0f %%", n+1,
				[]string{"at a steady rate", "woken after silence"}[part], p50, p99, len(took), 100*foreign)
		}
	}
	if _, err := w.stop(); err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Unit, all[i].Less = "ms", true
	}
	return all[:], p.verdict()
}

// post writes messages, and sees them arrive at the broker.
type post struct {
	conns    []*pgx.Conn
	consumer *kgo.Client
	cancel   context.CancelFunc
	reading  sync.WaitGroup
	sent     int // messages written so far; their numbers are 0 to sent-1

	committed []time.Time // by number; each written by one writer, read after all of them have ended

	mu      sync.Mutex // guards what is below; written by the consumer
	arrived []time.Time
	witness *witness
	count   int
	want    int
	reached chan struct{} // closed when count reaches want
	err     error
}

func startPost(ctx context.Context, url string, t *topic, most int) (_ *post, err error) {
	p := &post{committed: make([]time.Time, most), arrived: make([]time.Time, most), witness: newWitness(0, int64(most), true)}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	for range latencyWriters {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return nil, err
		}
		p.conns = append(p.conns, conn)
	}
	if p.consumer, err = t.consumer(); err != nil {
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
	var errs []error
	for _, c := range p.conns {
		errs = append(errs, c.Close(context.Background()))
	}
	return errors.Join(errs...)
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
func (p *post) steady(ctx context.Context, n int) ([]float64, error) {
	p.expect(n)
	began, errs := time.Now(), make([]error, len(p.conns))
	var wg sync.WaitGroup
	for w, conn := range p.conns {
		wg.Go(func() {
			for i := range n {
				if number := p.sent + i; number%len(p.conns) == w && errs[w] == nil {
					pause(ctx, time.Until(began.Add(time.Duration(i)*time.Second/latencyRate)))
					errs[w] = p.write(ctx, conn, number)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
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

func (p *post) write(ctx context.Context, conn *pgx.Conn, number int) error {
	payload := make([]byte, payloadBytes)
	binary.BigEndian.PutUint64(payload, uint64(number))
	_, err := conn.Exec(ctx, sqlPublish, payload, fmt.Sprintf("k%06d", number%keyCount))
	p.committed[number] = time.Now()
	return err
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
