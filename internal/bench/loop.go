package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The textbook relay keeps a status beside the message. The partial index is what keeps it usable.
const (
	sqlClassic = `CREATE SCHEMA IF NOT EXISTS waybill_bench;
CREATE TABLE IF NOT EXISTS waybill_bench.classic (
  id bigint PRIMARY KEY, created_at timestamptz NOT NULL, topic text NOT NULL, key text, type text, content_type text, payload bytea,
  status text NOT NULL DEFAULT 'pending', sent_at timestamptz);
CREATE INDEX IF NOT EXISTS classic_pending ON waybill_bench.classic (id) WHERE status = 'pending'`
	sqlClassicFill = `INSERT INTO waybill_bench.classic (id, created_at, topic, key, type, content_type, payload)
SELECT id, created_at, topic, key, type, content_type, payload FROM outbox.message_log ORDER BY id LIMIT $1`
	sqlClassicTake = `SELECT id, key, payload FROM waybill_bench.classic WHERE status = 'pending' ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED`
	sqlClassicMark = `UPDATE waybill_bench.classic SET status = 'sent', sent_at = now() WHERE id = ANY($1)`
	sqlClassicAll  = `UPDATE waybill_bench.classic SET status = 'sent', sent_at = now()`
)

// loop is the textbook relay: each worker takes a page under row locks, publishes it, marks it and commits.
type loop struct {
	job     *job
	conns   []*pgx.Conn
	client  *kgo.Client // nil: acked at once
	witness *witness    // of what was published; with several workers the order is not kept
}

func prepareLoop(ctx context.Context, j *job) (_ *task, err error) {
	l := &loop{job: j, witness: newWitness(j.First, j.Rows, j.Workers == 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	for range j.Workers {
		conn, err := pgx.Connect(ctx, j.URL)
		if err != nil {
			return nil, err
		}
		l.conns = append(l.conns, conn)
	}
	if len(j.Brokers) > 0 {
		// acks=all and idempotent writes are this client's defaults.
		l.client, err = kgo.NewClient(kgo.SeedBrokers(j.Brokers...), kgo.DefaultProduceTopic(j.Topic), kgo.ProducerLinger(0),
			kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(10*j.Page))
		if err != nil {
			return nil, err
		}
	}
	return &task{run: l.run, check: l.witness.verdict, close: l.close}, nil
}

func (l *loop) close() error {
	if l.client != nil {
		l.client.Close()
	}
	var errs []error
	for _, c := range l.conns {
		errs = append(errs, c.Close(context.Background()))
	}
	return errors.Join(errs...)
}

// run until the table holds nothing pending.
func (l *loop) run(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	errs := make([]error, len(l.conns))
	var wg sync.WaitGroup
	for i, c := range l.conns {
		wg.Go(func() {
			for more := true; more && errs[i] == nil; {
				more, errs[i] = l.page(ctx, c)
			}
		})
	}
	wg.Wait()
	return time.Since(began), errors.Join(errs...)
}

// page moves one page; false = nothing was pending.
func (l *loop) page(ctx context.Context, c *pgx.Conn) (more bool, err error) {
	tx, err := c.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
		}
	}()
	ids, records, err := l.take(ctx, tx)
	if err != nil {
		return false, err
	}
	if len(ids) > 0 {
		if l.client != nil {
			if err := l.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
				return false, fmt.Errorf("produce: %w", err)
			}
		}
		for i, id := range ids {
			l.witness.saw(id, string(records[i].Key))
		}
		if _, err := tx.Exec(ctx, sqlClassicMark, ids); err != nil {
			return false, err
		}
	}
	return len(ids) > 0, tx.Commit(ctx)
}

// take reads a page. The rows are copied once, out of the connection's buffer.
func (l *loop) take(ctx context.Context, tx pgx.Tx) (ids []int64, records []*kgo.Record, err error) {
	rows, err := tx.Query(ctx, sqlClassicTake, l.job.Page)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	ids, records = make([]int64, 0, l.job.Page), make([]*kgo.Record, 0, l.job.Page)
	for rows.Next() {
		raw := rows.RawValues()
		id := int64(binary.BigEndian.Uint64(raw[0]))
		bytes := append(append(make([]byte, 0, len(raw[1])+len(raw[2])), raw[1]...), raw[2]...)
		key, payload := bytes[:len(raw[1]):len(raw[1])], bytes[len(raw[1]):]
		ids = append(ids, id)
		records = append(records, &kgo.Record{Key: key, Value: payload, Headers: []kgo.RecordHeader{{Key: headerSeq, Value: strconv.AppendInt(nil, id, 10)}}})
	}
	return ids, records, rows.Err()
}
