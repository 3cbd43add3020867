package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/outbox"
)

// load is traffic of business transactions: one to three messages each, of random keys, or without when there are none, one in eight rolled back.
type load struct {
	stop      func()
	committed atomic.Int64 // messages, as far as the writers heard
	failed    atomic.Int64 // transactions
}

const loadWriters = 3

// write keeps writing to topics until stop; setup, if given, is run on each writer's connection first.
func (r *rig) write(rate, keys int, setup string, topics ...string) *load {
	l := &load{}
	ctx, cancel := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	for w := range loadWriters {
		rnd := rand.New(rand.NewPCG(uint64(w), rand.Uint64()))
		writers.Go(func() { l.writer(ctx, r.url, setup, time.Second*loadWriters/time.Duration(rate), keys, topics, rnd) })
	}
	l.stop = sync.OnceFunc(func() { cancel(); writers.Wait() })
	r.t.Cleanup(l.stop)
	return l
}

func (l *load) writer(ctx context.Context, url, setup string, every time.Duration, keys int, topics []string, rnd *rand.Rand) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var conn *pgx.Conn
	end := func() {
		if conn != nil {
			_ = conn.Close(context.Background())
			conn = nil
		}
	}
	defer end()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := l.transaction(&conn, url, setup, keys, topics, rnd); err != nil {
			l.failed.Add(1)
			end()
		}
	}
}

var errRollback = errors.New("the business changed its mind")

func (l *load) transaction(conn **pgx.Conn, url, setup string, keys int, topics []string, rnd *rand.Rand) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if *conn == nil {
		c, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		*conn = c
		if _, err := c.Exec(ctx, setup); err != nil {
			return err
		}
	}
	msgs := make([]outbox.Message, 1+rnd.IntN(3))
	for i := range msgs {
		m := text(topics[rnd.IntN(len(topics))], "")
		if keys > 0 {
			m.Key = fmt.Sprint("key-", rnd.IntN(keys))
		}
		m.Payload = append(m.Payload, bytes.Repeat([]byte{'.'}, rnd.IntN(600))...)
		msgs[i] = m
	}
	err := pgx.BeginFunc(ctx, *conn, func(tx pgx.Tx) error {
		_, err := outbox.Publish(ctx, tx, msgs...)
		if err == nil && rnd.IntN(8) == 0 {
			return errRollback
		}
		return err
	})
	if errors.Is(err, errRollback) {
		return nil
	}
	if err == nil {
		l.committed.Add(int64(len(msgs)))
	}
	return err
}
