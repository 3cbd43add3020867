package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/kafka"
	"github.com/waybillmq/waybill/relay"
)

// BrokerRunOptions are what [BrokerRun] needs. Log must be set.
type BrokerRunOptions struct {
	Dir          string
	Listen       string // host:port of loopback; port 0 takes a free one
	SegmentBytes int64  // 0 = the broker's default
	Log          *slog.Logger
	Listening    func(address string) // told when clients are served; nil = nobody is
}

// BrokerRun runs a bundled broker without a relay, one node, for Kafka's clients of this machine, until ctx ends. It is experimental.
func BrokerRun(ctx context.Context, o BrokerRunOptions) (err error) {
	l, err := listenLoopback(o.Listen)
	if err != nil {
		return err
	}
	address := l.Addr().String()
	cfg := broker.Config{Dir: o.Dir, SegmentBytes: o.SegmentBytes, Failed: func(op string, err error) {
		o.Log.Warn("a chore of the broker failed and is tried again", "op", op, "err", err)
	}}
	b, err := startBundled(ctx, cfg, nil)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	rare := seldom{log: o.Log}
	server, err := kafka.New(kafka.Config{Log: b.node, Advertise: address, Closed: rare.closed})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	serving, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		select {
		case <-b.done: // its disk: b.stop says what
			cancel()
		case <-serving.Done():
		}
	})
	if err := b.node.Ready(serving); err != nil {
		if serving.Err() != nil { // asked to, or by its disk: b.stop says so
			return l.Close()
		}
		return errors.Join(err, l.Close())
	}
	o.Log.Info("the broker runs; it is experimental, one node, for this machine only", "address", address, "dir", o.Dir, "topics", len(b.node.Topics()))
	if o.Listening != nil {
		o.Listening(address)
	}
	return server.Serve(serving, l)
}

// listenLoopback refuses other addresses before anybody can connect.
func listenLoopback(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && host != "localhost" && !ip.IsLoopback() {
		err = kafka.ErrNotLoopback
	}
	if err != nil {
		return nil, &relay.ConfigError{Class: relay.ClassInvalid, Text: fmt.Sprintf("listen on %q: %v", address, err)}
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("the broker cannot listen: %w. Choose another address, or stop who has it", err)
	}
	return l, nil
}

// seldom logs why connections ended, one a second at most: whoever connects could fill the disk otherwise.
type seldom struct {
	log *slog.Logger

	mu     sync.Mutex
	last   time.Time
	unsaid int
}

func (s *seldom) closed(remote string, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.last) >= time.Second {
		s.log.Warn("a connection of the Kafka port ended, or something there is tried again", "client", remote, "err", why, "unsaid", s.unsaid)
		s.last, s.unsaid = now, 0
		return
	}
	s.unsaid++
}
