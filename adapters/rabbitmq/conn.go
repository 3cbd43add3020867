package rabbitmq

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"sync"

	"github.com/waybillmq/waybill/adapters/internal/socket"
)

const flushBytes = 64 << 10 // of frames that wait for the one write that takes them all

// dial connects to one host, with TLS when it is configured. The socket is what is closed to end everything; conn is what is spoken through.
func (c *Config) dial(ctx context.Context, host, to string, names *socket.Names, trust func() bool) (*socket.Socket, net.Conn, error) {
	s, err := socket.Limits{Connect: c.Timeouts.Connect, Write: c.WriteTimeout, User: c.TCPUserTimeout, Names: names}.Dial(ctx, "tcp", to)
	if err != nil {
		return nil, nil, err
	}
	s.Trust = trust
	if c.TLS == nil {
		return s, s, nil
	}
	cfg := c.TLS.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(host)
	}
	secure := tls.Client(s, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = s.Close()
		return nil, nil, fmt.Errorf("tls: %w", err)
	}
	return s, secure, nil
}

// batcher gathers the frames that many channels write into few writes: one goroutine hands on whatever has come while its last write ran, so nothing is held
// when it is idle. A write that fails fails the next Write, and ends the connection.
type batcher struct {
	net.Conn
	mu      sync.Mutex // guards the fields below
	work    *sync.Cond // something came, was taken, or the end
	waiting []byte
	err     error
	ended   chan struct{}
}

func newBatcher(conn net.Conn) *batcher {
	b := &batcher{Conn: conn, ended: make(chan struct{})}
	b.work = sync.NewCond(&b.mu)
	go b.run()
	return b
}

// Write takes p, or waits while too much is on its way.
func (b *batcher) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.err == nil && len(b.waiting) >= flushBytes {
		b.work.Wait()
	}
	if b.err != nil {
		return 0, b.err
	}
	b.waiting = append(b.waiting, p...)
	b.work.Broadcast()
	return len(p), nil
}

func (b *batcher) run() {
	defer close(b.ended)
	var taken []byte
	for {
		b.mu.Lock()
		for b.err == nil && len(b.waiting) == 0 {
			b.work.Wait()
		}
		if b.err != nil {
			b.mu.Unlock()
			return
		}
		if len(b.waiting) < flushBytes { // whoever is about to write comes along
			b.mu.Unlock()
			runtime.Gosched()
			b.mu.Lock()
		}
		taken, b.waiting = b.waiting, taken[:0]
		b.work.Broadcast()
		b.mu.Unlock()
		if _, err := b.Conn.Write(taken); err != nil {
			b.fail(err)
			_ = b.Conn.Close()
			return
		}
		if cap(taken) > 4*flushBytes { // a large message came by
			taken = nil
		}
	}
}

func (b *batcher) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.work.Broadcast()
}

// Close ends the connection; what was not written yet is dropped.
func (b *batcher) Close() error {
	b.fail(net.ErrClosed)
	return b.Conn.Close()
}
