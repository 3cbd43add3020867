package app

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/outbox"
)

// rig is one outbox in a database of its own with topics of its own, the relays that a test runs on it, and the verdict at its end.
type rig struct {
	t      *testing.T
	url    string // superuser
	pool   *pgxpool.Pool
	config *config.Config // of the next relay that is started
	kafka  *testservices.Cluster
	broker waybillbroker.Broker // the bundled one of the next relay; nil = none beside the configured
	prefix string               // of its topics
	topics map[string]*testservices.Cluster

	takenBack map[string]bool // message ids of rows that the database lost after they were sent: the verdict knows of their copies

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
	c.Name, c.Metrics.Listen, c.Dashboard.Listen = "test", "127.0.0.1:0", config.None[string]()
	c.Database.URL, c.Database.Timeouts.Connect = config.SecretText(url), 2*time.Second
	r.lease(15*time.Second, 2*time.Second, 4*time.Second) // on a busy machine a shorter one is lost, which allows repeats
	c.Breaker.ProbeCap = time.Second
	c.Cache.Dir = t.TempDir() // of all its relays: each has a folder there
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
	d := config.NewDestination(name, config.KindKafka)
	d.Kafka.Brokers = k.Brokers
	d.Kafka.Timeouts = config.KafkaTimeouts{Connect: 2 * time.Second, Broker: 3 * time.Second, Publish: 5 * time.Second}
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
