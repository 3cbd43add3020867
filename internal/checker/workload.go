package checker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// Workload is what the producers of one outbox do. Shares are of transactions.
type Workload struct {
	Rate      float64 `json:"rate"` // transactions a second of this outbox
	Writers   int     `json:"writers"`
	Keys      int     `json:"keys"`       // besides the hot one, which gets a fifth
	Async     int     `json:"async"`      // every so many-th writer commits with synchronous_commit=off; 0 = none
	Poison    float64 `json:"poison"`     // messages that the broker refuses for their size
	Scheduled float64 `json:"scheduled"`  // due within 2 s
	Bulk      int     `json:"bulk"`       // messages of a bulk insert, 1 % of the transactions; 0 = none
	LongTx    float64 `json:"long_tx"`    // transactions held open for up to 2 s: they keep holes open
	MaxFiller int     `json:"max_filler"` // bytes of a usual payload at most
}

const (
	topicLimit  = 256 << 10 // max.message.bytes of the topics
	poisonBytes = 300 << 10
)

// producer writes one outbox.
type producer struct {
	url     string
	topic   string
	run     string
	load    Workload
	log     *intents
	tokens  atomic.Int64
	written atomic.Int64 // messages committed, as far as heard
	failed  atomic.Int64 // transactions that failed or are unknown
}

// produce runs the writers until ctx ends.
func (p *producer) produce(ctx context.Context, seed uint64) error {
	var writers sync.WaitGroup
	errs := make([]error, p.load.Writers)
	for w := range p.load.Writers {
		writers.Go(func() {
			errs[w] = p.writer(ctx, rand.New(rand.NewPCG(seed, uint64(w))), p.load.Async > 0 && w%p.load.Async == 0)
		})
	}
	writers.Wait()
	return errors.Join(errs...)
}

func (p *producer) writer(ctx context.Context, r *rand.Rand, async bool) error {
	var conn *pgx.Conn
	defer func() { closeConn(conn) }()
	every := time.Duration(float64(time.Second) * float64(p.load.Writers) / p.load.Rate)
	due := time.Now()
	for {
		due = due.Add(time.Duration(float64(every) * (0.5 + r.Float64())))
		if late := time.Since(due); late > time.Second {
			due = time.Now() // the server was away: no catching up
		}
		if !wait(ctx, time.Until(due)) {
			return nil
		}
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = connect(ctx, p.url); err != nil {
				if !wait(ctx, 50*time.Millisecond) {
					return nil
				}
				continue
			}
		}
		if err := p.transaction(conn, r, async); err != nil {
			return err
		}
	}
}

// act is one planned transaction.
type act struct {
	plan     string
	messages []planned
	hold     time.Duration
}

type planned struct {
	token, key string
	size       int
	delay      time.Duration // scheduled; 0 = at once
	undone     bool          // behind a savepoint that is rolled back
}

func (p *producer) think(r *rand.Rand) act {
	a := act{plan: "commit"}
	switch x := r.Float64(); {
	case x < 0.10:
		a.plan = "rollback"
	case x < 0.15:
		a.plan = "savepoint"
	case x < 0.17:
		a.plan = "error"
	case x < 0.18:
		a.plan = "cut"
	}
	n := 1
	switch x := r.Float64(); {
	case x < 0.01 && p.load.Bulk > 0:
		n = p.load.Bulk
	case x < 0.06:
		n = 2
	case x < 0.10:
		n = 4
	}
	keys := []string{p.key(r), p.key(r)}
	slices.Sort(keys) // one order for all: no deadlock between two transactions
	for i := range n {
		m := planned{token: fmt.Sprintf("%s-%d", p.run, p.tokens.Add(1)), key: keys[i*2/n], size: r.IntN(p.load.MaxFiller + 1)}
		switch x := r.Float64(); {
		case n > 4:
		case x < p.load.Poison:
			m.size = poisonBytes
		case x < p.load.Poison+p.load.Scheduled:
			m.delay = time.Duration(1 + r.Int64N(int64(2*time.Second)))
		case x < p.load.Poison+p.load.Scheduled+0.005:
			m.size = 100 << 10 // above the inline limit of a page
		}
		m.undone = a.plan == "savepoint" && i == 0
		a.messages = append(a.messages, m)
	}
	if a.plan == "savepoint" {
		a.messages = append(a.messages, planned{token: fmt.Sprintf("%s-%d", p.run, p.tokens.Add(1)), key: a.messages[len(a.messages)-1].key, size: 10})
	}
	switch x := r.Float64(); {
	case x < p.load.LongTx:
		a.hold = time.Duration(r.Int64N(int64(2 * time.Second)))
	case x < 0.3:
		a.hold = time.Duration(r.Int64N(int64(20 * time.Millisecond)))
	}
	return a
}

func (p *producer) key(r *rand.Rand) string {
	switch x := r.Float64(); {
	case x < 0.2:
		return "hot"
	case x < 0.25:
		return ""
	}
	return fmt.Sprintf("key-%d", r.IntN(p.load.Keys))
}

// transaction runs one business transaction to its planned end. An error of the database is part of the run; only one of the intent log is returned.
func (p *producer) transaction(conn *pgx.Conn, r *rand.Rand, async bool) error {
	return p.carryOut(conn, p.think(r), async)
}

