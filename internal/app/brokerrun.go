package app

import (
	"context"
	"errors"
	"log/slog"
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
	l, err := kafka.Listen(o.Listen)
	if errors.Is(err, kafka.ErrNotLoopback) {
		return &relay.ConfigError{Class: relay.ClassInvalid, Text: err.Error()}
	}
	if err != nil {
		return err
	}
	address := l.Address()
	failed := func(op string, err error) {
		o.Log.Warn("a chore of the broker failed and is tried again", "op", op, "err", err)
	}
	cfg := broker.Config{Dir: o.Dir, SegmentBytes: o.SegmentBytes, Failed: failed}
	b, err := startBundled(ctx, cfg, nil)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	rare := seldom{log: o.Log}
	server, err := kafka.New(kafka.Config{Log: b.node, Advertise: address, Closed: rare.closed, Failed: failed})
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
		s.log.Warn("a connection of the Kafka port ended, or none could be accepted", "client", remote, "err", why, "unsaid", s.unsaid)
		s.last, s.unsaid = now, 0
		return
	}
	s.unsaid++
}
