// Package socket bounds what a connection to a broker may do: each read and write has its time, nothing is written once the lease is no longer trusted, and bytes of
// a dead process do not arrive late.
package socket

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	maxReadWait = 60 * time.Second // no answer takes longer: a login that hangs is freed too
	keepAlive   = 15 * time.Second
)

// ErrUntrusted is what a write returns when it was refused.
var ErrUntrusted = errors.New("the lease is no longer trusted, nothing more is written")

// Limits are the times of a socket.
type Limits struct {
	Connect time.Duration
	Write   time.Duration // W of the lease arithmetic: how long one write may block
	User    time.Duration // U: how long the kernel keeps bytes that nobody acknowledged. Linux only
	Names   *Names        // of the publisher; nil = nothing is known of addresses
}

// Dial connects, to whichever address of the host takes a connection first; those that were silent lately are tried last.
func (l Limits) Dial(ctx context.Context, network, addr string) (*Socket, error) {
	ctx, cancel := context.WithTimeout(ctx, l.Connect)
	defer cancel()
	var errs []error
	order := l.Names.order(ctx, addr)
	for i, to := range order {
		d := net.Dialer{KeepAlive: keepAlive, Control: userTimeout(l.User), Resolver: l.Names.resolver()}
		if end, ok := ctx.Deadline(); ok {
			d.Timeout = time.Until(end) / time.Duration(len(order)-i)
		}
		conn, err := d.DialContext(ctx, network, to)
		if err == nil {
			return &Socket{Conn: conn, limit: l.Write}, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// Socket is a connection whose reads and writes are bounded. Who uses it may set deadlines of its own, or none at all; the earlier one counts.
type Socket struct {
	net.Conn

	// Trust is asked before each write; nil = always trusted. It is set before the first write that needs it.
	Trust func() bool

	limit time.Duration // of a write

	mu          sync.Mutex // guards the deadlines asked for, and held while the earlier one is set
	read, write time.Time
}

// Write refuses without trust.
func (s *Socket) Write(b []byte) (int, error) {
	if s.Trust != nil && !s.Trust() {
		return 0, ErrUntrusted
	}
	s.mu.Lock()
	err := s.Conn.SetWriteDeadline(earlier(s.write, time.Now().Add(s.limit)))
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return s.Conn.Write(b)
}

// Read waits for 60 s at most.
func (s *Socket) Read(b []byte) (int, error) {
	s.mu.Lock()
	err := s.Conn.SetReadDeadline(earlier(s.read, time.Now().Add(maxReadWait)))
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return s.Conn.Read(b)
}

// SetDeadline is net.Conn's.
func (s *Socket) SetDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read, s.write = t, t
	return s.Conn.SetDeadline(t)
}

// SetReadDeadline is net.Conn's.
func (s *Socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = t
	return s.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is net.Conn's.
func (s *Socket) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write = t
	return s.Conn.SetWriteDeadline(t)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
