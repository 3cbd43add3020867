package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
)

// poisonEvery is which messages nobody takes in: about four of each page, each of them closing its key.
const poisonEvery = 499

// heldTopic keeps what is held apart from the keys of the backlog.
const heldTopic = "order.held"

// sqlFillHeld writes the messages numbered $1 to $2, those up to $3 of one key and each of the others of its own, and takes them out of the main flow.
const sqlFillHeld = `INSERT INTO outbox.message_log (topic, key, type, content_type, payload)
SELECT '` + heldTopic + `', CASE WHEN g <= $3::bigint THEN 'k000000' ELSE 'dead-' || g END, 'OrderPaid', 'application/octet-stream', decode(repeat(md5(g::text), 64), 'hex')
FROM generate_series($1::bigint, $2::bigint) g`

// sqlHold holds what lies from $1 on: the first $2 ids as the messages of one key behind its dead head, the rest as dead ones.
const sqlHold = `INSERT INTO outbox.message_held (id, state, topic, key, destination, attempts, outcome, class, error)
SELECT m.id, CASE WHEN m.id > $1::bigint AND m.id < $1::bigint + $2::bigint THEN 'blocked' ELSE 'dead' END, m.topic, m.key, 'bench', 1, 'rejected', 'invalid', 'bench'
FROM outbox.message_log m WHERE m.id >= $1::bigint ORDER BY m.id`

// heldLoad is what is set aside beside the backlog: very many messages of one key behind its dead head, and many dead ones. Their ids follow the backlog's.
type heldLoad struct {
	first int64 // the head
	queue int64 // messages of its key, the head among them
	dead  int64 // of other keys
}

// heldFigures are S16 to S18 and E4, with drains of their own to compare with.
func (b *Bench) heldFigures(ctx context.Context) ([]Figure, error) {
	load := heldLoad{queue: 2*b.opt.Rows + 1, dead: max(b.opt.Rows/5, 1)}
	b.say("writing %d messages of one key and %d others, to be held", load.queue, load.dead)
	if err := load.fill(ctx, b); err != nil {
		return nil, err
	}
	var plain, beside, poison, release []sample
	turns := []turn{{"drain", &plain, func(ctx context.Context) (sample, error) {
		if err := b.backlog.do(ctx, `TRUNCATE outbox.message_held`); err != nil {
			return sample{}, err
		}
		return b.relay(ctx, job{})
	}}}
	for _, t := range []struct {
		ids []string
		turn
	}{
		{[]string{"S16", "E4"}, turn{"drain beside held", &beside, func(ctx context.Context) (sample, error) { return load.drain(ctx, b, job{}) }}},
		{[]string{"S17", "E4"}, turn{"with poison in it", &poison, func(ctx context.Context) (sample, error) { return load.drain(ctx, b, job{Poison: poisonEvery}) }}},
		{[]string{"S18"}, turn{"release of one key", &release, func(ctx context.Context) (sample, error) { return load.release(ctx, b) }}},
	} {
		if b.wants(t.ids...) {
			turns = append(turns, t.turn)
		}
	}
	if err := b.rounds(ctx, turns); err != nil {
		return nil, err
	}
	rate := func(s sample) float64 { return s.rate(b.opt.Rows) }
	peak := func(s sample) float64 { return s.peak / (1 << 20) }
	what := fmt.Sprintf("%d held behind one dead key and %d dead", load.queue-1, load.dead)
	return []Figure{
		compare(Figure{ID: "S16", What: "drain beside " + what + " / drain", Unit: "rows/s", Floor: 0.8, Aim: 0.95}, beside, plain, rate),
		compare(Figure{ID: "S17", What: "the same with refused messages in every page / drain", Unit: "rows/s", Floor: 0.8, Aim: 0.9}, poison, plain, rate),
		compare(Figure{ID: "S18", What: "release of the messages behind the dead one / drain", Unit: "rows/s"}, release, plain, rate),
		compare(Figure{ID: "E4", What: "peak memory: drain beside held, with poison / drain", Unit: "MiB", Floor: 2, Aim: 1.5, Less: true}, poison, plain, peak),
	}, nil
}

