package rocketmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/waybillmq/waybill/adapters/internal/socket"
	"github.com/waybillmq/waybill/relay"
)

// encryptedError means that a name server or broker takes connections with TLS and no others.
type encryptedError struct{ addr string }

func (e *encryptedError) Error() string {
	return fmt.Sprintf("%s refuses connections without TLS, and the client library has none", e.addr)
}

const encryptedFix = "set tls.server.mode=permissive on name servers and brokers, and keep them in a private network; or let tunnels that speak TLS stand at the addresses that are " +
	"configured and those that the brokers advertise (brokerIP1)"

// asConfig is err as Open reports it when a person has to act; nil when no server refused us over TLS.
func (e *encryptedError) asConfig() *relay.ConfigError {
	return &relay.ConfigError{Class: relay.ClassAuth, Text: "rocketmq: " + e.Error() + "; " + encryptedFix}
}

// unheard is err of a connection that ended before its first answer: in enforcing mode a server ends one that does not begin with TLS, and says nothing.
func (p *prober) unheard(ctx context.Context, addr string, err error) error {
	if (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) && p.speaksTLS(ctx, addr) {
		return &encryptedError{addr}
	}
	return err
}

// speaksTLS asks which language a server speaks. Nothing is sent through the connection, so it does not matter whose certificate it is.
func (p *prober) speaksTLS(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, p.connect)
	defer cancel()
	conn, err := socket.Limits{Connect: p.connect, Write: p.write, User: p.user}.Dial(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	err = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx)
	var alert tls.AlertError // it wants a client's certificate, perhaps
	return err == nil || errors.As(err, &alert)
}

// encryptedMaster is the error of the first master that refuses us over TLS; nil when none does.
func (p *Publisher) encryptedMaster(ctx context.Context) *relay.ConfigError {
	found, err := p.probe.brokers(ctx)
	if err != nil {
		return nil // an outage is told by whoever meets it
	}
	for _, name := range found.masters(p.clusterName()) {
		var refused *encryptedError
		if _, err := p.settings(ctx, found.Brokers[name]); errors.As(err, &refused) {
			return refused.asConfig()
		}
	}
	return nil
}
