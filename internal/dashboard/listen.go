package dashboard

import (
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

// Listen serves handler on a loopback address until Close. It fails when the address is taken, or is reached from other machines: there is no login for those
// who look.
func Listen(address string, handler http.Handler, log *slog.Logger) (*httpserver.Server, error) {
	l, err := httpserver.Listen("dashboard.listen", address)
	if err != nil {
		return nil, err
	}
	if at, ok := l.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("dashboard.listen: %s is not a loopback address: whoever reaches the dashboard may look", address), l.Close())
	}
	return httpserver.Serve(&limited{Listener: l, free: make(chan struct{}, maxConnections)}, newServer(handler, log)), nil
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
