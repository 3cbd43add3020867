package testservices_test

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/waybillmq/waybill/internal/testservices"
)

// enter connects and logs in, and asks for the brokers: an answer that only a client gets that is let in.
func enter(t *testing.T, address string, cfg *tls.Config, m sasl.Mechanism) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := (&kafka.Dialer{TLS: cfg, SASLMechanism: m}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Brokers()
	return err
}

func scramOf(t *testing.T, kind scram.Algorithm, user, password string) sasl.Mechanism {
	t.Helper()
	m, err := scram.Mechanism(kind, user, password)
	must(t, err)
	return m
}

func TestSecureKafka(t *testing.T) {
	c := testservices.KafkaCluster(t, 1, testservices.Secure())
	s := c.Secure()
	trusting := &tls.Config{RootCAs: s.Roots}

	must(t, enter(t, s.SASL[0], trusting, plain.Mechanism{Username: s.PlainUser, Password: s.PlainPassword}))
	if err := enter(t, s.SASL[0], trusting, plain.Mechanism{Username: s.PlainUser, Password: "wrong"}); !errors.Is(err, kafka.SASLAuthenticationFailed) {
		t.Errorf("a wrong password: %v", err)
	}
	must(t, c.SetUser("relay", "first"))
	must(t, c.SetUser("relay", "second"))
	for _, kind := range []scram.Algorithm{scram.SHA256, scram.SHA512} {
		must(t, enter(t, s.SASL[0], trusting, scramOf(t, kind, "relay", "second")))
		if err := enter(t, s.SASL[0], trusting, scramOf(t, kind, "relay", "first")); !errors.Is(err, kafka.SASLAuthenticationFailed) {
			t.Errorf("a password that was changed: %v", err)
		}
	}
	must(t, enter(t, s.Brief[0], nil, scramOf(t, scram.SHA512, "relay", "second")))
	if err := enter(t, s.Brief[0], nil, scramOf(t, scram.SHA256, "relay", "second")); !errors.Is(err, kafka.UnsupportedSASLMechanism) {
		t.Errorf("a mechanism that is not enabled: %v", err)
	}
	must(t, c.DropUser("relay", "second"))
	if err := enter(t, s.SASL[0], trusting, scramOf(t, scram.SHA256, "relay", "second")); !errors.Is(err, kafka.SASLAuthenticationFailed) {
		t.Errorf("a user that was dropped: %v", err)
	}

	must(t, enter(t, s.TLS[0], trusting, nil))
	must(t, enter(t, s.TLS[0], &tls.Config{RootCAs: s.Roots, Certificates: []tls.Certificate{s.Client}}, nil))
	for name, cfg := range map[string]*tls.Config{
		"another authority":               {RootCAs: s.OtherRoots},
		"another host":                    {RootCAs: s.Roots, ServerName: "kafka.example"},
		"an expired client":               {RootCAs: s.Roots, Certificates: []tls.Certificate{s.ClientExpired}},
		"a client of another authority":   {RootCAs: s.Roots, GetClientCertificate: always(s.ClientForeign)},
		"no TLS where the broker asks it": nil,
	} {
		if enter(t, s.TLS[0], cfg, nil) == nil {
			t.Errorf("%s was let in", name)
		}
	}
	if enter(t, s.Expired[0], trusting, nil) == nil {
		t.Error("a server with an expired certificate was accepted")
	}

	must(t, c.CreateTopic("orders", 1, nil))
	must(t, c.Revoke("relay", "orders"))
	must(t, c.Restore("relay", "orders"))
	if c.Restore("relay", "orders") == nil {
		t.Error("restored twice")
	}
	must(t, produce(t, c, "orders", "through the plain listener"))
}

// always gives a certificate also to a server that does not name its authority.
func always(c tls.Certificate) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
}
