package rabbitmq

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// credentialsRevokedAndRenewed, over TLS and in a virtual host: the server closes the connection of a user who is deleted, the destination pauses, and the
// credentials that Login gives next are used without a restart. Rights on the exchange that are taken away pause the exchange.
func credentialsRevokedAndRenewed(t *testing.T, r *testservices.Rabbit) {
	for _, err := range []error{r.AddVhost("shop"), r.AddUser("clerk", "first", "shop")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var password, topic atomic.Pointer[string]
	set := func(p *atomic.Pointer[string], s string) { p.Store(&s) }
	set(&password, "first")
	set(&topic, newName(t))
	change := func(cfg *Config) {
		cfg.Hosts, cfg.TLS, cfg.Vhost, cfg.Declare = r.TLSAddrs, r.TLS(), "shop", true
		cfg.Login = func() (string, string, error) { return "clerk", *password.Load(), nil }
	}
	cfg := configFor(t, r.TLSAddrs)
	change(&cfg)
	queue := *topic.Load()
	if err := Declare(within(t, patience), cfg, []string{queue}); err != nil {
		t.Fatal(err)
	}
	p := open(t, r.TLSAddrs, change)
	want(t, publish(t, p, ids("", queue, 1)), "acked 1")

	if err := r.DeleteUser("clerk"); err != nil {
		t.Fatal(err)
	}
	var out []relay.Outcome
	eventually(t, "the destination pauses", func() bool {
		out = publish(t, p, ids("", queue, 2))
		return out[0].Kind == relay.Config
	})
	if out[0].Scope != relay.ScopeDestination || out[0].Class != relay.ClassAuth || strings.Contains(out[0].Detail, "first") {
		t.Errorf("%+v", out[0])
	}
	var refused *relay.ConfigError
	if err := p.Open(within(t, patience), 2); !errors.As(err, &refused) || refused.Class != relay.ClassAuth {
		t.Errorf("open: %v", err)
	}
	if err := r.AddUser("clerk", "second", "shop"); err != nil {
		t.Fatal(err)
	}
	if out = publish(t, p, ids("", queue, 2)); out[0].Kind != relay.Config {
		t.Errorf("the old password: %+v", out[0])
	}
	set(&password, "second")
	untilAcked(t, p, ids("", queue, 2))

	exchange := newName(t)
	if out = publish(t, p, ids(exchange, "k", 3)); out[0].Class != relay.ClassUnroutable {
		t.Fatalf("%+v", out[0])
	}
	if err := r.Grant("clerk", "shop", ".*", "^$", ".*"); err != nil {
		t.Fatal(err)
	}
	q := open(t, r.TLSAddrs, change)
	for range 2 { // in whatever way it is found out
		batch := append(ids(exchange, "k", 4), ids(exchange, "", 5)...)
		out = q.Publish(within(t, patience), relay.Lane{Topic: exchange}, batch)
	}
	if want(t, out, "config 2"); out[0].Scope != relay.ScopeTopic || out[0].Class != relay.ClassDenied {
		t.Errorf("%+v", out[0])
	}
	if err := r.Grant("clerk", "shop", ".*", ".*", ".*"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is routed again", func() bool { return publish(t, q, ids(exchange, "k", 4))[0].Class == relay.ClassUnroutable })
	wantLevel(t, check(t, q), "rabbitmq.tls", "connection", relay.LevelOK)
	cfg.Login = func() (string, string, error) { return "clerk", "second", nil }
	cfg.Vhost = "nowhere"
	other, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(within(t, patience))
	if err := other.Open(within(t, patience), 1); !errors.As(err, &refused) || !strings.Contains(refused.Text, "virtual host") {
		t.Errorf("a virtual host that does not exist: %v", err)
	}
}

// otherCluster: hosts of two clusters are no destination.
func otherCluster(t *testing.T, b *testservices.Rabbit) {
	a := testservices.RabbitMQ(t)
	if _, err := b.Ctl("set_cluster_name", "another"); err != nil {
		t.Fatal(err)
	}
	var host atomic.Pointer[string]
	host.Store(&a.Addrs[0])
	p := newPublisher(t, a.Addrs, nil)
	p.via = func(string) string { return *host.Load() }
	opened(t, p)
	first := p.ClusterID()
	host.Store(&b.Addrs[0])
	p.gen.end()
	topic := newName(t)
	var out []relay.Outcome
	eventually(t, "refused", func() bool {
		out = publish(t, p, ids(topic, "k", 1))
		return out[0].Kind == relay.Config
	})
	if out[0].Class != relay.ClassUnsafeBroker || out[0].Scope != relay.ScopeDestination || p.ClusterID() != first {
		t.Errorf("%+v", out[0])
	}
	wantLevel(t, check(t, p), "rabbitmq.cluster", "another", relay.LevelFail)
}
