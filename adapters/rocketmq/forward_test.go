package rocketmq

import (
	"io"
	"net"
	"sync"
	"testing"
)

// forward takes connections at an address until the test ends, dials one for each, and lets answers copy what comes back.
func forward(t *testing.T, listen string, dial func() (net.Conn, error), answers func(client io.Writer, server io.Reader)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", listen)
	must(t, err)
	var tasks sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	ended := false
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		ended = true
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		tasks.Wait()
	})
	tasks.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := dial()
			if err != nil {
				_ = client.Close()
				continue
			}
			mu.Lock()
			if open = append(open, client, server); ended {
				_, _ = client.Close(), server.Close()
			}
			mu.Unlock()
			tasks.Go(func() { _, _ = io.Copy(server, client); _ = server.Close() })
			tasks.Go(func() { answers(client, server); _ = client.Close() })
		}
	})
	return l.Addr().String()
}