func (p *producer) carryOut(conn *pgx.Conn, a act, async bool) error {
	plans := make([]Intent, 0, len(a.messages))
	for _, m := range a.messages {
		plan := a.plan
		if plan == "savepoint" && !m.undone {
			plan = "commit"
		}
		plans = append(plans, Intent{Token: m.token, Plan: plan, Async: async})
	}
	if err := p.log.plan(plans...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	heard := p.execute(ctx, conn, a, async)
	for i := range plans {
		plans[i].Plan, plans[i].Heard = "", heard
		if heard == "ok" && a.messages[i].undone {
			plans[i].Heard = "failed"
		}
		if plans[i].Heard == "ok" {
			p.written.Add(1)
		}
	}
	p.log.hear(plans...)
	if heard != "ok" {
		p.failed.Add(1)
	}
	return nil
}

// execute returns what the producer heard: ok, failed (certainly not committed) or unknown.
func (p *producer) execute(ctx context.Context, conn *pgx.Conn, a act, async bool) string {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return "failed"
	}
	if err := p.write(ctx, tx, a, async); err != nil {
		_ = tx.Rollback(ctx)
		return "failed"
	}
	if a.hold > 0 {
		_ = wait(ctx, a.hold)
	}
	switch a.plan {
	case "rollback":
		_ = tx.Rollback(ctx)
		return "failed"
	case "error":
		_, _ = tx.Exec(ctx, `SELECT 1 / 0`)
		_ = tx.Rollback(ctx)
		return "failed"
	case "cut":
		_ = conn.PgConn().Conn().Close()
		closeConn(conn)
		return "failed"
	}
	if err := tx.Commit(ctx); err != nil {
		closeConn(conn)
		return "unknown"
	}
	return "ok"
}

func (p *producer) write(ctx context.Context, tx pgx.Tx, a act, async bool) error {
	if async {
		if _, err := tx.Exec(ctx, `SET LOCAL synchronous_commit = off`); err != nil {
			return err
		}
	}
	if len(a.messages) > 4 && a.plan != "savepoint" {
		return p.bulk(ctx, tx, a.messages)
	}
	for i, m := range a.messages {
		if m.undone {
			if _, err := tx.Exec(ctx, `SAVEPOINT s`); err != nil {
				return err
			}
		}
		if err := p.publish(ctx, tx, m); err != nil {
			return err
		}
		if m.undone {
			if _, err := tx.Exec(ctx, `ROLLBACK TO SAVEPOINT s`); err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
		}
	}
	return nil
}

func (p *producer) publish(ctx context.Context, tx pgx.Tx, m planned) error {
	n, err := next(ctx, tx, p.topic, m.key, 1)
	if err != nil {
		return err
	}
	payload := p.payload(m, n)
	if err := p.remember(ctx, tx, m, n, payload); err != nil {
		return err
	}
	var due *time.Time
	if m.delay > 0 {
		at := time.Now().Add(m.delay)
		due = &at
	}
	_, err = tx.Exec(ctx, `SELECT outbox.publish_bytes($1, $2, key => nullif($3, ''), headers => jsonb_build_object('token', $4::text), deliver_after => $5)`,
		p.topic, payload, m.key, m.token, due)
	return err
}

// bulk is a plain INSERT of many rows, without the key lock of publish: the lock of the oracle orders the key.
func (p *producer) bulk(ctx context.Context, tx pgx.Tx, messages []planned) error {
	places := map[string]int64{}
	for _, key := range []string{messages[0].key, messages[len(messages)-1].key} {
		count := 0
		for _, m := range messages {
			if m.key == key {
				count++
			}
		}
		if _, done := places[key]; done {
			continue
		}
		last, err := next(ctx, tx, p.topic, key, count)
		if err != nil {
			return err
		}
		places[key] = last - int64(count)
	}
	var topics, keys, tokens []string
	var payloads, sums [][]byte
	var ns []int64
	for _, m := range messages {
		places[m.key]++
		payload := p.payload(m, places[m.key])
		sum := sumOf(p.topic, m.key, m.token, payload)
		topics, keys, tokens, ns = append(topics, p.topic), append(keys, m.key), append(tokens, m.token), append(ns, places[m.key])
		payloads, sums = append(payloads, payload), append(sums, sum[:])
	}
	if _, err := tx.Exec(ctx, `INSERT INTO oracle.tx SELECT t, o, k, n, s, k = '' FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[]) AS u(t, o, k, n, s)`,
		tokens, topics, keys, ns, sums); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO outbox.message_log (topic, key, payload, headers) SELECT o, nullif(k, ''), p, jsonb_build_object('token', t)
		FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[]) WITH ORDINALITY AS u(o, k, p, t, i) ORDER BY i`, topics, keys, payloads, tokens)
	return err
}

func (p *producer) remember(ctx context.Context, tx pgx.Tx, m planned, n int64, payload []byte) error {
	sum := sumOf(p.topic, m.key, m.token, payload)
	_, err := tx.Exec(ctx, `INSERT INTO oracle.tx VALUES ($1, $2, $3, $4, $5, $6)`, m.token, p.topic, m.key, n, sum[:], m.key == "" || m.delay > 0)
	return err
}

// body is what a payload says about itself; filler follows in the same JSON object.
type body struct {
	Run    string `json:"run"`
	Token  string `json:"token"`
	Key    string `json:"key"`
	N      int64  `json:"n"`
	Filler string `json:"filler"`
}

func (p *producer) payload(m planned, n int64) []byte {
	raw, err := json.Marshal(body{p.run, m.token, m.key, n, strings.Repeat("x", m.size)})
	if err != nil {
		panic(err) // strings and a number
	}
	return raw
}

// wait sleeps; false = ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return pgx.Connect(ctx, url)
}

func closeConn(conn *pgx.Conn) {
	if conn == nil || conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
