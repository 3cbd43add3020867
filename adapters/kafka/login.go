package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/waybillmq/waybill/relay"
)

// SASL says how to log in.
type SASL struct {
	Mechanism Mechanism
}

// Mechanism is a way to prove who we are.
type Mechanism string

// The mechanisms.
const (
	MechanismNone   Mechanism = "none"
	MechanismPlain  Mechanism = "plain" // the password itself, which only TLS hides
	MechanismSHA256 Mechanism = "scram-sha-256"
	MechanismSHA512 Mechanism = "scram-sha-512"
)

func (m Mechanism) known() bool {
	return m == MechanismNone || m == MechanismPlain || m == MechanismSHA256 || m == MechanismSHA512
}

func (m Mechanism) with(user, password string) (sasl.Mechanism, error) {
	switch m {
	case MechanismSHA256:
		return scram.Mechanism(scram.SHA256, user, password)
	case MechanismSHA512:
		return scram.Mechanism(scram.SHA512, user, password)
	}
	return plain.Mechanism{Username: user, Password: password}, nil
}

// refusal is a broker that was reached and does not let us in, or that we do not trust: certainly nothing was sent, and a person must end it. sig is its row
// of the error map.
type refusal struct {
	addr  string
	sig   signal
	words string // the other side's
}

func (e *refusal) Error() string {
	text := e.addr + ": " + rules[e.sig].text
	if e.words != "" {
		text += ": " + e.words
	}
	return text
}

// config is the refusal for whoever runs the publisher.
func (e *refusal) config() *relay.ConfigError {
	return &relay.ConfigError{Class: rules[e.sig].class, Text: "kafka: " + reason(e)}
}

// admitted makes a fresh socket one that requests may be sent on: TLS, login, and the cluster that is pinned. Nothing of it is done that the configuration
// does not ask for. The library could do the first two; here they happen once for every kind of connection, within our deadlines, and what a broker says
// against us is known for what it is.
func (d *dialer) admitted(ctx context.Context, c *conn) (net.Conn, error) {
	pin := d.pin()
	if d.cfg.TLS == nil && d.cfg.SASL.Mechanism == MechanismNone && pin == "" {
		return c, nil
	}
	limit := time.Now().Add(d.cfg.Timeouts.Connect)
	if t, ok := ctx.Deadline(); ok && t.Before(limit) {
		limit = t
	}
	_ = c.SetDeadline(limit)
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	safe, err := d.admit(ctx, c, pin)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return safe, c.SetDeadline(time.Time{})
}

func (d *dialer) admit(ctx context.Context, c *conn, pin string) (net.Conn, error) {
	var safe net.Conn = c
	if d.cfg.TLS != nil {
		t, err := d.encrypt(ctx, c)
		if err != nil {
			return nil, err
		}
		safe = t
	}
	pc := protocol.NewConn(safe, d.cfg.ClientID)
	if err := agree(pc); err != nil {
		return nil, unencrypted(c.addr, err)
	}
	if d.cfg.SASL.Mechanism != MechanismNone {
		if err := d.login(ctx, pc, c.addr); err != nil {
			return nil, err
		}
	}
	if pin == "" {
		return safe, nil
	}
	m, err := pc.RoundTrip(&metadata.Request{TopicNames: []string{}})
	if err != nil {
		return nil, fmt.Errorf("ask which cluster it is: %w", err)
	}
	if id := m.(*metadata.Response).ClusterID; id != pin {
		return nil, &refusal{c.addr, sigCluster, fmt.Sprintf("it answers as %q, this destination was opened on %q", id, pin)}
	}
	return safe, nil
}

// encrypt is the client's side of TLS.
func (d *dialer) encrypt(ctx context.Context, c *conn) (*tls.Conn, error) {
	cfg := d.cfg.TLS
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(c.addr)
		if err != nil {
			return nil, err
		}
		cfg = cfg.Clone()
		cfg.ServerName = host
	}
	t := tls.Client(c, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, unencrypted(c.addr, err)
	}
	d.seen(c.addr, t.ConnectionState().PeerCertificates)
	return t, nil
}

// unencrypted sorts what ended a TLS handshake, or the first words after it: only then does the client hear what the server thinks of its certificate (TLS
// 1.3, RFC 8446 section 4.4.2). An outage stays what it is.
func unencrypted(addr string, err error) error {
	var distrusted *tls.CertificateVerificationError
	var other tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &distrusted):
		return &refusal{addr, sigCertificate, reason(distrusted.Err)}
	case errors.As(err, &other):
		return &refusal{addr, sigNoTLS, ""}
	case errors.As(err, &op) && op.Op == "remote error": // an alert
		return &refusal{addr, sigAlert, reason(op.Err)}
	}
	return fmt.Errorf("first words with the broker: %w", err)
}

