package dashboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server serves a dashboard.
type Server struct {
	http *http.Server
	addr net.Addr
	done chan error
}

// maxConnections bounds what all browsers together may keep open.
const maxConnections = 200

// Listen serves handler on a loopback address until Close. It fails when the address is taken, or is reached from other machines: there is no login for those
// who look.
func Listen(address string, handler http.Handler, log *slog.Logger) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dashboard.listen: %w", err)
	}
	if at, ok := l.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("dashboard.listen: %s is not a loopback address: whoever reaches the dashboard may look", address), l.Close())
	}
	s := &Server{addr: l.Addr(), done: make(chan error, 1), http: newServer(handler, log)}
	go func() { s.done <- s.http.Serve(&limited{Listener: l, free: make(chan struct{}, maxConnections)}) }()
	return s, nil
}

func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
}

// Addr is where it listens; with port 0 in the address this is the one it got.
func (s *Server) Addr() net.Addr { return s.addr }

// Close lets running answers finish until ctx ends, then cuts them.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
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
