package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// credentials are what Login gives at the moment.
type credentials struct {
	mu             sync.Mutex
	user, password string
	err            error
	asked          int
}

func (c *credentials) set(user, password string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.user, c.password, c.err = user, password, err
}

func (c *credentials) login() (string, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return c.user, c.password, c.err
}

// over is a configuration for one of the listeners of a secure cluster.
func over(roots *x509.CertPool, m Mechanism, login *credentials) func(*Config) {
	return func(cfg *Config) {
		if roots != nil {
			cfg.TLS = &tls.Config{RootCAs: roots, CurvePreferences: []tls.CurveID{tls.X25519}} // a short ClientHello: see handshakeBytes
		}
		cfg.SASL.Mechanism = m
		if login != nil {
			cfg.Login = login.login
		}
	}
}

// TestSecured is what a cluster with TLS, logins and rights shows; each part has users and topics of its own.
func TestSecured(t *testing.T) {
	c := testservices.KafkaCluster(t, 1, testservices.Secure())
	for name, part := range map[string]func(*testing.T, *testservices.Cluster){
		"contract": contractWithLogin, "not let in": notLetIn, "password changed": passwordChanged, "sessions end": sessionsEnd,
		"rights revoked": rightsRevoked, "transactional id refused": transactionalIDRefused, "certificates end": certificatesEnd, "another cluster": anotherCluster,
	} {
		t.Run(name, func(t *testing.T) { part(t, c) })
	}
}

// handshakeBytes is more than any step of a TLS handshake and a login here has, and less than a produce request of five messages. A certificate of the client
// has more; there nothing is lost on the way.
const handshakeBytes = 400

