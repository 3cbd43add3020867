package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/waybillmq/waybill/adapters/rabbitmq"
	"github.com/waybillmq/waybill/adapters/rocketmq"
	"github.com/waybillmq/waybill/relay"
)

// queueServer is a RocketMQ or a RabbitMQ that runs already.
type queueServer struct {
	NameServers []string // of a RocketMQ; empty = it is a RabbitMQ
	Host        string   // of a RabbitMQ
}

// queueLanes is how many queues, or channels, share the work.
const queueLanes = 8

func (q *queueServer) rocketmq(topic string) rocketmq.Config {
	c := rocketmq.DefaultConfig()
	c.NameServers, c.Group, c.Topics = q.NameServers, "waybill_bench", []string{topic}
	return c
}

func (q *queueServer) rabbitmq() rabbitmq.Config {
	c := rabbitmq.DefaultConfig()
	c.Hosts, c.ConnectionName, c.Channels = []string{q.Host}, "waybill/bench", queueLanes
	return c
}

// make makes a topic with as many queues, or one quorum queue, for one run.
func (q *queueServer) make(ctx context.Context) (topic string, err error) {
	ctx, cancel := context.WithTimeout(ctx, kafkaPatience)
	defer cancel()
	topic = "waybill-bench-" + randomHex()
	if len(q.NameServers) > 0 {
		err = rocketmq.CreateTopics(ctx, q.rocketmq(topic), []string{topic}, queueLanes)
	} else {
		err = rabbitmq.Declare(ctx, q.rabbitmq(), []string{topic})
	}
	if err != nil {
		return "", fmt.Errorf("make %s: %w", topic, err)
	}
	return topic, nil
}

func (q *queueServer) route(r *relay.Route, topic string) {
	if r.Target = topic; len(q.NameServers) == 0 {
		r.Target, r.RoutingKey = rabbitmq.DefaultExchange, topic
	}
}

// destination is the broker as `waybill run` configures it.
func (q *queueServer) destination(topic string, engine func() *relay.Relay) relay.Destination {
	trusted := func() bool { return engine().Trusted() }
	if len(q.NameServers) > 0 {
		c := q.rocketmq(topic)
		c.Trust = trusted
		return relay.Destination{Name: "bench", Capabilities: c.Capabilities(), PublishTimeout: 6 * time.Second, New: func() (relay.Publisher, error) { return rocketmq.New(c) }}
	}
	c := q.rabbitmq()
	c.Trust = trusted
	return relay.Destination{Name: "bench", Capabilities: c.Capabilities(), PublishTimeout: c.Timeouts.Confirm + 2*time.Second,
		New: func() (relay.Publisher, error) { return rabbitmq.New(c) }}
}

// check reads a run back and says whether it holds every message once and each key in order.
func (q *queueServer) check(ctx context.Context, topic string, w *witness) (err error) {
	saw := func(seq, key string) {
		id, _ := strconv.ParseInt(seq, 10, 64) // a record without it is strange: id 0
		w.saw(id, key)
	}
	if len(q.NameServers) > 0 {
		err = rocketmq.ReadAll(ctx, q.rocketmq(topic), topic, func(r rocketmq.Record) error {
			seq, _ := r.Property(headerSeq)
			key, _ := r.Property("SHARDING_KEY")
			saw(seq, key)
			return nil
		})
	} else {
		err = rabbitmq.ReadAll(ctx, q.rabbitmq(), topic, func(r rabbitmq.Record) error {
			seq, _ := r.Header(headerSeq)
			key, _ := r.Header("waybill-key")
			saw(seq, key)
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("read %s back: %w", topic, err)
	}
	return w.verdict()
}

// Queues measures the whole relay, from PostgreSQL to a RocketMQ or a RabbitMQ or both, beside the best loop of the client library into the same server: R1, M1.
func Queues(ctx context.Context, opt Options) (figures []Figure, err error) {
	if len(opt.RocketMQ) == 0 && opt.RabbitMQ == "" {
		return nil, errors.New("name a broker to send to: --rocketmq HOST:PORT or --rabbitmq HOST:PORT")
	}
	b, err := start(ctx, opt, 100_000)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if len(opt.RocketMQ) > 0 { // the name server is another process
		masters, err := rocketmq.Masters(ctx, (&queueServer{NameServers: opt.RocketMQ}).rocketmq("any"))
		if err != nil {
			return nil, fmt.Errorf("no RocketMQ answers at %v: %w", opt.RocketMQ, err)
		}
		b.ours = append(b.ours, listeners(masters)...)
	}
	warmed := false
	for _, s := range []struct {
		id, name string
		at       *queueServer
	}{{"R1", "RocketMQ", &queueServer{NameServers: opt.RocketMQ}}, {"M1", "RabbitMQ", &queueServer{Host: opt.RabbitMQ}}} {
		if len(s.at.NameServers) == 0 && s.at.Host == "" || !b.wants(s.id) {
			continue
		}
		if !warmed {
			if err := b.fill(ctx, func(ctx context.Context, j job) (sample, error) { return b.toQueue(ctx, s.at, jobRelay) }); err != nil {
				return nil, err
			}
			warmed = true
		}
		var relayed, native []sample
		err := b.rounds(ctx, []turn{
			{"relay to " + s.name, &relayed, func(ctx context.Context) (sample, error) { return b.toQueue(ctx, s.at, jobRelay) }},
			{"client library alone", &native, func(ctx context.Context) (sample, error) { return b.toQueue(ctx, s.at, jobNative) }},
		})
		if err != nil {
			return nil, err
		}
		figures = append(figures, compare(Figure{ID: s.id, What: "relay to " + s.name + " / the client library's best loop (D3)", Unit: "msg/s", Floor: 0.7, Aim: 0.9,
			Note: "1 KiB, order per key"}, relayed, native, func(x sample) float64 { return x.rate(b.opt.Rows) }))
	}
	return figures, nil
}

// toQueue gives a run a topic or queue of its own, reads it back, and removes it where that can be done.
func (b *Bench) toQueue(ctx context.Context, q *queueServer, kind string) (s sample, err error) {
	topic, err := q.make(ctx)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, q.remove(topic)) }()
	j := job{Queue: q, Topic: topic, Profile: b.opt.CPUProfile}
	first, ordered := b.backlog.first, true
	if kind == jobRelay {
		s, err = b.relay(ctx, j)
	} else {
		j.Kind, j.Rows, first, ordered, j.Profile = kind, b.opt.Rows, 1, false, ""
		s, err = b.work(ctx, &j)
	}
	if err != nil {
		return s, err
	}
	return s, q.check(ctx, topic, newWitness(first, b.opt.Rows, ordered))
}
