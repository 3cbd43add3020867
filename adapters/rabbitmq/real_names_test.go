package rabbitmq

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
)

// TestNamesThatMove_E20: the first address of the server's name takes connections and never answers, then the name leads to another machine while the first one dies
// without closing anything. The relay finds the living one each time; nothing is lost, the order holds, and what was in flight may be there twice.
func TestNamesThatMove_E20(t *testing.T) {
	r := testservices.RabbitMQ(t)
	topic := newName(t)
	makeTopic(t, r.Addrs, topic, "quorum", nil)
	_, port, err := net.SplitHostPort(r.Addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	machine := func(ip string) *tcpproxy.Proxy {
		p, err := tcpproxy.NewAt(net.JoinHostPort(ip, port), r.Addrs[0])
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
	dns.Set("rabbit.test", "127.0.0.10", "127.0.0.11", "127.0.0.12") // nobody is at the first one
	cfg := configFor(t, []string{net.JoinHostPort("rabbit.test", port)})
	cfg.Timeouts = Timeouts{Connect: time.Second, Confirm: 2 * time.Second}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(within(t, patience)) })
	p.names.Resolver = dns.Resolver()
	opened(t, p)
	untilAcked(t, p, ids(topic, "k", 1, 2))
	dns.Set("rabbit.test", "127.0.0.13")
	first.Swallow()
	begun := time.Now()
	untilAcked(t, p, ids(topic, "k", 3, 4))
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the machine that the name leads to now was found after %v", took)
	}
	all := stored(t, r.Addrs, topic)
	if got := slices.Compact(slices.Clone(all)); !slices.Equal(got, []string{"1", "2", "3", "4"}) || len(all) > 4+2 {
		t.Errorf("stored %v", all)
	}
}
