package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
)

const (
	fillChunk    = 50_000 // messages of one statement
	payloadBytes = 1024
)

// sqlFill writes messages through the trigger, as any application's INSERT does.
const sqlFill = `INSERT INTO outbox.message_log (topic, key, type, content_type, payload)
SELECT 'order.paid', ` + sqlKey + `, 'OrderPaid', 'application/octet-stream', decode(repeat(md5(g::text), 64), 'hex') FROM generate_series($1::bigint, $2::bigint) g`

// backlog is a fixed number of messages that are made pending again for each run: ids without a gap, payloads of 1 KiB.
type backlog struct {
	conn  *pgx.Conn
	first int64
	rows  int64
}

// openBacklog connects to an empty outbox.
func openBacklog(ctx context.Context, url string, rows int64) (*backlog, error) {
	conn, err := pgx.Connect(ctx, url)
	return &backlog{conn: conn, rows: rows}, err
}

// fill writes the messages. There are partitions ahead, as a running relay keeps them.
func (b *backlog) fill(ctx context.Context, url string) error {
	store, err := postgres.Open(ctx, postgres.Config{URL: url})
	if err != nil {
		return err
	}
	defer store.Close()
	for done := int64(0); done < b.rows; done += fillChunk {
		if _, err := store.AddPartitions(ctx, 30*24*time.Hour); err != nil {
			return err
		}
		if _, err := b.conn.Exec(ctx, sqlFill, done+1, min(done+fillChunk, b.rows)); err != nil {
			return fmt.Errorf("fill the outbox: %w", err)
		}
	}
	var last, count int64
	if err := b.conn.QueryRow(ctx, `SELECT min(id), max(id), count(*) FROM outbox.message_log`).Scan(&b.first, &last, &count); err != nil {
		return err
	}
	if count != b.rows || last-b.first+1 != b.rows {
		return fmt.Errorf("the outbox was filled with %d messages, ids %d to %d, instead of %d without a gap", count, b.first, last, b.rows)
	}
	return b.do(ctx, `VACUUM (ANALYZE) outbox.message_log`)
}

func (b *backlog) close() error { return b.conn.Close(context.Background()) }

// pend makes all messages pending as the trigger did, and forgets that they were ever sent.
func (b *backlog) pend(ctx context.Context) error {
	return b.do(ctx, `TRUNCATE outbox.message_pending, outbox.receipts, outbox.attempt`,
		fmt.Sprintf(`INSERT INTO outbox.message_pending (id) SELECT id FROM outbox.message_log WHERE id BETWEEN %d AND %d ORDER BY id`, b.first, b.first+b.rows-1),
		fmt.Sprintf(`SELECT setval('outbox.claimed', %d)`, b.first-1), `VACUUM (ANALYZE) outbox.message_pending`, `CHECKPOINT`)
}

// pendClassic gives the textbook relay a fresh table of the same messages.
func (b *backlog) pendClassic(ctx context.Context, rows int64) error {
	if _, err := b.conn.Exec(ctx, sqlClassic+`; TRUNCATE waybill_bench.classic`); err != nil {
		return err
	}
	if _, err := b.conn.Exec(ctx, sqlClassicFill, rows); err != nil {
		return err
	}
	return b.do(ctx, `VACUUM (ANALYZE) waybill_bench.classic`)
}

func (b *backlog) do(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if _, err := b.conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// settled is nil when nothing is pending any more, receipts name as many messages as were sent, and the others are held.
func (b *backlog) settled(ctx context.Context, sent, aside int64) error {
	var pending, held, receipts int64
	err := b.conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM outbox.message_pending), (SELECT count(*) FROM outbox.message_held),
		(SELECT coalesce(sum(n), 0) FROM outbox.receipts)`).Scan(&pending, &held, &receipts)
	if err == nil && (pending != 0 || held != aside || receipts != sent) {
		err = fmt.Errorf("after the run %d messages are pending, %d held instead of %d, and receipts name %d of %d: a wrong answer is no figure", pending, held, aside, receipts, sent)
	}
	return err
}

// sentClassic is nil when the textbook relay marked every row.
func (b *backlog) sentClassic(ctx context.Context) error {
	var pending int64
	err := b.conn.QueryRow(ctx, `SELECT count(*) FROM waybill_bench.classic WHERE status <> 'sent'`).Scan(&pending)
	if err == nil && pending != 0 {
		err = fmt.Errorf("after the run of the textbook loop %d rows are not marked: a wrong answer is no figure", pending)
	}
	return err
}
