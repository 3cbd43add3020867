package socket

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// TestUserTimeoutIsSet: the kernel knows it.
func TestUserTimeoutIsSet(t *testing.T) {
	s, _ := pair(t, Limits{Connect: time.Minute, Write: time.Minute, User: 1234 * time.Millisecond})
	raw, err := s.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	if ctl := raw.Control(func(fd uintptr) { got, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout) }); ctl != nil || err != nil {
		t.Fatal(ctl, err)
	}
	if got != 1234 {
		t.Errorf("%d ms", got)
	}
}
