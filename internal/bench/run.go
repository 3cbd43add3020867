package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// idleAfter is when a relay that has done its work is looked at again.
const idleAfter = 5 * time.Second

// sample is one timed run.
type sample struct {
	seconds   float64
	cpu       float64 // CPU-seconds of the worker
	serverCPU float64 // of PostgreSQL's processes
	peak      float64 // resident bytes of the worker
	idle      float64 // the same, idleAfter later
	wal       float64 // bytes written
	held      int64   // messages that were set aside
	fill      float64 // seconds until the degraded cache had the backlog
	foreign   float64 // share of the machine that other programs took

	count    int64   // messages, of a run that has a time instead of a backlog
	p50, p99 float64 // ms of a request of such a run
}

// messages of the run, which has rows of them unless it counts its own.
func (s sample) messages(rows int64) float64 {
	if s.count > 0 {
		return float64(s.count)
	}
	return float64(rows)
}

func (s sample) rate(rows int64) float64 { return s.messages(rows) / s.seconds }

// timed measures what the server and the machine do around one run.
func (b *Bench) timed(ctx context.Context, run func() (report, error)) (s sample, err error) {
	if b.server == nil {
		m := startMeter(b.ours)
		r, err := run()
		return r.sample(m), err
	}
	from, err := walPosition(ctx, b.backlog.conn)
	if err != nil {
		return s, err
	}
	m, server := startMeter(b.ours), treeCPU(b.server.PID())
	r, err := run()
	s = r.sample(m)
	s.serverCPU = (treeCPU(b.server.PID()) - server).Seconds()
	if err != nil {
		return s, err
	}
	to, err := walPosition(ctx, b.backlog.conn)
	s.wal = to - from
	return s, err
}

func (r *report) sample(m *meter) sample {
	return sample{seconds: r.Seconds, fill: r.Fill, cpu: r.CPUSeconds, peak: float64(r.PeakBytes), held: r.Held, foreign: m.foreign(), count: r.Count, p50: r.P50, p99: r.P99}
}

func walPosition(ctx context.Context, conn *pgx.Conn) (at float64, err error) {
	err = conn.QueryRow(ctx, `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8`).Scan(&at)
	return at, err
}

// work runs a job in a process of its own, from ready to done.
func (b *Bench) work(ctx context.Context, j *job) (s sample, err error) {
	if b.server != nil {
		j.URL = b.server.url
		if j.First == 0 {
			j.First = b.backlog.first
		}
	}
	w, err := startWorker(b.opt.Worker, j)
	if err != nil {
		return s, err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.in.Close() })
	defer func() {
		if stop() {
			err = errors.Join(err, w.close())
		} else {
			err = errors.Join(ctx.Err(), w.close())
		}
	}()
	s, err = b.timed(ctx, func() (report, error) {
		if err := w.begin(); err != nil {
			return report{}, err
		}
		return w.result()
	})
	if err == nil && j.Idle {
		pause(ctx, idleAfter)
		s.idle = float64(residentMemory(w.process.PID()))
	}
	return s, err
}

// relay drains the whole backlog through the engine.
func (b *Bench) relay(ctx context.Context, j job) (sample, error) { return b.drain(ctx, j, 0) }

// drain does so beside messages that are held already.
func (b *Bench) drain(ctx context.Context, j job, held int64) (sample, error) {
	if err := b.backlog.pend(ctx); err != nil {
		return sample{}, err
	}
	j.Kind, j.Rows = jobRelay, b.backlog.rows
	s, err := b.work(ctx, &j)
	if err == nil {
		err = b.backlog.settled(ctx, b.backlog.rows-s.held, held+s.held)
	}
	if err != nil {
		return s, fmt.Errorf("drain: %w", err)
	}
	return s, nil
}

// classic drains rows messages through the textbook loop.
func (b *Bench) classic(ctx context.Context, rows int64, j job) (sample, error) {
	if err := errors.Join(b.backlog.pendClassic(ctx, rows), b.backlog.do(ctx, `CHECKPOINT`)); err != nil {
		return sample{}, err
	}
	j.Kind, j.Rows = jobLoop, rows
	s, err := b.work(ctx, &j)
	if err == nil {
		err = b.backlog.sentClassic(ctx)
	}
	if err != nil {
		return s, fmt.Errorf("textbook loop, %d workers, %d rows a page: %w", j.Workers, j.Page, err)
	}
	return s, nil
}

// query times one statement that returns no rows.
func (b *Bench) query(ctx context.Context, run func() error) (sample, error) {
	return b.timed(ctx, func() (report, error) {
		began := time.Now()
		err := run()
		return report{Seconds: time.Since(began).Seconds()}, err
	})
}
