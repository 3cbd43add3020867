package kafka

import (
	"net"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
)

// TestNamesThatMove_E20: the first address of the broker's name takes connections and never answers, then the name leads to another machine while the first one
// dies without closing anything. The relay finds the living one each time, and everything is there once.
func TestNamesThatMove_E20(t *testing.T) {
	c := testservices.Kafka(t)
	topic := topicName(t)
	if err := c.CreateTopic(topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(c.Brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	machine := func(ip string) *tcpproxy.Proxy {
		p, err := tcpproxy.NewAt(net.JoinHostPort(ip, port), c.Brokers[0])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	silent, first := machine("127.0.0.11"), machine("127.0.0.12")
	machine("127.0.0.13")
	silent.Swallow()
	var dns testservices.Names
	dns.Set("kafka.test", "127.0.0.10", "127.0.0.11", "127.0.0.12") // nobody is at the first one
	name := net.JoinHostPort("kafka.test", port)
	cfg := DefaultConfig()
	cfg.Brokers = []string{name}
	quick(&cfg)
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(within(t, patience)) })
	p.dialer.names.Resolver = dns.Resolver()
	p.dialer.via = func(string) string { return name } // also for the address that the broker gives itself
	begun := time.Now()
	opened(t, p)
	untilAcked(t, p, ids(topic, "k", 1, 2))
	t.Logf("found behind a silent address after %v", time.Since(begun).Round(10*time.Millisecond))
	dns.Set("kafka.test", "127.0.0.13")
	first.Swallow()
	begun = time.Now()
	untilAcked(t, p, ids(topic, "k", 3, 4))
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("the machine that the name leads to now was found after %v", took)
	}
	wantStored(t, c.Brokers, topic, 1, 2, 3, 4)
}
