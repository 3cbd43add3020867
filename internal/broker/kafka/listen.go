package kafka

import (
	"errors"
	"fmt"
	"net"
)

// ErrNotLoopback means that others than this machine could connect, and nothing would ask them who they are.
var ErrNotLoopback = errors.New("the Kafka port listens on loopback only, as long as it has neither TLS nor logins: name a host and a port, as 127.0.0.1:9092 or [::1]:9092")

// Listener is where clients of this machine connect. [Listen] makes it, so that a [Server] cannot be given another.
type Listener struct{ tcp net.Listener }

// Listen opens host:port of loopback; localhost is 127.0.0.1, port 0 takes a free one. Everything else is [ErrNotLoopback], before anybody can connect.
func Listen(address string) (*Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if err != nil || !net.ParseIP(host).IsLoopback() {
		return nil, fmt.Errorf("listen on %q: %w", address, ErrNotLoopback)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("the broker cannot listen: %w. Choose another address, or stop who has it", err)
	}
	return &Listener{l}, nil
}

// Address is host:port, as clients name it.
func (l *Listener) Address() string { return l.tcp.Addr().String() }

// Close ends what is not served. [Server.Serve] closes it by itself.
func (l *Listener) Close() error { return l.tcp.Close() }
