package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	latencyRate    = 1000 // one-row transactions a second
	latencyWriters = 8    // connections; keyCount is a multiple, so that a key has one writer
	latencySilence = 400 * time.Millisecond
)

const (
	sqlPublish    = `SELECT outbox.publish_bytes('order.paid', $1::bytea, key => $2)`
	sqlPlainTable = `CREATE TABLE IF NOT EXISTS plain (id bigserial PRIMARY KEY, payload bytea, key text)`
	sqlPlain      = `INSERT INTO plain (payload, key) VALUES ($1, $2)`
)

// writers commit messages over several connections, and take note of when.
type writers struct {
	conns     []*pgx.Conn
	sent      int         // messages written so far; their numbers are 0 to sent-1
	committed []time.Time // by number; each written by one writer, read after all of them have ended
}

func openWriters(ctx context.Context, url string, most int) (_ *writers, err error) {
	w := &writers{committed: make([]time.Time, most)}
	for range latencyWriters {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		w.conns = append(w.conns, conn)
	}
	return w, nil
}

func (w *writers) close() error {
	var errs []error
	for _, c := range w.conns {
		errs = append(errs, c.Close(context.Background()))
	}
	return errors.Join(errs...)
}

// pace writes n messages at latencyRate.
func (w *writers) pace(ctx context.Context, n int, write func(context.Context, *pgx.Conn, int) error) error {
	began, errs := time.Now(), make([]error, len(w.conns))
	var wg sync.WaitGroup
	for k, conn := range w.conns {
		wg.Go(func() {
			for i := range n {
				if number := w.sent + i; number%len(w.conns) == k && errs[k] == nil {
					pause(ctx, time.Until(began.Add(time.Duration(i)*time.Second/latencyRate)))
					errs[k] = write(ctx, conn, number)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// write commits a message to the outbox.
func (w *writers) write(ctx context.Context, conn *pgx.Conn, number int) error {
	payload, key := w.message(number)
	_, err := conn.Exec(ctx, sqlPublish, payload, key)
	w.committed[number] = time.Now()
	return err
}

func (w *writers) message(number int) (payload []byte, key string) {
	payload = make([]byte, payloadBytes)
	binary.BigEndian.PutUint64(payload, uint64(number))
	return payload, fmt.Sprintf("k%06d", number%keyCount)
}
