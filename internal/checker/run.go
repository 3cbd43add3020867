package checker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Run carries out a plan with the relay at binary and returns its record, judged and saved in plan.Out. The error is of the checker itself: servers that do
// not start, files that cannot be written. What happens is told on progress.
func Run(ctx context.Context, plan Plan, binary string, progress io.Writer) (rec Record, err error) {
	if plan.Out, err = makeDir(plan.Out); err != nil {
		return rec, err
	}
	w := &world{plan: plan, dir: plan.Out, binary: binary}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.build(ctx); err != nil {
		return rec, err
	}
	fmt.Fprintf(progress, "seed %#x  profile %s  bug %q  %s, Kafka on %v  records in %s\n", plan.Seed, plan.Profile, plan.Bug, w.pg, w.broker.addrs, plan.Out)
	rec = Record{Plan: plan, Began: time.Now(), Versions: w.versions(ctx)}
	for _, o := range w.outs {
		if err := o.relays.start(plan.Relays); err != nil {
			return rec, err
		}
	}
	for _, o := range w.outs {
		if _, _, err := o.owner(ctx); err != nil {
			return rec, fmt.Errorf("%w; its relays: %v", err, o.relays.crashes())
		}
	}
	if err := w.load(ctx, &rec, progress); err != nil {
		return rec, err
	}
	if err := w.drain(ctx, &rec, progress); err != nil {
		return rec, err
	}
	for i, o := range w.outs {
		e, err := o.collect(ctx, w.broker)
		if err != nil {
			return rec, fmt.Errorf("%s: %w", o.name, err)
		}
		e.Drained, e.Stalled, e.DrainSec, e.PerSec = rec.drained[i], rec.stalled[i], rec.Drain.Seconds(), rec.perSec[i]
		if err := e.save(plan.Out); err != nil {
			return rec, err
		}
		rec.judge(&e)
	}
	if log, err := os.ReadFile(w.pg.LogFile()); err != nil {
		return rec, err
	} else {
		rec.Heads = bytes.Count(log, []byte(`unique constraint "message_held_head"`))
	}
	rec.Took = time.Since(rec.Began)
	rec.decide()
	return rec, rec.save(filepath.Join(plan.Out, "run.json"))
}

// load runs producers and faults until every fault is done or the time is up.
func (w *world) load(ctx context.Context, rec *Record, progress io.Writer) error {
	ctx, stop := context.WithTimeout(ctx, w.plan.For)
	defer stop()
	busy, done := context.WithCancel(ctx)
	defer done()
	var producers sync.WaitGroup
	errs := make([]error, len(w.outs))
	for i, o := range w.outs {
		producers.Go(func() { errs[i] = o.producer.produce(busy, w.plan.Seed+uint64(i)) })
		if !w.plan.NoActs {
			producers.Go(func() { o.act(busy, rand.New(rand.NewPCG(w.plan.Seed, uint64(i)))) })
		}
	}
	const calm = 3 * time.Second // nothing is broken before a minimum rate was seen
	wait(ctx, calm)
	for _, o := range w.outs {
		rec.perSec = append(rec.perSec, float64(o.producer.written.Load())/calm.Seconds())
	}
	rec.Faults = w.plan.faults()
	w.inject(ctx, rec.Faults, progress)
	if len(rec.Faults) == 0 {
		wait(ctx, w.plan.For)
	}
	done()
	producers.Wait()
	return errors.Join(errs...)
}

// inject executes the faults: those of one outbox, and those of the servers, one after the other.
func (w *world) inject(ctx context.Context, faults []Fault, progress io.Writer) {
	queues := map[string][]*Fault{}
	for i := range faults {
		queue := faults[i].Outbox
		if faults[i].Kind.server() {
			queue = ""
		}
		queues[queue] = append(queues[queue], &faults[i])
	}
	var running sync.WaitGroup
	var say sync.Mutex
	for _, queue := range queues {
		running.Go(func() {
			for _, f := range queue {
				w.execute(ctx, f)
				say.Lock()
				fmt.Fprintf(progress, "%3d %-13s %-4s %-14s effect %-5v in flight %-5v healed %6s  %s\n", f.N, f.Kind, f.Outbox, f.where(), f.Effect, f.InFlight,
					f.Healed.Round(10*time.Millisecond), f.Proof)
				say.Unlock()
			}
		})
	}
	running.Wait()
}

