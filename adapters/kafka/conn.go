package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/socket"
)

const (
	suspectFor   = 10 * time.Second
	maxOpenConns = 1024 // far above what the sender rules can open; a bound on what a bug can do
)

var errTooMany = errors.New("kafka: too many open connections")

// dialError says that no connection was made: no byte of a batch can have left.
type dialError struct {
	addr string
	err  error
}

func (e *dialError) Error() string { return fmt.Sprintf("connect to %s: %v", e.addr, e.err) }
func (e *dialError) Unwrap() error { return e.err }

// dialer opens all sockets of a publisher and keeps them, so that Close can close them under the library. mu guards the fields below it and is never
// held across a call.
type dialer struct {
	cfg Config
	via func(addr string) string // where to connect instead, through a test's proxy; nil = there
	pin func() string            // the only cluster to speak to; empty = any

	names socket.Names

	mu       sync.Mutex
	closed   bool
	open     map[*conn]struct{}
	suspects map[string]time.Time // addresses that accepted and then did not answer, until when
	down     map[string]time.Time // addresses that took no connection, until when nobody is sent there instead
	standing
}

func newDialer(cfg Config, pin func() string) *dialer {
	return &dialer{cfg: cfg, pin: pin, open: map[*conn]struct{}{}, suspects: map[string]time.Time{}, down: map[string]time.Time{}, standing: newStanding()}
}

// gated connects for batches: writes are refused when trust has ended.
func (d *dialer) gated(ctx context.Context, network, addr string) (net.Conn, error) {
	return d.dial(ctx, network, addr, d.cfg.Trust)
}

// plain connects for questions, which a standby asks too.
func (d *dialer) plain(ctx context.Context, network, addr string) (net.Conn, error) {
	return d.dial(ctx, network, addr, nil)
}

// dial connects, with all that the configuration asks for before the first request.
func (d *dialer) dial(ctx context.Context, network, addr string, trust func() bool) (net.Conn, error) {
	c, err := d.connect(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	safe, err := d.admitted(ctx, c)
	c.Trust = trust // from here on batches are written; nobody else has the connection yet
	if err != nil {
		_ = c.Close()
		err = &dialError{addr, d.explain(ctx, addr, err)}
	}
	d.dialed(err)
	return safe, err
}

// connect is the bare socket.
func (d *dialer) connect(ctx context.Context, network, addr string) (*conn, error) {
	if d.passOver(addr) {
		return nil, &dialError{addr, errors.New("it did not answer a moment ago, another broker is asked")}
	}
	limits := socket.Limits{Connect: d.cfg.Timeouts.Connect, Write: d.cfg.WriteTimeout, User: d.cfg.TCPUserTimeout, Names: &d.names}
	to := addr
	if d.via != nil {
		to = d.via(addr)
	}
	raw, err := limits.Dial(ctx, network, to)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			d.down[addr] = time.Now().Add(suspectFor)
		}
		return nil, &dialError{addr, err}
	}
	delete(d.down, addr)
	c := &conn{Socket: raw, d: d, addr: addr}
	switch {
	case d.closed:
		err = net.ErrClosed
	case len(d.open) >= maxOpenConns:
		err = errTooMany
	default:
		d.open[c] = struct{}{}
		return c, nil
	}
	_ = raw.Close()
	return nil, &dialError{addr, err}
}

// passOver says whether to leave an address alone because it hung, which is only done while another bootstrap address is in good standing.
func (d *dialer) passOver(addr string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !lasts(d.suspects, addr) {
		return false
	}
	for _, b := range d.cfg.Brokers {
		if !lasts(d.suspects, b) && !lasts(d.down, b) {
			return true
		}
	}
	return false
}

// lasts says whether an address is among those that are kept until a time.
func lasts(until map[string]time.Time, addr string) bool {
	end, ok := until[addr]
	if ok && time.Now().After(end) {
		delete(until, addr)
		return false
	}
	return ok
}

func (d *dialer) answered(addr string, yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if yes {
		delete(d.suspects, addr)
	} else {
		d.suspects[addr] = time.Now().Add(suspectFor)
	}
}

// close closes every socket; later dials fail. It may be called more than once.
func (d *dialer) close() {
	d.mu.Lock()
	d.closed = true
	conns := make([]*conn, 0, len(d.open))
	for c := range d.open {
		conns = append(conns, c)
	}
	d.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// conn is a socket that the dialer knows: it is told of those that hang.
type conn struct {
	*socket.Socket
	d    *dialer
	addr string
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Socket.Read(b)
	if hung := errors.Is(err, os.ErrDeadlineExceeded); hung || n > 0 {
		c.d.answered(c.addr, !hung) // also for what hangs on its other connections: a broker that was paused goes on with all of them
		if hung {
			c.d.names.Silent(c.RemoteAddr())
		}
	}
	return n, err
}

func (c *conn) Close() error {
	c.d.mu.Lock()
	delete(c.d.open, c)
	c.d.mu.Unlock()
	return c.Socket.Close()
}
