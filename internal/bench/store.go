package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
)

// storeAck is what a quick broker takes to confirm.
const storeAck = 2 * time.Millisecond

// Store measures the relay between the table and a publisher that acks at once: S1 to S5, S9, C1 and C2, and S16 to S18 and E4 beside messages that are held.
func Store(ctx context.Context, opt Options) (figures []Figure, err error) {
	b, err := start(ctx, opt, 500_000)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.fill(ctx, b.relay); err != nil {
		return nil, err
	}
	if b.wants("S1", "S2", "S3", "S4", "S5", "S9", "C1", "C2") {
		if figures, err = b.storeFigures(ctx); err != nil {
			return nil, err
		}
	}
	if b.wants("S16", "S17", "S18", "E4") {
		held, err := b.heldFigures(ctx)
		if err != nil {
			return nil, err
		}
		figures = append(figures, held...)
	}
	return b.only(figures), nil
}

func (b *Bench) storeFigures(ctx context.Context) (_ []Figure, err error) {
	best := job{}
	if b.wants("S2") {
		if best, err = b.bestClassic(ctx, []int{1, 2, 4}, []int{100, 500, 1000}, job{}); err != nil {
			return nil, err
		}
	}
	var plain, copied, classic, acked, snapshot, writer, update, outages []sample
	turns := []turn{{"drain", &plain, func(ctx context.Context) (sample, error) { return b.relay(ctx, job{Profile: b.opt.CPUProfile}) }}}
	for _, t := range []struct {
		ids []string
		turn
	}{
		{[]string{"S1"}, turn{"copy out (D1)", &copied, b.copyOut}},
		{[]string{"S2"}, turn{"textbook loop (D2)", &classic, func(ctx context.Context) (sample, error) { return b.classic(ctx, b.opt.Rows, best) }}},
		{[]string{"S3"}, turn{"drain, 2 ms ack", &acked, func(ctx context.Context) (sample, error) { return b.relay(ctx, job{Ack: storeAck}) }}},
		{[]string{"S4"}, turn{"drain, snapshot held", &snapshot, func(ctx context.Context) (sample, error) { return b.beside(ctx, false) }}},
		{[]string{"S4"}, turn{"drain, writer held", &writer, func(ctx context.Context) (sample, error) { return b.beside(ctx, true) }}},
		{[]string{"S5", "S9"}, turn{"one wide UPDATE", &update, b.wideUpdate}},
		{[]string{"C1", "C2"}, turn{"drain after an outage", &outages, b.afterOutage}},
	} {
		if b.wants(t.ids...) {
			turns = append(turns, t.turn)
		}
	}
	if err := b.rounds(ctx, turns); err != nil {
		return nil, err
	}
	rate := func(s sample) float64 { return s.rate(b.opt.Rows) }
	fill := func(s sample) float64 { // of the plain drain: its whole time
		if s.fill > 0 {
			return float64(b.opt.Rows) / s.fill
		}
		return rate(s)
	}
	seconds := func(s sample) float64 { return s.seconds }
	perRow := func(s sample) float64 { return s.wal / float64(b.opt.Rows) }
	return []Figure{
		compare(Figure{ID: "S1", What: "drain / binary COPY of the same rows (D1)", Unit: "rows/s", Floor: 0.20, Aim: 0.30}, plain, copied, rate),
		compare(Figure{ID: "S2", What: "drain / textbook SKIP LOCKED loop (D2)", Unit: "rows/s", Floor: 1.8, Aim: 2.5,
			Note: fmt.Sprintf("loop: %d workers, %d rows a page", best.Workers, best.Page)}, plain, classic, rate),
		compare(Figure{ID: "S3", What: "drain with a 2 ms ack / drain", Unit: "rows/s", Floor: 0.9, Aim: 0.97}, acked, plain, rate),
		compare(Figure{ID: "S4", What: "drain beside a held snapshot / drain", Unit: "rows/s", Floor: 0.7, Aim: 0.9}, snapshot, plain, rate),
		compare(Figure{ID: "S4", What: "drain beside a held writer / drain", Unit: "rows/s", Floor: 0.7, Aim: 0.9}, writer, plain, rate),
		compare(Figure{ID: "S5", What: "WAL of claim, mark and receipt / of a wide UPDATE", Unit: "bytes/row", Floor: 0.08, Aim: 0.05, Less: true}, plain, update, perRow),
		compare(Figure{ID: "S9", What: "drain / one-statement wide UPDATE", Unit: "rows/s", Floor: 1.0, Aim: 1.4}, plain, update, rate),
		compare(Figure{ID: "C1", What: "filling the degraded cache / drain", Unit: "rows/s", Floor: 0.8, Aim: 1.0}, outages, plain, fill),
		compare(Figure{ID: "C2", What: "time to drain the backlog out of the cache / from the table", Unit: "s", Floor: 1.2, Aim: 0.8, Less: true}, outages, plain, seconds),
	}, nil
}