// fill writes the messages that are to be held.
func (l *heldLoad) fill(ctx context.Context, b *Bench) error {
	store, err := postgres.Open(ctx, postgres.Config{URL: b.server.url})
	if err != nil {
		return err
	}
	defer store.Close()
	l.first = b.backlog.first + b.backlog.rows
	for done, all := int64(0), l.queue+l.dead; done < all; done += fillChunk {
		if _, err := store.AddPartitions(ctx, 30*24*time.Hour); err != nil {
			return err
		}
		if _, err := b.backlog.conn.Exec(ctx, sqlFillHeld, done+1, min(done+fillChunk, all), l.queue); err != nil {
			return fmt.Errorf("write what is to be held: %w", err)
		}
	}
	var first, last, count int64
	err = b.backlog.conn.QueryRow(ctx, `SELECT min(id), max(id), count(*) FROM outbox.message_log WHERE topic = $1`, heldTopic).Scan(&first, &last, &count)
	if err == nil && (first != l.first || count != l.queue+l.dead || last-first+1 != count) {
		err = fmt.Errorf("what is to be held has %d messages, ids %d to %d, instead of %d from %d on without a gap", count, first, last, l.queue+l.dead, l.first)
	}
	return errors.Join(err, b.backlog.do(ctx, `VACUUM (ANALYZE) outbox.message_log`))
}

// set holds all of it, and nothing else.
func (l *heldLoad) set(ctx context.Context, b *Bench) error {
	if err := b.backlog.do(ctx, fmt.Sprintf(`DELETE FROM outbox.message_held WHERE id < %d`, l.first)); err != nil {
		return err
	}
	if held, err := l.count(ctx, b); err != nil || held == l.queue+l.dead {
		return err
	}
	if err := b.backlog.do(ctx, `TRUNCATE outbox.message_held`); err != nil {
		return err
	}
	if _, err := b.backlog.conn.Exec(ctx, sqlHold, l.first, l.queue); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	return b.backlog.do(ctx, `VACUUM (ANALYZE) outbox.message_held`)
}

func (l *heldLoad) count(ctx context.Context, b *Bench) (n int64, err error) {
	err = b.backlog.conn.QueryRow(ctx, `SELECT count(*) FROM outbox.message_held WHERE id >= $1`, l.first).Scan(&n)
	return n, err
}

// drain drains the backlog beside what is held.
func (l *heldLoad) drain(ctx context.Context, b *Bench, j job) (sample, error) {
	if err := l.set(ctx, b); err != nil {
		return sample{}, err
	}
	return b.drain(ctx, j, l.queue+l.dead)
}

// release retries the head, as a person does, and waits until its whole key is sent.
func (l *heldLoad) release(ctx context.Context, b *Bench) (s sample, err error) {
	if err := l.set(ctx, b); err != nil {
		return s, err
	}
	if err := b.backlog.do(ctx, `TRUNCATE outbox.message_pending, outbox.receipts`, `CHECKPOINT`); err != nil {
		return s, err
	}
	s, err = b.work(ctx, &job{Kind: jobRelay, First: l.first, Rows: l.queue, Release: l.first})
	if err == nil {
		err = b.backlog.settled(ctx, l.queue, l.dead)
	}
	if err != nil {
		return s, fmt.Errorf("release of one key: %w", err)
	}
	s.count = l.queue
	return s, nil
}

// retry is a person's act.
func retry(ctx context.Context, url string, id int64) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var changed int
	err = conn.QueryRow(ctx, `SELECT changed FROM outbox.retry(ARRAY[$1::bigint], 'bench', 'bench')`, id).Scan(&changed)
	if err == nil && changed != 1 {
		err = fmt.Errorf("the retry of message %d changed %d", id, changed)
	}
	return err
}
