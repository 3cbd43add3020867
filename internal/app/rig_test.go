package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/adapters/kafka"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/outbox"
)

// patience bounds every wait for something that is expected.
const patience = 60 * time.Second

// rig is one outbox in a database of its own with topics of its own, the relays that a test runs on it, and the verdict at its end.
type rig struct {
	t      *testing.T
	url    string // superuser
	pool   *pgxpool.Pool
	config *config.Config // of the next relay that is started
	kafka  *testservices.Cluster
	prefix string // of its topics
	topics map[string]*testservices.Cluster

	program func() (string, error) // path of the real program, built when it is first needed

	mu     sync.Mutex
	relays []*runningRelay
}

// newRig makes an outbox whose every topic goes to k under its own name.
func newRig(t *testing.T, url string, k *testservices.Cluster) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := migrations.Up(ctx, url, migrations.Options{}); err != nil {
		t.Fatalf("migrate up: %v", err)
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	r := &rig{t: t, url: url, pool: pool, kafka: k, prefix: "t" + randomHex(4) + ".", topics: map[string]*testservices.Cluster{}}
	r.program = sync.OnceValues(func() (string, error) { return build(t) })
	r.config = config.Default()
	c := r.config
	c.Name, c.Metrics.Listen = "test", "127.0.0.1:0"
	c.Database.URL, c.Database.Timeouts.Connect = config.SecretText(url), 2*time.Second
	r.lease(15*time.Second, 2*time.Second, 4*time.Second) // on a busy machine a shorter one is lost, which allows repeats
	c.Breaker.ProbeCap = time.Second
	r.destination("kafka", k)
	c.Routes = []config.Route{r.route("all", "*", "kafka")}
	t.Cleanup(func() { r.stopAll() })
	return r
}

// lease sets the lease numbers of the next relays: lease, W = U, quarantine.
func (r *rig) lease(lease, write, quarantine time.Duration) {
	c := &r.config.Relay
	c.Lease, c.WriteTimeout, c.TCPUserTimeout, c.Quarantine = lease, write, write, quarantine
}

// destination adds a destination to the configuration.
func (r *rig) destination(name string, k *testservices.Cluster) *config.Destination {
	d := config.Destination{Name: name, Kind: "kafka", Kafka: config.DefaultKafka()}
	d.Brokers = k.Brokers
	d.Timeouts = config.KafkaTimeouts{Connect: 2 * time.Second, Broker: 3 * time.Second, Publish: 5 * time.Second}
	r.config.Destinations = append(r.config.Destinations, d)
	return &r.config.Destinations[len(r.config.Destinations)-1]
}

func (r *rig) route(name, topic, destination string) config.Route {
	return config.Route{Name: name, Match: config.Match{Topic: topic}, To: config.To{Destination: destination, Topic: "{topic}"}, Retry: r.config.Retry, OnDead: "block"}
}

// topic makes a topic and returns its name.
func (r *rig) topic(name string, partitions int, configs map[string]string) string {
	r.t.Helper()
	return r.topicAt(r.kafka, name, partitions, configs)
}

func (r *rig) topicAt(k *testservices.Cluster, name string, partitions int, configs map[string]string) string {
	r.t.Helper()
	name = r.prefix + name
	if err := k.CreateTopic(name, partitions, configs); err != nil {
		r.t.Fatal(err)
	}
	r.topics[name] = k
	return name
}

// runningRelay is a relay in this process.
type runningRelay struct {
	stop func() error // drains and releases
}

