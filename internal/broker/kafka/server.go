package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Server answers Kafka's clients.
type Server struct {
	cfg  Config
	host string
	port int32
	desk *desk

	memory    *semaphore.Weighted // bytes of requests that are being read or handled
	decoding  *semaphore.Weighted // bytes that requests are being decoded to, at most
	responses *semaphore.Weighted // bytes of answers that are large, or hold records
	budget    int64               // of responses
	patience  *semaphore.Weighted // bytes that requests are decoded to, at most, which wait for responses
	searching *semaphore.Weighted // requests that search offsets by time
	waits     *semaphore.Weighted // topics and partitions of Fetches that wait
	places    *semaphore.Weighted // connections
	naming    *semaphore.Weighted // one change of topics at a time, with the offsets of groups
}

// New returns a server.
func New(cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(cfg.Advertise)
	n, _ := strconv.ParseUint(port, 10, 16)
	d := newDesk(cfg.Log, cfg.Groups, cfg.Failed)
	cfg.Log = visible{cfg.Log}
	budget := int64(max(responseMemory, cfg.Response))
	return &Server{cfg: cfg, desk: d, host: host, port: int32(n), budget: budget,
		memory:    semaphore.NewWeighted(cfg.Memory),
		decoding:  semaphore.NewWeighted(decodingMemory),
		responses: semaphore.NewWeighted(budget),
		patience:  semaphore.NewWeighted(patienceMemory),
		searching: semaphore.NewWeighted(searches),
		waits:     semaphore.NewWeighted(int64(cfg.Waits)),
		places:    semaphore.NewWeighted(int64(cfg.Connections)),
		naming:    semaphore.NewWeighted(1),
	}, nil
}

const (
	decodingMemory = 128 << 20
	responseMemory = 64 << 20
	patienceMemory = 64 << 20
)

// Serve answers whoever connects to l until ctx ends; then it closes l and all connections, waits for their goroutines and returns nil. Any other end of l is an
// error. It may be called once.
func (s *Server) Serve(ctx context.Context, l *Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait() // behind cancel
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.tcp.Close() })
	defer stop()
	conns.Go(func() { s.desk.run(ctx) })
	for {
		nc, err := l.tcp.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("kafka: the listener on %s was closed while clients were served; start the broker again: %w", l.Address(), err)
		case err != nil: // no descriptors are left, or the client has gone
			s.cfg.Closed("", fmt.Errorf("accept a connection: %w", err))
			s.pause(ctx)
			continue
		}
		if !s.places.TryAcquire(1) {
			s.cfg.Closed(nc.RemoteAddr().String(), fmt.Errorf("there are %d connections already", s.cfg.Connections))
			_ = nc.Close()
			continue
		}
		conns.Go(func() {
			defer s.places.Release(1)
			s.serve(ctx, nc)
		})
	}
}

func (s *Server) pause(ctx context.Context) {
	t := time.NewTimer(50 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
