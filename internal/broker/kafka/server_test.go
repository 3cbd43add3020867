package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// port is a running server before a node.
type port struct {
	*broker.Node
	server  *Server
	address string
	stop    func()

	mu     sync.Mutex
	closed []error
}

// why are the reasons for which connections were closed so far.
func (p *port) why() []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]error(nil), p.closed...)
}

func start(t testing.TB, dir string, change func(*Config)) *port {
	t.Helper()
	n, err := broker.Open(broker.Config{Dir: filepath.Join(dir, "broker"), SegmentBytes: 4 << 20}, vfs.OS{})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	p := &port{Node: n}
	running.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Errorf("the node: %v", err)
		}
	})
	ready, done := context.WithTimeout(ctx, 20*time.Second)
	defer done()
	must(t, n.Ready(ready))
	l, err := Listen("127.0.0.1:0")
	must(t, err)
	p.address = l.Address()
	cfg := Config{Log: n, Advertise: p.address, Closed: func(_ string, why error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.closed = append(p.closed, why)
	}}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	must(t, err)
	p.server = s
	serving, end := context.WithCancel(ctx)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := s.Serve(serving, l); err != nil {
			t.Errorf("the server: %v", err)
		}
	}()
	p.stop = sync.OnceFunc(func() {
		end()
		<-served
		cancel()
		running.Wait()
	})
	t.Cleanup(p.stop)
	return p
}

// raw is a client that sends what it is told.
type raw struct {
	net.Conn
	t testing.TB
	n int32
}

func (p *port) dial(t testing.TB) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", p.address)
	must(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &raw{Conn: nc, t: t}
}

// frame encodes a request as clients send it.
func frame(req kmsg.Request, correlation int32) []byte {
	b := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(req.Key()))
	b = binary.BigEndian.AppendUint16(b, uint16(req.GetVersion()))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	b = append(b, 0, 3, 'r', 'a', 'w')
	if req.IsFlexible() {
		b = append(b, 0)
	}
	b = req.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func (r *raw) send(req kmsg.Request) {
	r.t.Helper()
	r.n++
	_, err := r.Write(frame(req, r.n))
	must(r.t, err)
}

// receive reads an answer to the request that was sent as the n-th.
func (r *raw) receive(req kmsg.Request, n int32) kmsg.Response {
	r.t.Helper()
	var length [4]byte
	_, err := io.ReadFull(r, length[:])
	must(r.t, err)
	b := make([]byte, binary.BigEndian.Uint32(length[:]))
	_, err = io.ReadFull(r, b)
	must(r.t, err)
	if got := int32(binary.BigEndian.Uint32(b)); got != n {
		r.t.Fatalf("an answer to request %d, want %d", got, n)
	}
	resp := req.ResponseKind()
	b = b[4:]
	if resp.IsFlexible() && req.Key() != keyApiVersions {
		b = b[1:]
	}
	must(r.t, resp.ReadFrom(b))
	return resp
}

func ask[S kmsg.Response](r *raw, req kmsg.Request) S {
	r.t.Helper()
	r.send(req)
	return r.receive(req, r.n).(S)
}

// ended waits until the other side closes the connection.
func (r *raw) ended() {
	r.t.Helper()
	if n, err := r.Read(make([]byte, 1)); n > 0 || errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		r.t.Fatalf("the connection stays: %d bytes, %v", n, err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func create(t testing.TB, p *port, topic string, partitions int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must(t, p.CreateTopic(ctx, broker.Topic{Name: topic, Partitions: partitions}))
}