// only keeps the figures that are asked for and were measured.
func (b *Bench) only(all []Figure) (wanted []Figure) {
	for _, f := range all {
		if b.wants(f.ID) && len(f.Over) > 0 {
			if b.opt.Unsafe {
				f.Note = "UNSAFE: durability may be off. " + f.Note
			}
			wanted = append(wanted, f)
		}
	}
	return wanted
}

// compare fills a figure from the rounds of its two sides.
func compare(f Figure, over, under []sample, value func(sample) float64) Figure {
	for i := range min(len(over), len(under)) {
		f.add(value(over[i]), value(under[i]), math.Max(over[i].foreign, under[i].foreign))
	}
	return f
}

// copyOut is the read limit: the same rows over one connection, discarded.
func (b *Bench) copyOut(ctx context.Context) (sample, error) {
	conn, err := pgx.Connect(ctx, b.server.url)
	if err != nil {
		return sample{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return b.query(ctx, func() error {
		tag, err := conn.PgConn().CopyTo(ctx, io.Discard, `COPY (SELECT id, key, topic, payload FROM outbox.message_log) TO STDOUT (FORMAT binary)`)
		if err == nil && tag.RowsAffected() != b.opt.Rows {
			err = fmt.Errorf("COPY returned %d rows instead of %d", tag.RowsAffected(), b.opt.Rows)
		}
		return err
	})
}

// afterOutage fills the degraded cache with the backlog while the publisher is down, then drains it.
func (b *Bench) afterOutage(ctx context.Context) (s sample, err error) {
	dir := filepath.Join(b.server.dir, "cache-"+randomHex())
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return b.relay(ctx, job{Cache: dir})
}

// wideUpdate marks all rows of the textbook's table in one statement: the least that a status column beside the payload can cost. No checkpoint comes before
// it: images of whole pages would double its WAL, and flatter S5.
func (b *Bench) wideUpdate(ctx context.Context) (sample, error) {
	if err := b.backlog.pendClassic(ctx, b.opt.Rows); err != nil {
		return sample{}, err
	}
	return b.query(ctx, func() error { return b.backlog.do(ctx, sqlClassicAll) })
}

// beside drains while a transaction is open all the time: a reader's snapshot, or a writer's, which also keeps holes undecided.
func (b *Bench) beside(ctx context.Context, writes bool) (s sample, err error) {
	conn, err := pgx.Connect(ctx, b.server.url)
	if err != nil {
		return s, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, tx.Rollback(context.WithoutCancel(ctx))) }()
	// VACUUM and TRUNCATE of the preparation do not wait for a snapshot that has read no table of ours.
	if _, err := tx.Exec(ctx, `SELECT count(*) FROM pg_class`); err != nil {
		return s, err
	}
	if writes {
		if _, err := tx.Exec(ctx, `SELECT pg_current_xact_id()`); err != nil {
			return s, err
		}
	}
	return b.relay(ctx, job{})
}

// bestClassic tries the loop with each number of workers and each page on a part of the backlog, and returns the fastest.
func (b *Bench) bestClassic(ctx context.Context, workers, pages []int, j job) (best job, err error) {
	rows := max(b.opt.Rows/5, min(b.opt.Rows, 2000))
	fastest := math.Inf(1)
	for _, w := range workers {
		for _, page := range pages {
			j.Workers, j.Page = w, page
			s, err := b.classic(ctx, rows, j)
			if err != nil {
				return best, err
			}
			b.say("  textbook loop with %d workers, %4d rows a page: %9.0f rows/s", w, page, s.rate(rows))
			if s.seconds < fastest {
				fastest, best = s.seconds, j
			}
		}
	}
	return best, nil
}