// agree learns which versions of requests a broker takes.
func agree(pc *protocol.Conn) error {
	m, err := pc.RoundTrip(new(apiversions.Request))
	if err != nil {
		return err
	}
	a := m.(*apiversions.Response)
	if a.ErrorCode != 0 {
		return codeError(a.ErrorCode)
	}
	versions := make(map[protocol.ApiKey]int16, len(a.ApiKeys))
	for _, k := range a.ApiKeys {
		key := protocol.ApiKey(k.ApiKey)
		versions[key] = key.SelectVersion(k.MinVersion, k.MaxVersion)
	}
	pc.SetVersions(versions)
	return nil
}

// login proves who we are (Kafka protocol guide, "SASL Authentication Sequence").
func (d *dialer) login(ctx context.Context, pc *protocol.Conn, addr string) error {
	user, password, err := d.cfg.Login()
	if err != nil {
		return &refusal{addr, sigCredentials, reason(err)}
	}
	m, err := d.cfg.SASL.Mechanism.with(user, password)
	if err != nil { // its text may hold parts of them
		return &refusal{addr, sigCredentials, "user or password has characters that " + string(d.cfg.SASL.Mechanism) + " does not allow"}
	}
	res, err := pc.RoundTrip(&saslhandshake.Request{Mechanism: m.Name()})
	if err != nil {
		return fmt.Errorf("begin to log in: %w", err)
	}
	if h := res.(*saslhandshake.Response); h.ErrorCode != 0 {
		return refusedLogin(addr, h.ErrorCode, fmt.Sprintf("it takes %v", h.Mechanisms))
	}
	talk, words, err := m.Start(ctx)
	if err != nil {
		return fmt.Errorf("begin to log in: %w", err)
	}
	for done := false; !done; {
		res, err := pc.RoundTrip(&saslauthenticate.Request{AuthBytes: words})
		if err != nil {
			return fmt.Errorf("log in: %w", err)
		}
		a := res.(*saslauthenticate.Response)
		if a.ErrorCode != 0 {
			return refusedLogin(addr, a.ErrorCode, a.ErrorMessage)
		}
		if done, words, err = talk.Next(ctx, a.AuthBytes); err != nil {
			return &refusal{addr, 58, "it did not prove that it knows the password either"}
		}
	}
	return nil
}

func refusedLogin(addr string, code int16, words string) error {
	if r, listed := rules[signal(code)]; listed && r.kind == relay.Config {
		return &refusal{addr, signal(code), words}
	}
	return fmt.Errorf("log in: %w", codeError(code))
}

// explain finds out why a broker ended a connection at its first words: it speaks TLS, or none, or wants a login. Each is proven by a broker that answers
// when spoken to so; without proof err stays what it is.
func (d *dialer) explain(ctx context.Context, addr string, err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) || d.proven(addr) {
		return err
	}
	try := func(encrypted bool, f func(c net.Conn) bool) bool {
		raw, err := d.connect(ctx, "tcp", addr)
		if err != nil {
			return false
		}
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(d.cfg.Timeouts.Connect))
		defer context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Now()) })()
		if !encrypted {
			return f(raw)
		}
		t, err := d.encrypt(ctx, raw)
		return err == nil && f(t)
	}
	speaks := func(c net.Conn) bool { return agree(protocol.NewConn(c, d.cfg.ClientID)) == nil }
	switch {
	case d.cfg.TLS == nil && try(false, func(c net.Conn) bool {
		t := tls.Client(c, &tls.Config{InsecureSkipVerify: true}) // nothing is told or believed: only whether it answers
		err := t.HandshakeContext(ctx)
		var op *net.OpError
		return err == nil || errors.As(err, &op) && op.Op == "remote error"
	}):
		return &refusal{addr, sigWantsTLS, ""}
	case d.cfg.TLS != nil && try(false, speaks):
		return &refusal{addr, sigNoTLS, ""}
	case d.cfg.SASL.Mechanism == MechanismNone && try(d.cfg.TLS != nil, func(c net.Conn) bool {
		pc := protocol.NewConn(c, d.cfg.ClientID)
		if agree(pc) != nil {
			return false
		}
		res, err := pc.RoundTrip(&saslhandshake.Request{Mechanism: "PLAIN"})
		if err != nil {
			return false
		}
		code := res.(*saslhandshake.Response).ErrorCode
		return code == 0 || code == 33 // a listener without login answers 34
	}):
		return &refusal{addr, sigWantsLogin, ""}
	}
	return err
}
