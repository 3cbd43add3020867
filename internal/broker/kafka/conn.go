package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// conn is one connection. Its goroutine owns everything in it.
type conn struct {
	*Server
	nc     net.Conn
	client string // what the client calls itself; of the request that is being handled
	taken  int64  // bytes of the request, of Server.memory
	weight int64  // bytes that the request is decoded to, at most
	held   int64  // bytes that the answer may have, of Server.responses
	out    []byte // of the last answer, used again
}

// errClosed ends a connection without a sentence: the client has gone, or is not to be answered.
var errClosed = errors.New("closed")

func (s *Server) serve(ctx context.Context, nc net.Conn) {
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	c := &conn{Server: s, nc: nc}
	for {
		if err := c.next(ctx); err != nil {
			if ctx.Err() == nil && !errors.Is(err, errClosed) {
				s.cfg.Closed(nc.RemoteAddr().String(), err)
			}
			return
		}
	}
}

// next reads a request, handles it and writes its answer.
func (c *conn) next(ctx context.Context) error {
	frame, err := c.read(ctx)
	if err != nil {
		return err
	}
	c.taken = int64(len(frame))
	defer c.forget()
	h, body, err := parseHeader(frame)
	if err != nil {
		return err
	}
	c.client = h.client[:min(len(h.client), 255)] // it becomes part of the name of a member
	defer c.free()
	resp, err := c.handle(ctx, h, body)
	if err != nil || resp == nil {
		return err
	}
	return c.write(h, resp)
}

// forget gives back the memory of a request whose bytes nobody needs any more. What waits for other clients does so before it waits.
func (c *conn) forget() {
	c.memory.Release(c.taken)
	c.taken, c.weight = 0, 0
}

// early is how much of a request must have come before memory is taken for all of it: a length alone is worth nothing.
const early = 64 << 10

// read returns the next request, for which memory is taken: the caller gives it back.
func (c *conn) read(ctx context.Context) ([]byte, error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(c.cfg.Idle))
	var length [4]byte
	if _, err := io.ReadFull(c.nc, length[:1]); err != nil {
		return nil, errClosed
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(c.cfg.Half))
	if _, err := io.ReadFull(c.nc, length[1:]); err != nil {
		return nil, fmt.Errorf("half a request: %w", err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n < headerBytes || n > uint32(c.cfg.Request) {
		return nil, fmt.Errorf("a request of %d bytes: %d to %d are taken", n, headerBytes, c.cfg.Request)
	}
	size := int(n)
	wait, cancel := context.WithTimeout(ctx, c.cfg.Half)
	defer cancel()
	first := min(size, early)
	if err := c.memory.Acquire(wait, int64(first)); err != nil {
		return nil, fmt.Errorf("no memory for a request of %d bytes within %v", size, c.cfg.Half)
	}
	frame := make([]byte, first)
	if _, err := io.ReadFull(c.nc, frame); err != nil {
		c.memory.Release(int64(first))
		return nil, fmt.Errorf("half a request: %w", err)
	}
	if size == first {
		return frame, nil
	}
	if err := c.memory.Acquire(wait, int64(size-first)); err != nil {
		c.memory.Release(int64(first))
		return nil, fmt.Errorf("no memory for a request of %d bytes within %v", size, c.cfg.Half)
	}
	whole := make([]byte, size)
	copy(whole, frame)
	if _, err := io.ReadFull(c.nc, whole[first:]); err != nil {
		c.memory.Release(int64(size))
		return nil, fmt.Errorf("half a request: %w", err)
	}
	return whole, nil
}

func (c *conn) write(h header, resp kmsg.Response) error {
	b := append(c.out[:0], 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(h.correlation))
	if resp.IsFlexible() && h.key != keyApiVersions { // whose answers must be read by clients that do not know us yet
		b = append(b, 0) // no tags
	}
	b = resp.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	if c.out = b; cap(b) > early {
		c.out = nil
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(3 * c.cfg.Half))
	_, err := c.nc.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("an answer of %d bytes was not taken within %v", len(b), 3*c.cfg.Half)
	}
	if err != nil {
		return errClosed // the client has gone, which is its right
	}
	return nil
}

// remote is the address of the client, as Kafka shows it.
func (c *conn) remote() string {
	host, _, _ := net.SplitHostPort(c.nc.RemoteAddr().String())
	return "/" + host
}
