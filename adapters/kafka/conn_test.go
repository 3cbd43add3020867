package kafka

import (
	"net"
	"testing"
	"time"
)

// An address that hung is passed over while there is another one to go to. One that takes no connection is none, and an answer on any connection ends it: two
// brokers that paused one after the other were both left alone for seconds while the third was gone.
func TestHungAddressesArePassedOver(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	taken := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				close(taken)
				return
			}
			taken <- c
		}
	}()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	hung, other := listener.Addr().String(), gone.Addr().String()
	cfg := Config{Brokers: []string{hung, other}}
	cfg.Timeouts = Timeouts{Connect: 5 * time.Second, Broker: 5 * time.Second, Publish: 6 * time.Second}
	d := newDialer(cfg, nil)
	t.Cleanup(d.close)
	connect := func() (*conn, net.Conn) {
		t.Helper()
		c, err := d.connect(t.Context(), "tcp", hung)
		if err != nil {
			t.Fatal(err)
		}
		there := <-taken
		t.Cleanup(func() { _ = there.Close() })
		return c, there
	}
	hangs := func(c *conn) {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("it answered")
		}
	}
	first, _ := connect()
	second, there := connect()
	hangs(first)
	if !d.passOver(hung) || d.passOver(other) {
		t.Errorf("one hung: passed over %v, the other %v", d.passOver(hung), d.passOver(other))
	}
	if _, err := d.connect(t.Context(), "tcp", other); err == nil {
		t.Fatal("nobody listens there")
	}
	if d.passOver(hung) {
		t.Error("passed over although the other one takes no connection")
	}
	d.down = map[string]time.Time{}
	if _, err := there.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := second.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if n, err := second.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if d.passOver(hung) {
		t.Error("passed over although it answers again")
	}
}