// start runs a relay as `waybill run` does; instance names it. It ends with the test at the latest.
func (r *rig) start(instance string) *runningRelay {
	c := *r.config
	c.Relay.Instance = instance
	ctx, cancel := context.WithCancel(context.Background())
	log, done := &logBuffer{}, make(chan error, 1)
	go func() { done <- Run(ctx, RunOptions{Config: &c, LogTo: log, Version: "test"}) }()
	rr := &runningRelay{stop: sync.OnceValue(func() error {
		cancel()
		return <-done
	})}
	r.t.Cleanup(func() {
		if err := rr.stop(); err != nil || r.t.Failed() {
			r.t.Logf("relay %s ended: %v\n%s", instance, err, log.tail())
		}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.relays = append(r.relays, rr)
	return rr
}

func (r *rig) stopAll() {
	r.t.Helper()
	r.mu.Lock()
	relays := r.relays
	r.relays = nil
	r.mu.Unlock()
	for _, rr := range relays {
		if err := rr.stop(); err != nil {
			r.t.Errorf("a relay ended with an error: %v", err)
		}
	}
}

// logBuffer keeps what a relay said, to be shown when its test fails.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) tail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var kept strings.Builder
	for line := range strings.Lines(b.buf.String()) {
		if !strings.Contains(line, "kafka.") && !strings.Contains(line, "can lose what it confirmed") {
			kept.WriteString(line)
		}
	}
	all := kept.String()
	return all[max(0, len(all)-8000):]
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	within(t, patience, what, cond)
}

func within(t *testing.T, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	end, tick := time.NewTimer(limit), time.NewTicker(20*time.Millisecond)
	defer end.Stop()
	defer tick.Stop()
	for !cond() {
		select {
		case <-end.C:
			t.Fatalf("not within %v: %s", limit, what)
		case <-tick.C:
		}
	}
}

// lasts lets traffic run for a time that is the fault itself, such as an outage.
func lasts(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal("the test ended")
	}
}

// ask runs a query with one row and one column.
func ask[T any](r *rig, sql string, args ...any) T {
	r.t.Helper()
	v, err := tryAsk[T](r, sql, args...)
	if err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func tryAsk[T any](r *rig, sql string, args ...any) (v T, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err = r.pool.QueryRow(ctx, sql, args...).Scan(&v)
	return v, err
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	if _, err := r.pool.Exec(context.Background(), sql, args...); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
}

// publish writes messages in one transaction and returns their message ids.
func (r *rig) publish(msgs ...outbox.Message) []string {
	r.t.Helper()
	ids, err := r.tryPublish(msgs...)
	if err != nil {
		r.t.Fatalf("publish: %v", err)
	}
	return ids
}

func (r *rig) tryPublish(msgs ...outbox.Message) (ids []string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		ids, err = outbox.Publish(ctx, tx, msgs...)
		return err
	})
	return ids, err
}

// text makes a message with a small payload that tells it from all others.
func text(topic, key string) outbox.Message {
	return outbox.Message{Topic: topic, Key: key, Payload: []byte(randomHex(12))}
}

// newest is the highest id written.
func (r *rig) newest() int64 {
	r.t.Helper()
	return ask[int64](r, `SELECT coalesce(max(id), 0) FROM outbox.message_log`)
}

// waiting counts messages that are neither sent nor dead nor behind a dead one.
func (r *rig) waiting() int64 {
	n, err := tryAsk[int64](r, `SELECT (SELECT count(*) FROM outbox.message_pending) + (SELECT count(*) FROM outbox.message_held h WHERE h.state <> 'dead' AND NOT
		(h.state = 'blocked' AND EXISTS (SELECT FROM outbox.message_held d WHERE d.topic = h.topic AND d.key = h.key AND d.state = 'dead' AND NOT d.passed)))`)
	if err != nil {
		return -1
	}
	return n
}

// drained waits until everything that can be sent was sent.
func (r *rig) drained() {
	r.t.Helper()
	end := time.Now().Add(patience)
	eventuallyOr(r, "everything is sent", end, func() bool { return r.waiting() == 0 })
}

func eventuallyOr(r *rig, what string, end time.Time, cond func() bool) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(end) {
			r.t.Fatalf("not in time: %s\n%s", what, r.picture())
		}
		<-tick.C
	}
}

// picture says where the messages are, for a test that failed.
func (r *rig) picture() string {
	s, _ := tryAsk[string](r, `SELECT format('pending %s (%s…%s), held %s, owner %s', (SELECT count(*) FROM outbox.message_pending),
		(SELECT min(id) FROM outbox.message_pending), (SELECT max(id) FROM outbox.message_pending),
		(SELECT json_object_agg(coalesce(state, '-'), n) FROM (SELECT concat_ws(' ', state, CASE WHEN due_at IS NOT NULL THEN 'due' END,
			CASE WHEN sending THEN 'sending' END) AS state, count(*) AS n FROM outbox.message_held GROUP BY 1) x),
		(SELECT row_to_json(o) FROM outbox.owner o))`)
	checks, _ := tryAsk[string](r, `SELECT string_agg(instance || ': ' || left((checks -> 'destinations')::text, 600), E'\n') FROM outbox.relay`)
	return s + "\n" + checks
}