// act is the person on call: dead messages are given up or skipped.
func (o *outboxRun) act(ctx context.Context, r *rand.Rand) {
	for wait(ctx, 700*time.Millisecond) {
		verb := []string{"discard", "skip"}[r.IntN(2)]
		o.sweep(ctx, verb)
	}
}

func (o *outboxRun) sweep(ctx context.Context, verb string) {
	conn, err := connect(ctx, o.url)
	if err != nil {
		return // the server is away: another time
	}
	defer closeConn(conn)
	_, _ = conn.Exec(ctx, strings.ReplaceAll(`SELECT outbox.VERB(ids, 'chaos', 'the workload poisoned it') FROM
		(SELECT array_agg(id) AS ids FROM (SELECT id FROM outbox.message_held WHERE state = 'dead' AND NOT passed AND outcome = 'rejected' ORDER BY id LIMIT 100) d) x
		WHERE ids IS NOT NULL`, "VERB", verb))
}

const (
	stallTime = 25 * time.Second // nothing moved for so long, with everything healthy
	drainTime = 4 * time.Minute
)

// drain waits until every outbox is empty, or until nothing moves.
func (w *world) drain(ctx context.Context, rec *Record, progress io.Writer) error {
	began := time.Now()
	rec.drained, rec.stalled = make([]bool, len(w.outs)), make([]bool, len(w.outs))
	var all sync.WaitGroup
	errs := make([]error, len(w.outs))
	for i, o := range w.outs {
		all.Go(func() {
			last, moved := [3]int64{-1}, time.Now()
			for time.Since(began) < drainTime && ctx.Err() == nil {
				if !w.plan.NoActs {
					o.sweep(ctx, "discard")
				}
				var now [3]int64 // pending, moving in held, log
				errs[i] = o.ask(ctx, `SELECT (SELECT count(*) FROM outbox.message_pending), (SELECT count(*) FROM outbox.message_held WHERE due_at IS NOT NULL OR sending),
					(SELECT count(*) FROM outbox.message_held WHERE state = 'dead' AND NOT passed OR state = 'blocked')`, nil, &now[0], &now[1], &now[2])
				if errs[i] != nil {
					return
				}
				if now[0] == 0 && now[1] == 0 && (now[2] == 0 || w.plan.NoActs) {
					rec.drained[i] = true
					return
				}
				if now != last {
					last, moved = now, time.Now()
				}
				if time.Since(moved) > stallTime {
					rec.stalled[i] = true
					fmt.Fprintf(progress, "%s: nothing has moved for %s: %d pending, %d in held with a turn, %d dead or blocked: %s\n", o.name, stallTime, now[0], now[1], now[2], o.stuck(ctx))
					return
				}
				wait(ctx, 100*time.Millisecond)
			}
		})
	}
	all.Wait()
	rec.Drain = time.Since(began)
	return errors.Join(append(errs, ctx.Err())...)
}

// stuck describes what is held, a line for each state and reason.
func (o *outboxRun) stuck(ctx context.Context) (text string) {
	err := o.ask(ctx, `SELECT coalesce(string_agg(format('%s %s (due %s, sending %s, passed %s, %s %s), key %s, ids %s to %s', n, state, due, sending, passed, outcome, class, key, lo, hi), '; '), '')
		FROM (SELECT count(*) AS n, state, due_at IS NOT NULL AS due, sending, passed, outcome, class, key, min(id) AS lo, max(id) AS hi FROM outbox.message_held
			GROUP BY 2, 3, 4, 5, 6, 7, 8 ORDER BY 1 DESC LIMIT 10) x`, nil, &text)
	if err != nil {
		return err.Error()
	}
	return text
}

func (w *world) versions(ctx context.Context) map[string]string {
	v := map[string]string{"postgres": w.pg.String(), "kafka": fmt.Sprint(w.broker.addrs)}
	if raw, err := os.ReadFile("/proc/version"); err == nil {
		v["kernel"] = strings.TrimSpace(string(raw))
	}
	return v
}
