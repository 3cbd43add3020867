// Package httpserver serves one handler on one address, with a limit on whatever a client could take for ever, and an end that is awaited. Who may ask, and what
// is answered, is the handler's.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Server is one that serves. Its methods may be called from any goroutine, Close once.
type Server struct {
	http *http.Server
	addr net.Addr
	done chan error
}

// Listen opens a TCP address, host:port. It fails when the address is taken or is not ours; the error begins with setting, the line of the configuration that
// the address is from.
func Listen(setting, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	return l, nil
}

// Limited is a server for Serve whose clients have 5 s for the header of a request, 16 KiB for its length, 10 s for all of it, and a minute between two; an
// answer may take as long as the argument says.
func Limited(handler http.Handler, answer time.Duration) *http.Server {
	return &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: answer,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
}

// Serve lets h serve on l, which it takes over, until Close. It does not block.
func Serve(l net.Listener, h *http.Server) *Server {
	s := &Server{http: h, addr: l.Addr(), done: make(chan error, 1)}
	go func() { s.done <- h.Serve(l) }()
	return s
}

// Addr is where it listens; with port 0 in the address this is the one it got.
func (s *Server) Addr() net.Addr { return s.addr }

// Close lets running answers finish until ctx ends, then cuts them; the error of ctx says that it did.
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
