package dashboard

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/waybillmq/waybill/internal/httpserver"
)

// maxConnections bounds what all browsers together may keep open.
const maxConnections = 200

// Listen serves handler until Close, by https where there is a certificate. It fails when the address is taken, or is reached from other machines and handler is no Dashboard
// with Logins, or there is neither a certificate nor a Proxy, which alone is answered then: nobody else is asked who he is, and passwords would go in plain text.
func Listen(address string, c *Certificate, handler http.Handler, log *slog.Logger) (*httpserver.Server, error) {
	l, err := httpserver.Listen("dashboard.listen", address)
	if err != nil {
		return nil, err
	}
	d, ok := handler.(*Dashboard)
	if !mayBeReached(l.Addr(), ok && d.Logins != nil, c != nil || ok && d.Proxy != nil) {
		return nil, errors.Join(fmt.Errorf("dashboard.listen: %s is not a loopback address: whoever reaches the dashboard may look, unless people have names, and there is a certificate or a trusted proxy", address), l.Close())
	}
	l = &limited{Listener: l, free: make(chan struct{}, maxConnections)}
	if c != nil {
		l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: c.get})
	}
	return httpserver.Serve(l, newServer(handler, log)), nil
}

// mayBeReached says whether a listener may have an address: one that others reach needs names, so that not everybody looks, and a certificate, or a proxy in front that alone is answered, so that passwords and payloads
// are not read on their way.
func mayBeReached(at net.Addr, names, private bool) bool {
	tcp, ok := at.(*net.TCPAddr)
	return ok && (tcp.IP.IsLoopback() || names && private)
}

func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	s := httpserver.Limited(handler, 20*time.Second)
	if d, ok := handler.(*Dashboard); ok {
		s.RegisterOnShutdown(d.EndStreams)
	}
	s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	return s
}

// limited refuses the connections that are too many, instead of letting them wait: a browser that is waiting says nothing.
type limited struct {
	net.Listener
	free chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.free <- struct{}{}:
			return &limitedConn{Conn: c, give: sync.OnceFunc(func() { <-l.free })}, nil
		default:
			_ = c.Close()
		}
	}
}

type limitedConn struct {
	net.Conn
	give func()
}

func (c *limitedConn) Close() error {
	defer c.give()
	return c.Conn.Close()
}

// remote is the address of the person, without port.
func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}
