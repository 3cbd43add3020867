package rocketmq

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// proxyHost is the loopback address under which a master is handed out that is reached through a proxy.
const proxyHost = "127.0.0.2"

// target is a master behind a proxy.
type target struct {
	t     *testing.T
	r     *testservices.Rocket
	proxy *tcpproxy.Proxy
}

func newTarget(t *testing.T, r *testservices.Rocket) *target {
	t.Helper()
	proxy, err := tcpproxy.NewAt(r.Advertised(), r.Broker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	return &target{t: t, r: r, proxy: proxy}
}

func (g *target) config() Config {
	cfg := readConfig(g.r.NameServers)
	cfg.Tombstone = TombstoneByte
	return cfg
}

func (g *target) Publisher() relay.Publisher {
	return unchecked(g.t, g.r.NameServers, func(c *Config) { *c = g.config() })
}

func (g *target) Unreachable() relay.Publisher {
	return unchecked(g.t, []string{unusedAddr(g.t)}, nil)
}

func (g *target) Topic(lanes int) string {
	g.t.Helper()
	name := topicName(g.t)
	if err := g.r.CreateTopic(name, lanes); err != nil {
		g.t.Fatal(err)
	}
	return name
}

func (g *target) Poison(m *relay.Message) {
	m.Payload = make([]byte, defaultLimit+1)
	m.Size = len(m.Payload)
}

// batchBytes is more than anything else has in one piece, heartbeats of clients that linger included, and less than a batch of 10 KiB.
const batchBytes = 8000

func (g *target) LoseAnswer()  { g.proxy.Lose(tcpproxy.Answer, batchBytes) }
func (g *target) LoseRequest() { g.proxy.Lose(tcpproxy.Request, batchBytes) }

func (g *target) Stored(topic string) (all []relaytest.Record) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := ReadAll(ctx, g.config(), topic, func(r Record) error {
		m, err := r.Message(topic)
		slices.SortFunc(m.Headers, func(a, b relay.Header) int { return strings.Compare(a.Name, b.Name) }) // the suite's are sorted, a broker's are not
		all = append(all, relaytest.Record{Lane: relay.Lane{Topic: topic, Index: r.Lane}, Offset: r.Offset, Message: m, At: r.At})
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return all
}

// carries says whether RocketMQ can hold a message unchanged: no property is empty, none holds a separator.
func carries(m *relay.Message) bool {
	if strings.ContainsAny(m.Key, separators) {
		return false
	}
	return !slices.ContainsFunc(m.Headers, func(h relay.Header) bool {
		return h.Value == "" || strings.ContainsAny(h.Value, separators)
	})
}

// halfTarget has publishers of half messages.
type halfTarget struct{ *target }

func (h halfTarget) Publisher() relay.Publisher {
	return unchecked(h.t, h.r.NameServers, func(c *Config) { *c = h.config(); c.Transactional = true })
}

// TestContractOfHalvesOnRocketMQ holds half messages to the same contract.
func TestContractOfHalvesOnRocketMQ(t *testing.T) {
	r := testservices.RocketMQCluster(t, testservices.AdvertisedHost(proxyHost))
	cfg := DefaultConfig()
	cfg.Transactional, cfg.Tombstone = true, TombstoneByte
	relaytest.TestPublisher(t, func(t *testing.T) relaytest.Target { return halfTarget{newTarget(t, r)} },
		relaytest.PublisherTraits{Capabilities: cfg.Capabilities(), Loses: true, Keyless: true, EventPrefix: "CE_", Carries: carries, Lingers: lingers})
}

// TestContractOnRocketMQ holds the adapter to the contract of the port against a real server.
func TestContractOnRocketMQ(t *testing.T) {
	r := testservices.RocketMQCluster(t, testservices.AdvertisedHost(proxyHost))
	caps := DefaultConfig().Capabilities()
	caps.Tombstone = true
	relaytest.TestPublisher(t, func(t *testing.T) relaytest.Target { return newTarget(t, r) },
		relaytest.PublisherTraits{Capabilities: caps, Loses: true, EventPrefix: "CE_", Carries: carries, Lingers: lingers})
}
