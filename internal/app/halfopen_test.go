package app

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
	"github.com/waybillmq/waybill/relay"
)

// The network to three brokers dies for a minute: every byte, both ways, on the connections that there are and on new ones, is taken and lost, and nothing is closed.
// The relay gives each destination up within its deadline, spends no attempt, and goes on by itself over connections of its own making. What a broker without a
// memory had taken in when the network died is there twice, a batch of each lane at most; all else once, and each key in order.
func TestNetworkToThreeBrokersDies_E20(t *testing.T) {
	t.Parallel()
	const host, dead = "127.0.0.3", time.Minute
	k := testservices.KafkaCluster(t, 1, testservices.AdvertiseAt(host))
	rocket, rabbit := testservices.RocketMQCluster(t, testservices.AdvertisedHost(host)), testservices.RabbitMQCluster(t, 1)
	r := newRig(t, testservices.Postgres(t, 18).URL, k)
	var network []*tcpproxy.Proxy
	through := func(listen, to string) string {
		p, err := tcpproxy.NewAt(listen, to)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		network = append(network, p)
		return p.Addr()
	}
	there := elsewhere{prefix: r.prefix}
	toKafka, names := through(k.Advertised()[0], k.Brokers[0]), through("127.0.0.1:0", rocket.NameServers[0])
	through(rocket.Advertised(), rocket.Broker)
	toRabbit, err := parseRabbitMQ(strings.Replace(rabbit.URLs()[0], rabbit.Addrs[0], through("127.0.0.1:0", rabbit.Addrs[0]), 1), r.prefix)
	if err != nil {
		t.Fatal(err)
	}
	brokers := []struct {
		topic  string
		at     demoBroker
		within time.Duration // until the relay says that it is away
		copies int           // most that may be there twice
	}{
		{"to-kafka", &demoKafka{elsewhere: there, brokers: []string{toKafka}}, 35 * time.Second, 0}, // 15 s, as often as it takes to open the breaker
		{"to-rocketmq", &demoRocketMQ{elsewhere: there, nameServers: []string{names}}, 25 * time.Second, demoPartitions * 200},
		{"to-rabbitmq", toRabbit, 35 * time.Second, 8 * 200}, // a heartbeat of 10 s, and a half
	}
	c, topics := r.config, []string{}
	c.Destinations, c.Routes = nil, nil
	for _, b := range brokers {
		if _, err := b.at.start(t.Context(), []string{b.topic}); err != nil {
			t.Fatal(err)
		}
		topics = append(topics, b.topic)
		to := b.at.destination()
		route := config.Route{Name: b.topic, Match: config.Match{Topic: b.topic}, To: config.To{Destination: to.Name}, Retry: c.Retry, OnDead: "block"}
		b.at.route(&route)
		c.Destinations, c.Routes = append(c.Destinations, to), append(c.Routes, route)
	}
	r.start("a")
	l := r.write(120, 40, "", topics...)
	for _, topic := range topics {
		eventually(t, topic+" is sent", func() bool { return r.sentOf(topic, 0) > 50 })
	}

	for _, p := range network {
		p.Swallow()
	}
	died := time.Now()
	each := func(what string, limit time.Duration, holds func(i int) bool) (after [3]time.Duration) {
		t.Helper()
		begun := time.Now()
		within(t, limit, what, func() bool {
			for i, b := range brokers {
				if after[i] == 0 && holds(i) {
					after[i] = time.Since(begun)
					t.Logf("%s: %s after %v", b.topic, what, after[i].Round(100*time.Millisecond))
				}
			}
			return !slices.Contains(after[:], 0)
		}, r.picture)
		return after
	}
	for i, took := range each("given up", dead, func(i int) bool {
		state, _ := r.said(c.Destinations[i].Name)
		return state == relay.DestinationOpen
	}) {
		if took > brokers[i].within {
			t.Errorf("%s: given up after %v, want %v", brokers[i].topic, took, brokers[i].within)
		}
	}
	lasts(t, dead-time.Since(died))
	for _, p := range network {
		p.Heal()
	}
	newest := r.newest()
	each("goes on", 30*time.Second, func(i int) bool { return r.sentOf(brokers[i].topic, newest) > 0 })
	l.stop()
	r.drained()
	if n := ask[int](r, `SELECT count(*) FROM outbox.message_held`); n != 0 {
		t.Errorf("%d messages are held", n)
	}
	produced, sent := r.written()
	for _, b := range brokers {
		r.verdictAt(b.at, b.topic, b.copies, produced, sent)
	}
}
