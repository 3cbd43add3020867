package postgres_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
)

// sslRequest asks for TLS; PostgreSQL's protocol document, Message Formats.
const sslRequest = 80877103

// stripper stands between clients and a server and answers that there is no TLS. heard counts the bytes that clients say after that.
func stripper(t *testing.T, server string) (address string, heard *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heard = &atomic.Int64{}
	var links sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); links.Wait() })
	links.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			links.Go(func() {
				defer func() { _ = client.Close() }()
				first := make([]byte, 8)
				if _, err := io.ReadFull(client, first); err != nil {
					return
				}
				if binary.BigEndian.Uint32(first[4:]) == sslRequest {
					if _, err := client.Write([]byte("N")); err != nil {
						return
					}
					first = nil
				}
				back, err := net.Dial("tcp", server)
				if err != nil {
					return
				}
				links.Go(func() { _, _ = io.Copy(client, back) })
				defer func() { _ = back.Close() }()
				_, _ = io.Copy(back, io.TeeReader(io.MultiReader(bytes.NewReader(first), client), counter{heard}))
			})
		}
	})
	return l.Addr().String(), heard
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}

// S10: somebody on the way answers that the server has no TLS. A relay whose URL asks for it says nothing more there, not even its login; only one
// that does not ask is led on in plain text.
func TestTLSIsStripped_S10(t *testing.T) {
	d := newOutbox(t, majors(t)[0])
	at, err := url.Parse(asRelay(t, d.url))
	if err != nil {
		t.Fatal(err)
	}
	for mode, asks := range map[string]bool{"require": true, "verify-ca": true, "verify-full": true, "prefer": false} {
		through := *at
		var heard *atomic.Int64
		through.Host, heard = stripper(t, at.Host)
		through.RawQuery = "sslmode=" + mode
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		s, err := postgres.Open(ctx, postgres.Config{URL: through.String(), ConnectTimeout: 2 * time.Second})
		cancel()
		if err == nil {
			s.Close()
		}
		if !asks {
			if err != nil || heard.Load() == 0 {
				t.Errorf("sslmode=%s: %v: nothing is shown", mode, err)
			}
			continue
		}
		if n := heard.Load(); err == nil || n > 0 {
			t.Fatalf("sslmode=%s: %d bytes were said in plain text, error %v", mode, n, err)
		}
		if !strings.Contains(err.Error(), "server refused TLS") || strings.Contains(err.Error(), "relay:relay") {
			t.Errorf("sslmode=%s: %v", mode, err)
		}
	}
}
