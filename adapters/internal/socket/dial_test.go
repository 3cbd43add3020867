package socket

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
)

// TestEveryAddressIsTried (E20): the first address of a name refuses, or is silent; and where a name leads is looked up for each connection.
func TestEveryAddressIsTried(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	other, err := net.Listen("tcp", net.JoinHostPort("127.0.0.2", port))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var dns testservices.Names
	names := &Names{Resolver: dns.Resolver()}
	limits := Limits{Connect: 10 * time.Second, Write: time.Second, User: time.Second, Names: names}
	reached := func(want string) *Socket {
		t.Helper()
		s, err := limits.Dial(t.Context(), "tcp", net.JoinHostPort("broker.test", port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		if got := s.RemoteAddr().String(); got != net.JoinHostPort(want, port) {
			t.Errorf("reached %s, want %s", got, want)
		}
		return s
	}
	dns.Set("broker.test", "127.0.0.9", "127.0.0.1") // nobody listens at the first one
	reached("127.0.0.1")
	dns.Set("broker.test", "127.0.0.2", "127.0.0.1")
	names.Silent(reached("127.0.0.2").RemoteAddr())
	names.Silent(reached("127.0.0.1").RemoteAddr())
	reached("127.0.0.2") // all are silent: again from the first one
	dns.Set("broker.test", "127.0.0.2")
	reached("127.0.0.2") // there is no other
	dns.Set("broker.test", "127.0.0.1")
	reached("127.0.0.1") // it leads elsewhere now
	dns.Set("broker.test")
	if _, err := limits.Dial(t.Context(), "tcp", "nobody.test:1"); err == nil {
		t.Error("reached a host that does not exist")
	}
}
