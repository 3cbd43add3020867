package rocketmq

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
	"github.com/waybillmq/waybill/relay"
)

// TestServersThatTakeTLSOnly (S10): a cluster in enforcing mode. Open and Check say so, of a name server and of a broker, instead of waiting for an answer; through
// tunnels that verify the servers, as the sentence advises, everything works.
func TestServersThatTakeTLSOnly(t *testing.T) {
	leaks := ignored()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks...) }) // after those of the tunnels
	r := testservices.RocketMQCluster(t, testservices.TLSOnly(), testservices.AdvertisedHost(proxyHost))
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 1))
	refused := func(servers []string, addr string) *Publisher {
		t.Helper()
		p := unchecked(t, servers, func(c *Config) { c.Topics = []string{topic} })
		t.Cleanup(func() { must(t, p.Close(within(t, patience))) })
		var said *relay.ConfigError
		if err := p.Open(within(t, patience), 1); !errors.As(err, &said) || said.Class != relay.ClassAuth || !strings.Contains(said.Text, addr+" refuses connections without TLS") {
			t.Errorf("open: %v", err)
		}
		return p
	}
	direct := refused(r.NameServers, r.NameServers[0])
	var said *relay.ConfigError
	if _, err := direct.Check(within(t, patience)); !errors.As(err, &said) {
		t.Errorf("check: %v", err)
	}

	names := tunnel(t, "127.0.0.1:0", r.NameServers[0], r.TLS())
	plain, err := tcpproxy.NewAt(r.Advertised(), r.Broker) // the bytes as they are
	must(t, err)
	t.Cleanup(func() { _ = plain.Close() })
	p := refused([]string{names}, r.Advertised())
	wantLevel(t, check(t, p), "rocketmq.tls_only", "b1", relay.LevelFail)
	must(t, plain.Close())
	tunnel(t, r.Advertised(), r.Broker, r.TLS())
	opened(t, p)
	wantLevel(t, check(t, p), "rocketmq.durability", "b1", relay.LevelWarn)
	want(t, publish(t, p, ids(topic, "k", 1, 2)), "acked 2")
	want(t, publish(t, p, ids(topic, "k", 3)), "acked 1")
	wantStored(t, []string{names}, topic, 1, 2, 3)
}

// tunnel takes plain connections and hands them on through TLS.
func tunnel(t *testing.T, listen, to string, trust *tls.Config) (addr string) {
	t.Helper()
	return forward(t, listen, func() (net.Conn, error) { return tls.Dial("tcp", to, trust) }, func(client io.Writer, server io.Reader) { _, _ = io.Copy(client, server) })
}
