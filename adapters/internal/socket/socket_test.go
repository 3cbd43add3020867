package socket

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// pair is a socket and its peer.
func pair(t *testing.T, l Limits) (*Socket, net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s, err := l.Dial(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	peer, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	return s, peer
}

// TestWriteIsBounded: a peer that does not read blocks a write for its time only, whatever later deadline was asked for; an earlier one counts.
func TestWriteIsBounded(t *testing.T) {
	for name, ask := range map[string]time.Time{"no deadline": {}, "a late one": time.Now().Add(time.Hour), "an early one": time.Now().Add(-time.Second)} {
		t.Run(name, func(t *testing.T) {
			s, _ := pair(t, Limits{Connect: time.Minute, Write: 50 * time.Millisecond, User: time.Minute})
			if err := s.SetWriteDeadline(ask); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(time.Minute); ; {
				_, err := s.Write(make([]byte, 1<<20))
				if errors.Is(err, os.ErrDeadlineExceeded) {
					return
				}
				if err != nil || time.Now().After(end) {
					t.Fatalf("the write does not end: %v", err)
				}
			}
		})
	}
}

// TestNothingLeavesWithoutTrust: not one byte; reading goes on.
func TestNothingLeavesWithoutTrust(t *testing.T) {
	s, peer := pair(t, Limits{Connect: time.Minute, Write: time.Minute, User: time.Minute})
	var trusted atomic.Bool
	s.Trust = trusted.Load
	if n, err := s.Write([]byte("late")); n != 0 || !errors.Is(err, ErrUntrusted) {
		t.Errorf("%d bytes, %v", n, err)
	}
	trusted.Store(true)
	if _, err := s.Write([]byte("y")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 10)
	if n, err := peer.Read(got); n != 1 || got[0] != 'y' || err != nil {
		t.Errorf("the peer read %q, %v", got[:n], err)
	}
	trusted.Store(false)
	if _, err := peer.Write([]byte("z")); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Read(got); n != 1 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := s.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read behind its deadline: %v", err)
	}
}
