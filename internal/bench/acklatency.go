package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ackLatency measures L1: from the moment in which COMMIT has returned to the moment in which the bundled broker, in the relay's process, has acked the message,
// both on this machine's clock. Beside it stand one commit and one append, each alone on the same disk.
func (b *Bench) ackLatency(ctx context.Context) ([]Figure, error) {
	all := [2]Figure{
		{ID: "L1", What: "COMMIT to ack at 1,000 transactions/s, p50 / one commit and one append, each alone", Floor: 3, Aim: 2},
		{ID: "L1", What: "COMMIT to ack at 1,000 transactions/s, p99 / one commit and one append, each alone", Floor: 10, Aim: 4},
	}
	var commits, appends, inside []float64
	for n := range b.opt.Rounds {
		m := startMeter(b.ours)
		commit, err := b.commitAlone(ctx)
		if err != nil {
			return nil, fmt.Errorf("round %d, one commit: %w", n+1, err)
		}
		alone, err := b.inFolder(func(dir string) (sample, error) {
			return b.work(ctx, &job{Kind: jobAppend, Dir: dir, Load: loadAlone, For: scaled(b, time.Second), Segment: b.segment()})
		})
		if err != nil {
			return nil, fmt.Errorf("round %d, one append: %w", n+1, err)
		}
		took, publish, err := b.toAck(ctx)
		if err != nil {
			return nil, fmt.Errorf("round %d, relay: %w", n+1, err)
		}
		foreign := m.foreign()
		p50, p99 := quantile(took, 0.5), quantile(took, 0.99)
		all[0].add(p50, commit+alone.p50, foreign)
		all[1].add(p99, commit+alone.p50, foreign)
		commits, appends, inside = append(commits, commit), append(appends, alone.p50), append(inside, publish)
		b.say("  round %d  COMMIT to ack  p50 %6.2f ms  p99 %6.2f ms  of %d   in the broker p50 %.2f ms   alone: commit %.2f ms, append %.2f ms   foreign CPU %2.0f %%", n+1, p50, p99,
			len(took), publish, commit, alone.p50, 100*foreign)
	}
	for i := range all {
		all[i].Unit, all[i].Less = "ms", true
		all[i].Note = fmt.Sprintf("p50: %s ms of it in the broker; alone: commit %s ms, append %s ms", number(median(inside)), number(median(commits)), number(median(appends)))
	}
	return all[:], nil
}

// latencyMessages is how many messages are written at a steady rate in a round.
func (b *Bench) latencyMessages() int { return int(min(max(b.opt.Rows/100, 200), 3000)) }

// emptyOutbox forgets everything that was written.
func (b *Bench) emptyOutbox(ctx context.Context) error {
	err := b.backlog.do(ctx, `TRUNCATE outbox.message_log, outbox.message_pending, outbox.receipts`, `CHECKPOINT`)
	quietDisk()
	return err
}

// commitAlone is how many milliseconds a transaction with one message takes, in the median, while nothing else happens.
func (b *Bench) commitAlone(ctx context.Context) (_ float64, err error) {
	if err := b.emptyOutbox(ctx); err != nil {
		return 0, err
	}
	conn, err := pgx.Connect(ctx, b.server.url)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	n := b.latencyMessages() / 2
	w := &writers{committed: make([]time.Time, 2*n)}
	var took []float64
	for i := range 2 * n { // the first half warms up
		began := time.Now()
		if err := w.write(ctx, conn, i); err != nil {
			return 0, err
		}
		if i >= n {
			took = append(took, w.committed[i].Sub(began).Seconds()*1000)
		}
	}
	return quantile(took, 0.5), nil
}

// toAck writes at a steady rate beside a relay and returns how many milliseconds each message took, and in the median a call of the broker.
func (b *Bench) toAck(ctx context.Context) (took []float64, publish float64, err error) {
	if err := b.emptyOutbox(ctx); err != nil {
		return nil, 0, err
	}
	s, err := b.inFolder(func(dir string) (s sample, err error) {
		took, s.p50, err = b.toAckIn(ctx, dir)
		return s, err
	})
	return took, s.p50, err
}

func (b *Bench) toAckIn(ctx context.Context, dir string) (ms []float64, publish float64, err error) {
	worker, err := startWorker(b.opt.Worker, &job{Kind: jobRelay, URL: b.server.url, Dir: dir, Acks: true, Segment: b.segment(), Profile: b.opt.CPUProfile})
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, worker.close()) }()
	if err := worker.begin(); err != nil {
		return nil, 0, err
	}
	n := b.latencyMessages()
	w, err := openWriters(ctx, b.server.url, 2*n)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for range 2 { // the first time warms up
		if err := w.pace(ctx, n, w.write); err != nil {
			return nil, 0, err
		}
		w.sent += n
		if err := b.settled(ctx); err != nil {
			return nil, 0, err
		}
	}
	r, err := worker.stop()
	if err != nil {
		return nil, 0, err
	}
	if len(r.AckedAt) != w.sent {
		return nil, 0, fmt.Errorf("%d messages were written and %d acked: a wrong answer is no figure", w.sent, len(r.AckedAt))
	}
	for number := n; number < w.sent; number++ {
		ms = append(ms, max(0, float64(r.AckedAt[int64(number)]-w.committed[number].UnixNano())/1e6))
	}
	return ms, r.P50, nil
}

// settled waits until nothing is pending.
func (b *Bench) settled(ctx context.Context) error {
	for end := time.Now().Add(stalled); ; {
		var pending int64
		if err := b.backlog.conn.QueryRow(ctx, `SELECT count(*) FROM outbox.message_pending`).Scan(&pending); err != nil || pending == 0 {
			return err
		}
		if time.Now().After(end) || !pause(ctx, 20*time.Millisecond) {
			return fmt.Errorf("%d messages are still pending", pending)
		}
	}
}
