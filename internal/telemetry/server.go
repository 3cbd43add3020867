package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Server is the listener of metrics and health.
type Server struct {
	http *http.Server
	addr net.Addr
	done chan error
}

// Listen serves handler on address until Close. It fails when the address is taken or is not ours.
func Listen(address string, handler http.Handler) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics.listen: %w", err)
	}
	s := &Server{addr: l.Addr(), done: make(chan error, 1), http: &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 15 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}}
	go func() { s.done <- s.http.Serve(l) }()
	return s, nil
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