// load is traffic of business transactions: one to three messages of random keys each, one in eight rolled back.
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
		m := text(topics[rnd.IntN(len(topics))], fmt.Sprint("key-", rnd.IntN(keys)))
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

// verdict stops the relays and compares what was written, marked sent and stored. duplicates is how many are allowed; gone, if given, says of which ids
// the broker's copy went with its topic.
func (r *rig) verdict(duplicates int, gone ...func(id int64) bool) audit.Result {
	r.t.Helper()
	r.stopAll()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close(ctx)
	produced, err := readProduced(ctx, conn)
	if err != nil {
		r.t.Fatal(err)
	}
	sent, err := readSent(ctx, conn)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(gone) > 0 {
		kept := produced[:0]
		for _, p := range produced {
			if !gone[0](p.ID) {
				kept = append(kept, p)
			}
		}
		produced = kept
	}
	var stored []audit.Stored
	for topic := range r.topics {
		stored = append(stored, r.stored(ctx, topic)...)
	}
	res := audit.Compare(produced, sent, stored)
	if !res.Clean() || res.Duplicates > duplicates || res.Stored < res.Sent {
		r.t.Errorf("verdict: %d duplicates allowed: %+v\n%s", duplicates, res, r.picture())
	}
	r.t.Logf("written %d, sent %d, stored %d, waiting %d, discarded %d, duplicates %d", res.Written, res.Sent, res.Stored, res.Pending, res.Discarded, res.Duplicates)
	return res
}

func (r *rig) stored(ctx context.Context, topic string) (all []audit.Stored) {
	r.t.Helper()
	for _, rec := range r.records(ctx, topic) {
		all = append(all, storedRecord(topic, topic, &rec))
	}
	return all
}

func (r *rig) records(ctx context.Context, topic string) (all []kafka.Record) {
	r.t.Helper()
	if err := kafka.ReadAll(ctx, r.topics[topic].Brokers, topic, func(rec kafka.Record) error { all = append(all, rec); return nil }); err != nil {
		r.t.Fatal(err)
	}
	return all
}

// owner is the instance that owns the outbox, "" when it is free.
func (r *rig) owner() string {
	s, err := tryAsk[string](r, `SELECT CASE WHEN released OR lease_until < clock_timestamp() THEN '' ELSE coalesce(owner, '') END FROM outbox.owner`)
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(s, "/")
	return name
}

func (r *rig) owned(by string) {
	r.t.Helper()
	eventually(r.t, by+" owns the outbox", func() bool { return r.owner() == by })
}

// said is what a relay reports about a destination: its state and its sentence.
func (r *rig) said(destination string) (state, detail string) {
	var row struct{ s, d *string }
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = r.pool.QueryRow(ctx, `SELECT checks #>> ARRAY['destinations', $1, 'state'], checks #>> ARRAY['destinations', $1, 'detail'] FROM outbox.relay
		ORDER BY seen_at DESC LIMIT 1`, destination).Scan(&row.s, &row.d)
	if row.s != nil {
		state = *row.s
	}
	if row.d != nil {
		detail = *row.d
	}
	return state, detail
}

// sentOf counts the messages of a topic above an id that are marked sent.
func (r *rig) sentOf(topic string, above int64) int64 {
	n, err := tryAsk[int64](r, `SELECT count(*) FROM outbox.message_log m WHERE m.topic = $1 AND m.id > $2 AND NOT EXISTS (SELECT FROM outbox.message_pending p
		WHERE p.id = m.id) AND NOT EXISTS (SELECT FROM outbox.message_held h WHERE h.id = m.id)`, topic, above)
	if err != nil {
		return 0
	}
	return n
}
