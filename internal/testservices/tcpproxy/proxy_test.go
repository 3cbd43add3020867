package tcpproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that sends back what it reads, and counts it.
func echo(t *testing.T) (addr string, seen func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	total := 0
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() {
				defer c.Close()
				b := make([]byte, 1024)
				for {
					n, err := c.Read(b)
					mu.Lock()
					total += n
					mu.Unlock()
					if _, werr := c.Write(b[:n]); err != nil || werr != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); tasks.Wait() })
	return l.Addr().String(), func() int { mu.Lock(); defer mu.Unlock(); return total }
}

func start(t *testing.T) (*Proxy, net.Conn, func() int) {
	t.Helper()
	addr, seen := echo(t)
	p, err := New(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return p, c, seen
}

func TestCutAtEachByte(t *testing.T) {
	for n := range 12 {
		for _, d := range []Direction{Request, Answer} {
			p, c, _ := start(t)
			fired := p.Cut(d, int64(n))
			if _, err := c.Write([]byte("hello world, twelve and more")); err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(c)
			if want := []byte("hello world, twelve and more")[:n]; d == Answer && !bytes.Equal(got, want) || d == Request && !bytes.HasPrefix(want, got) {
				t.Errorf("direction %d, cut at %d: got %q", d, n, got)
			}
			<-fired
		}
	}
}

func TestHoldAndRelease(t *testing.T) {
	p, c, seen := start(t)
	p.Hold(Request)
	if _, err := c.Write([]byte("held")); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _ := c.Read(make([]byte, 4)); n != 0 || seen() != 0 {
		t.Fatalf("%d bytes came back, the server saw %d", n, seen())
	}
	p.Release(Request)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "held" {
		t.Fatalf("%q, %v", b, err)
	}
	p.Drop()
	if _, err := c.Read(b); err == nil {
		t.Fatal("the connection survived Drop")
	}
}

func TestPassedTellsOfTheRequestThatIsMeant(t *testing.T) {
	p, c, _ := start(t)
	passed := p.Passed(10)
	b := make([]byte, 12)
	if _, err := c.Write([]byte("small")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b[:5]); err != nil {
		t.Fatal(err)
	}
	select {
	case <-passed:
		t.Error("told of a small one")
	default:
	}
	p.Hold(Answer)
	if _, err := c.Write([]byte("large enough")); err != nil {
		t.Fatal(err)
	}
	<-passed // although nothing comes back
	p.Release(Answer)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "large enough" {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestLoseAsksForTheSize(t *testing.T) {
	for _, d := range []Direction{Request, Answer} {
		p, c, seen := start(t)
		fired := p.Lose(d, 10)
		if _, err := c.Write([]byte("small")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "small" {
			t.Fatalf("%q, %v", b, err)
		}
		if _, err := c.Write([]byte("large enough")); err != nil {
			t.Fatal(err)
		}
		if rest, _ := io.ReadAll(c); len(rest) != 0 {
			t.Errorf("direction %d: %q came back", d, rest)
		}
		<-fired
		want := 5
		if d == Answer {
			want = 17
		}
		if n := seen(); n != want {
			t.Errorf("direction %d: the server saw %d bytes, want %d", d, n, want)
		}
	}
}

// TestSwallow: a dead connection takes everything, gives nothing, and hides the end of the other side; those made before Heal stay dead, those after it work.
func TestSwallow(t *testing.T) {
	p, before, seen := start(t)
	b := make([]byte, 5)
	if _, err := before.Write([]byte("alive")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(before, b); err != nil {
		t.Fatal(err)
	}
	p.Swallow()
	during, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer during.Close()
	for _, c := range []net.Conn{before, during} {
		for range 100 {
			if _, err := c.Write(make([]byte, 10_000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.mu.Lock()
	for l := range p.links {
		_ = l.server.Close() // as if the server had ended it
	}
	p.mu.Unlock()
	p.Heal()
	for _, c := range []net.Conn{before, during} {
		if _, err := c.Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		var slow net.Error
		if n, err := c.Read(b); n != 0 || !errors.As(err, &slow) || !slow.Timeout() {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	if n := seen(); n != 5 {
		t.Errorf("the server saw %d bytes", n)
	}
	after, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	if _, err := after.Write([]byte("alive")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(after, b); err != nil || string(b) != "alive" {
		t.Errorf("%q, %v", b, err)
	}
}

// Each connection has a function of its own, which may keep bytes back and say others.
func TestRewrite(t *testing.T) {
	addr, _ := echo(t)
	p, err := New(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	p.Rewrite(func() func([]byte) []byte {
		var kept []byte
		return func(answer []byte) []byte {
			if kept = append(kept, answer...); len(kept) < 6 {
				return nil
			}
			return bytes.ToUpper(kept)
		}
	})
	for range 2 {
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got := make([]byte, 6)
		for _, part := range []string{"abc", "def"} {
			if _, err := c.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "ABCDEF" {
			t.Errorf("%q, %v", got, err)
		}
	}
}