// contractWithLogin: the contract over TLS with each mechanism, and without login.
func contractWithLogin(t *testing.T, c *testservices.Cluster) {
	s := c.Secure()
	if err := c.SetUser("relay", "pass,word=1"); err != nil { // characters that SCRAM escapes
		t.Fatal(err)
	}
	scram := &credentials{user: "relay", password: "pass,word=1"}
	for name, way := range map[string]struct {
		brokers []string
		change  func(*Config)
	}{
		"plain over tls":   {s.SASL, over(s.Roots, MechanismPlain, &credentials{user: s.PlainUser, password: s.PlainPassword})},
		"sha 512 over tls": {s.SASL, over(s.Roots, MechanismSHA512, scram)},
		"sha 512, no tls":  {s.Brief, over(nil, MechanismSHA512, scram)}, // its sessions end after 2 s
		"client certificate": {s.TLS, func(cfg *Config) {
			cfg.TLS = &tls.Config{RootCAs: s.Roots, Certificates: []tls.Certificate{s.Client}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			able := traits
			able.Loses = name != "client certificate"
			relaytest.TestPublisher(t, func(t *testing.T) relaytest.Target {
				g := newTarget(t, way.brokers, func(topic string, n int) error { return c.CreateTopic(topic, n, nil) })
				g.change, g.least = way.change, handshakeBytes
				return g
			}, able)
		})
	}
}

// refusedOpen demands that Open and Check say the same: a person must change something, namely this.
func refusedOpen(t *testing.T, brokers []string, change func(*Config), class, hint string) {
	t.Helper()
	p := newPublisher(t, brokers, change)
	err := p.Open(within(t, patience), 1)
	var refused *relay.ConfigError
	if !errors.As(err, &refused) || refused.Class != class || !strings.Contains(refused.Text, hint) {
		t.Errorf("open: %v, want %s and %q", err, class, hint)
	}
	findings, err := p.Check(within(t, patience))
	if !errors.As(err, &refused) || refused.Class != class || !strings.Contains(refused.Text, hint) {
		t.Errorf("check: %v, want %s and %q", err, class, hint)
	}
	if f := findings.Items; len(f) != 1 || f[0].ID != "kafka.admission" || f[0].Level != relay.LevelFail || f[0].Subject != brokers[0] || !strings.Contains(f[0].Fix, hint) {
		t.Errorf("check: %+v, want %q", f, hint)
	}
}

// certificatesEnd: Check warns a month before the certificate of a broker, or ours, ends.
func certificatesEnd(t *testing.T, c *testservices.Cluster) {
	s := c.Secure()
	topic := topicName(t)
	if err := c.CreateTopic(topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	p := newPublisher(t, s.SASL, over(s.Roots, MechanismPlain, &credentials{user: s.PlainUser, password: s.PlainPassword}))
	findings := check(t, p)
	wantLevel(t, findings, "kafka.admission", s.SASL[0], relay.LevelOK)
	wantLevel(t, findings, "kafka.certificate", s.SASL[0], relay.LevelOK)
	p = newPublisher(t, s.TLS, func(cfg *Config) {
		cfg.TLS = &tls.Config{RootCAs: s.Roots, Certificates: []tls.Certificate{s.Client}}
	})
	findings = check(t, p)
	wantLevel(t, findings, "kafka.admission", s.TLS[0], relay.LevelOK)
	wantLevel(t, findings, "kafka.certificate", s.TLS[0], relay.LevelWarn) // testservices.SoonExpires
	wantLevel(t, findings, "kafka.client_certificate", "tls", relay.LevelOK)
	for _, f := range findings.Items {
		if strings.HasPrefix(f.ID, "kafka.cert") && !p.Concerns(f) {
			t.Errorf("%+v concerns nobody", f)
		}
	}
	wantLevel(t, check(t, newPublisher(t, s.TLS, func(cfg *Config) { cfg.TLS = &tls.Config{InsecureSkipVerify: true} })), "kafka.certificate", "tls", relay.LevelWarn)
}

// notLetIn (58, 33, 34, certificates, TLS and login where the broker has none and the other way round): config, with what to change.
func notLetIn(t *testing.T, c *testservices.Cluster) {
	s := c.Secure()
	if err := c.SetUser("known", "secret"); err != nil {
		t.Fatal(err)
	}
	good := &credentials{user: "known", password: "secret"}
	with := func(cert tls.Certificate) func(*Config) {
		return func(cfg *Config) {
			cfg.TLS = &tls.Config{RootCAs: s.Roots, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }}
		}
	}
	for name, way := range map[string]struct {
		brokers []string
		change  func(*Config)
		hint    string
	}{
		"wrong password, plain":   {s.SASL, over(s.Roots, MechanismPlain, &credentials{user: s.PlainUser, password: "no"}), "check the credentials"},
		"wrong password, sha 256": {s.SASL, over(s.Roots, MechanismSHA256, &credentials{user: "known", password: "no"}), "check the credentials"},
		"wrong password, sha 512": {s.SASL, over(s.Roots, MechanismSHA512, &credentials{user: "known", password: "no"}), "check the credentials"},
		"unknown user":            {s.SASL, over(s.Roots, MechanismSHA512, &credentials{user: "nobody", password: "no"}), "check the credentials"},
		"characters not allowed":  {s.SASL, over(s.Roots, MechanismSHA512, &credentials{user: "relay", password: "\x07"}), "cannot be used"},
		"no credentials":          {s.SASL, over(s.Roots, MechanismSHA512, &credentials{err: errors.New("the file is gone")}), "cannot be used"},
		"another mechanism":       {s.Brief, over(s.Roots, MechanismPlain, good), "TLS at this address"},
		"mechanism not enabled":   {s.Brief, over(nil, MechanismSHA256, good), "sasl.mechanism"},
		"login where none is":     {s.TLS, over(s.Roots, MechanismSHA512, good), "takes no login"},
		"no login where one is":   {s.SASL, over(s.Roots, MechanismNone, nil), "set sasl"},
		"the same without tls":    {s.Brief, nil, "set sasl"},
		"no tls where tls is":     {s.TLS, nil, "set tls"},
		"no tls, but a login":     {s.SASL, over(nil, MechanismSHA512, good), "set tls"},
		"tls where none is":       {c.Brokers, over(s.Roots, MechanismNone, nil), "does not speak TLS"},
		"foreign authority":       {s.TLS, over(s.OtherRoots, MechanismNone, nil), "certificate is not accepted"},
		"expired certificate":     {s.Expired, over(s.Roots, MechanismNone, nil), "certificate is not accepted"},
		"another name":            {s.TLS, func(cfg *Config) { cfg.TLS = &tls.Config{RootCAs: s.Roots, ServerName: "kafka.example"} }, "certificate is not accepted"},
		"expired client":          {s.TLS, with(s.ClientExpired), "client certificate"},
		"foreign client":          {s.TLS, with(s.ClientForeign), "client certificate"},
	} {
		t.Run(name, func(t *testing.T) { refusedOpen(t, way.brokers, way.change, relay.ClassAuth, way.hint) })
	}
	if good.asked == 0 {
		t.Error("nobody asked for credentials")
	}
}

// anotherCluster: the addresses of a running publisher lead to another cluster, whose brokers have the same numbers and topics. Nothing is published there, and
// when they lead back everything goes on.
func anotherCluster(t *testing.T, other *testservices.Cluster) {
	own := testservices.Kafka(t)
	g := newTarget(t, own.Brokers, func(topic string, n int) error {
		return errors.Join(own.CreateTopic(topic, n, nil), other.CreateTopic(topic, n, nil))
	})
	topic := g.Topic(1)
	p := newPublisher(t, own.Brokers, nil)
	var away atomic.Bool
	p.dialer.via = func(string) string {
		if away.Load() {
			return other.Brokers[0]
		}
		return g.proxy.Addr()
	}
	opened(t, p)
	want(t, publish(t, p, ids(topic, "k", 1)), "acked 1")
	away.Store(true)
	g.proxy.Drop()
	batch := ids(topic, "k", 2, 3)
	for range 5 {
		eventually(t, "another cluster", func() bool {
			o := publish(t, p, batch)[0]
			return o.Kind == relay.Config && o.Scope == relay.ScopeDestination && o.Code == "kafka/another_cluster"
		})
	}
	var refused *relay.ConfigError
	if err := p.Open(within(t, patience), 2); !errors.As(err, &refused) || refused.Class != relay.ClassUnsafeBroker {
		t.Errorf("open: %v", err)
	}
	wantStored(t, other.Brokers, topic)
	away.Store(false)
	untilAcked(t, p, batch)
	wantStored(t, own.Brokers, topic, 1, 2, 3)
	wantStored(t, other.Brokers, topic)
	if n := p.Counters().SessionsLapsed; n != 0 {
		t.Errorf("%d sessions lapsed", n)
	}
}
