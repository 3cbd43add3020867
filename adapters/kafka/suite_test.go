package kafka

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// still keeps a publisher from speaking unasked, so that a proxy's next byte is the one that a test means.
func still(p *Publisher) {
	p.transport.MetadataTTL, p.watchEvery = 24*time.Hour, 24*time.Hour
}

// target is a broker behind a proxy.
type target struct {
	t       *testing.T
	brokers []string
	proxy   *tcpproxy.Proxy
	create  func(topic string, partitions int) error
	change  func(*Config) // of every publisher and reader; nil = none
	least   int           // more bytes than any request has that is no batch; 0 = produceBytes
}

func newTarget(t *testing.T, brokers []string, create func(string, int) error) *target {
	t.Helper()
	proxy, err := tcpproxy.New(brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	return &target{t: t, brokers: brokers, proxy: proxy, create: create}
}

func (g *target) config() Config {
	cfg := DefaultConfig()
	cfg.Brokers = g.brokers
	if g.change != nil {
		g.change(&cfg)
	}
	return cfg
}

// via makes an unopened publisher that meets the broker through the proxy.
func (g *target) via(change func(*Config)) *Publisher {
	cfg := g.config()
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	p.dialer.via = func(string) string { return g.proxy.Addr() }
	still(p)
	return p
}

func (g *target) Publisher() relay.Publisher { return g.via(nil) }

func (g *target) Unreachable() relay.Publisher {
	cfg := g.config()
	cfg.Brokers = []string{unusedAddr(g.t)}
	p, err := New(cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	return p
}

var topics atomic.Int64

// topicName is one that no other test uses.
func topicName(t *testing.T) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, t.Name())
	return fmt.Sprintf("%.150s.%d", name, topics.Add(1))
}

func (g *target) Topic(lanes int) string {
	g.t.Helper()
	name := topicName(g.t)
	if err := g.create(name, lanes); err != nil {
		g.t.Fatal(err)
	}
	return name
}

func (g *target) Poison(m *relay.Message) {
	m.Payload = make([]byte, 1_048_588)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(m.Payload) // no codec makes it smaller
	m.Size = len(m.Payload)
}

// produceBytes is more than any other request here has, and less than a produce request of one message.
const produceBytes = 140

func (g *target) LoseAnswer()  { g.proxy.Lose(tcpproxy.Answer, cmp.Or(g.least, produceBytes)) }
func (g *target) LoseRequest() { g.proxy.Lose(tcpproxy.Request, cmp.Or(g.least, produceBytes)) }

func (g *target) Stored(topic string) (all []relaytest.Record) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := g.config().ReadAll(ctx, topic, func(r Record) error {
		rec := record.Record{Offset: r.Offset, Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			rec.Headers = append(rec.Headers, record.Header(h))
		}
		m, err := rec.Message(topic)
		all = append(all, relaytest.Record{Lane: relay.Lane{Topic: topic, Index: r.Partition}, Offset: r.Offset, Message: m, At: r.At})
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return all
}

var traits = relaytest.PublisherTraits{Capabilities: DefaultConfig().Capabilities(), Loses: true, EventPrefix: "ce_"}

// TestContractOnKafka holds the adapter to the contract of the port against a real server.
func TestContractOnKafka(t *testing.T) {
	c := testservices.Kafka(t)
	relaytest.TestPublisher(t, func(t *testing.T) relaytest.Target {
		return newTarget(t, c.Brokers, func(topic string, n int) error { return c.CreateTopic(topic, n, nil) })
	}, traits)
}

// TestContractWithCompression: the same with each codec, poison that is incompressible included.
func TestContractWithCompression(t *testing.T) {
	c := testservices.Kafka(t)
	for _, codec := range []Compression{CompressionGzip, CompressionSnappy, CompressionLZ4, CompressionZstd} {
		t.Run(string(codec), func(t *testing.T) {
			relaytest.TestPublisher(t, func(t *testing.T) relaytest.Target {
				g := newTarget(t, c.Brokers, func(topic string, n int) error { return c.CreateTopic(topic, n, nil) })
				g.change = func(cfg *Config) { cfg.Compression = codec }
				return g
			}, traits)
		})
	}
}

// TestContractOnFake: the same against the fake, which checks sequences more strictly than released servers do.
func TestContractOnFake(t *testing.T) {
	relaytest.TestPublisher(t, func(t *testing.T) relaytest.Target {
		c := fake(t)
		return newTarget(t, c.ListenAddrs(), func(topic string, n int) error { return c.CreateTopic(topic, int32(n), nil) })
	}, traits)
}

// wantStored demands exactly these ids in this order in the first partition.
func (g *target) wantStored(topic string, list ...int) {
	g.t.Helper()
	var got []int
	for _, r := range g.Stored(topic) {
		if r.Lane.Index == 0 {
			got = append(got, int(r.Message.ID))
		}
	}
	if !slices.Equal(got, list) {
		g.t.Fatalf("stored %v, want %v", got, list)
	}
}
