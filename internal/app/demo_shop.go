package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/outbox"
)

// shop is the sample order service: it changes its own rows and publishes in one transaction, as an application would.
type shop struct {
	pool       *pgxpool.Pool
	rate       int
	newest     atomic.Int64 // order
	committed  atomic.Int64
	rolledBack atomic.Int64
	failed     atomic.Int64
	why        atomic.Pointer[string] // the newest failure
}

const (
	shopWorkers   = 4
	shopCustomers = 20 // the keys of its messages
	shopLines     = 12 // an order has at most
)

// placedOrder is the payload of its messages.
type placedOrder struct {
	Order    int64       `json:"order"`
	Customer int64       `json:"customer"`
	State    string      `json:"state"`
	Cents    int64       `json:"cents"`
	Lines    []orderLine `json:"lines"`
}

type orderLine struct {
	Article int64 `json:"article"`
	Count   int64 `json:"count"`
}

// placed is what was ordered: the same at each step of an order, and of different size from order to order.
func placed(id, cents int64, state string) placedOrder {
	o := placedOrder{Order: id, Customer: id%shopCustomers + 1, State: state, Cents: cents}
	for i := range id%shopLines + 1 {
		o.Lines = append(o.Lines, orderLine{Article: 1000 + (id*31+i*977)%9000, Count: i%3 + 1})
	}
	return o
}

var errChangedMind = errors.New("the customer changed his mind")

func openShop(ctx context.Context, url string, rate int) (*shop, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	_, err = pool.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS shop;
		CREATE TABLE IF NOT EXISTS shop.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state text NOT NULL, cents bigint NOT NULL)`)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("make the shop's tables: %w", err)
	}
	return &shop{pool: pool, rate: max(rate, 1)}, nil
}

func (s *shop) close() { s.pool.Close() }

// run takes orders at the rate until ctx ends. A database that is away for a moment costs orders, not the shop.
func (s *shop) run(ctx context.Context) error {
	var wg sync.WaitGroup
	work := make(chan struct{})
	for range shopWorkers {
		wg.Go(func() {
			for range work {
				_ = s.order(context.WithoutCancel(ctx)) // counted inside
			}
		})
	}
	tick := time.NewTicker(time.Second / time.Duration(s.rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			close(work)
			wg.Wait()
			return nil
		case <-tick.C:
			select {
			case work <- struct{}{}:
			case <-ctx.Done():
			}
		}
	}
}

// order places a new order or moves an old one on: business rows first, the message last, one transaction.
func (s *shop) order(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var id, cents int64
		state := "placed"
		err := tx.QueryRow(ctx, `UPDATE shop.orders SET state = CASE state WHEN 'placed' THEN 'paid' ELSE 'shipped' END
			WHERE id = (SELECT id FROM shop.orders WHERE state <> 'shipped' AND id >= $2 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) AND $1
			RETURNING id, cents, state`, rand.IntN(3) > 0, rand.Int64N(s.newest.Load()+1)).Scan(&id, &cents, &state)
		if errors.Is(err, pgx.ErrNoRows) {
			err = tx.QueryRow(ctx, `INSERT INTO shop.orders (state, cents) VALUES ('placed', $1) RETURNING id, cents`, 100+rand.Int64N(100_000)).Scan(&id, &cents)
			s.newest.Store(id)
		}
		if err != nil {
			return err
		}
		o := placed(id, cents, state)
		payload, err := json.Marshal(o)
		if err != nil {
			return err
		}
		_, err = outbox.Publish(ctx, tx, outbox.Message{Topic: "order." + state, Key: fmt.Sprint("customer-", o.Customer), Type: state, ContentType: "application/json", Payload: payload})
		if err == nil && rand.IntN(10) == 0 {
			return errChangedMind
		}
		return err
	})
	switch {
	case errors.Is(err, errChangedMind):
		s.rolledBack.Add(1)
	case err == nil:
		s.committed.Add(1)
	default:
		text := err.Error()
		s.why.Store(&text)
		s.failed.Add(1)
	}
	return err
}

// counts are what the outbox says now.
func (s *shop) counts(ctx context.Context) (sent, pending, held int64, err error) {
	err = s.pool.QueryRow(ctx, `SELECT coalesce((SELECT sum(n) FROM outbox.receipts), 0)::bigint, (SELECT count(*) FROM outbox.message_pending),
		(SELECT count(*) FROM outbox.message_held)`).Scan(&sent, &pending, &held)
	return sent, pending, held, err
}

// newestID is the highest id that was written.
func (s *shop) newestID(ctx context.Context) (id int64, err error) {
	err = s.pool.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM outbox.message_log`).Scan(&id)
	return id, err
}

// unsent counts the messages up to an id that are not sent.
func (s *shop) unsent(ctx context.Context, upTo int64) (n int, err error) {
	err = s.pool.QueryRow(ctx, `SELECT count(*) FROM outbox.message_pending WHERE id <= $1`, upTo).Scan(&n)
	return n, err
}

// owed counts the messages that the relay can send without a person: what is dead, and what waits behind it, is not among them.
func (s *shop) owed(ctx context.Context) (n int, err error) {
	err = s.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM outbox.message_pending) + (SELECT count(*) FROM outbox.message_held h
		WHERE h.state <> 'dead' AND NOT (h.state = 'blocked' AND EXISTS (SELECT FROM outbox.message_held d
			WHERE d.topic = h.topic AND d.key = h.key AND d.id < h.id AND d.state = 'dead' AND NOT d.passed)))`).Scan(&n)
	return n, err
}

// awaitSent waits until everything is sent that needs no person.
func (s *shop) awaitSent(ctx context.Context) error {
	owed := 0
	err := await(ctx, mendLimit, func() (_ bool, err error) {
		owed, err = s.owed(ctx)
		return owed == 0, err
	})
	if err != nil {
		return fmt.Errorf("after a minute %d messages are still to be sent; the broker may be down: %w", owed, err)
	}
	return nil
}

// summary is the one-screen view of a running demonstration.
type summary struct {
	out   io.Writer
	live  bool
	quiet bool // it is not drawn
	shop  *shop
	last  int64
}

// watch shows the summary until selling ends. A relay or a broker that ends by itself is an error.
func (v *summary) watch(selling context.Context, shopDone <-chan error, relay *demoRelay, brokerFailed <-chan error) error {
	every := 5 * time.Second
	if v.live {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-relay.done:
			return fmt.Errorf("the relay ended: %w", errors.Join(relay.err, errors.New("see its log")))
		case err := <-brokerFailed:
			return fmt.Errorf("the bundled broker ended: %w; what it acknowledged is safe, a new start goes on", err)
		case err := <-shopDone:
			if v.live && !v.quiet {
				fmt.Fprintln(v.out)
			}
			return err
		case <-tick.C:
			if !v.quiet {
				v.draw(selling, every)
			}
		}
	}
}

func (v *summary) draw(ctx context.Context, every time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	sent, pending, held, err := v.shop.counts(ctx)
	if ctx.Err() != nil {
		return
	}
	line := fmt.Sprintf("    written %d   sent %d (%d/s)   pending %d   held %d   rolled back %d", v.shop.committed.Load(), sent,
		(sent-v.last)*int64(time.Second)/int64(every), pending, held, v.shop.rolledBack.Load())
	v.last = sent
	if err != nil {
		line = "    the database does not answer: " + err.Error()
	}
	if v.live {
		fmt.Fprintf(v.out, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(v.out, line)
}
