package rabbitmq

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// broker is a RabbitMQ behind a proxy.
type broker struct {
	t     *testing.T
	hosts []string
	proxy *tcpproxy.Proxy
	lanes int // of the next publisher; 0 = the default
	kind  string
}

func newBroker(t *testing.T, hosts []string) *broker {
	t.Helper()
	proxy, err := tcpproxy.New(hosts[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	return &broker{t: t, hosts: hosts, proxy: proxy, kind: "quorum"}
}

// via makes an unopened publisher that meets the broker through the proxy.
func (b *broker) via(change func(*Config)) *Publisher {
	b.t.Helper()
	cfg := configFor(b.t, b.hosts)
	if b.lanes > 0 {
		cfg.Channels = b.lanes
	}
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	p.via = func(string) string { return b.proxy.Addr() }
	return p
}

func configFor(t *testing.T, hosts []string) Config {
	cfg := DefaultConfig()
	cfg.Hosts = hosts
	cfg.ConnectionName = fmt.Sprintf("waybill/%.200s", t.Name())
	return cfg
}

func (b *broker) Publisher() relay.Publisher { return b.via(nil) }

func (b *broker) Unreachable() relay.Publisher {
	p, err := New(configFor(b.t, []string{unusedAddr(b.t)}))
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

var names atomic.Int64

// newName is one that no other test uses.
func newName(t *testing.T) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, t.Name())
	return fmt.Sprintf("%.150s.%d", name, names.Add(1))
}

// Topic makes an exchange, and one queue of the same name that gets everything.
func (b *broker) Topic(lanes int) string {
	b.t.Helper()
	b.lanes = lanes
	name := newName(b.t)
	makeTopic(b.t, b.hosts, name, b.kind, nil)
	return name
}

// Poison makes a message whose type is no short string: the broker would end the whole connection over it.
func (b *broker) Poison(m *relay.Message) { m.Type = strings.Repeat("t", maxShort+1) }

// publishBytes is more than any other write here has, and less than that of one message.
const publishBytes = 150

func (b *broker) LoseAnswer()  { b.proxy.Lose(tcpproxy.Answer, publishBytes) }
func (b *broker) LoseRequest() { b.proxy.Lose(tcpproxy.Request, publishBytes) }

func (b *broker) Stored(topic string) (all []relaytest.Record) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := ReadAll(ctx, configFor(b.t, b.hosts), topic, func(r Record) error {
		m, err := r.Message(topic)
		all = append(all, relaytest.Record{Lane: relay.Lane{Topic: topic}, Offset: int64(len(all)), Message: m, At: r.At})
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

var traits = relaytest.PublisherTraits{Capabilities: DefaultConfig().Capabilities(), Loses: true, FixedLanes: true, EventPrefix: "ce-"}

// TestContractOnRabbitMQ holds the adapter to the contract of the port against a real server.
func TestContractOnRabbitMQ(t *testing.T) {
	r := testservices.RabbitMQ(t)
	for _, kind := range []string{"quorum", "classic"} {
		t.Run(kind, func(t *testing.T) {
			relaytest.TestPublisher(t, func(t *testing.T) relaytest.Target {
				b := newBroker(t, r.Addrs)
				b.kind = kind
				return b
			}, traits)
		})
	}
}
