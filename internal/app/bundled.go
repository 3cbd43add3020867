package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// bundled is the bundled broker, one node in this process.
type bundled struct {
	node  *broker.Node
	ended chan error    // receives the error of a node that ended by itself
	stop  func() error  // ends it in order, once, and returns its error
	done  chan struct{} // closed when it has ended
}

// startBundled opens a node, runs it, and makes the topics that are missing.
func startBundled(ctx context.Context, cfg broker.Config, topics []string) (*bundled, error) {
	if err := os.MkdirAll(filepath.Dir(cfg.Dir), 0o755); err != nil {
		return nil, &relay.ConfigError{Class: relay.ClassInvalid, Text: fmt.Sprintf("the bundled broker's folder cannot be made: %v", err)}
	}
	node, err := broker.Open(cfg, vfs.OS{})
	if err != nil {
		return nil, err
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b := &bundled{node: node, ended: make(chan error, 1), done: make(chan struct{})}
	var result error
	go func() {
		defer close(b.done)
		if result = node.Run(work); result != nil {
			b.ended <- result
		}
	}()
	b.stop = sync.OnceValue(func() error { cancel(); <-b.done; return result })
	for _, name := range topics {
		if err := node.CreateTopic(ctx, broker.Topic{Name: name}); err != nil && !errors.Is(err, broker.ErrTopicExists) {
			return nil, errors.Join(fmt.Errorf("make topic %q of the bundled broker: %w", name, err), b.stop())
		}
	}
	return b, nil
}

// brokerConfig maps the configuration of the bundled broker.
func brokerConfig(c *config.Config) broker.Config {
	b := broker.Config{Dir: c.Broker.Dir, SegmentBytes: int64(c.Broker.SegmentSize), FlushTimeout: c.Broker.FlushTimeout, Partitions: c.Broker.Topics.Partitions, RetentionAge: -1}
	if age, ends := c.Broker.Topics.RetentionAge.Get(); ends {
		b.RetentionAge = age
	}
	if most, bounded := c.Broker.RetentionBytes.Get(); bounded {
		b.RetentionBytes = int64(most)
	}
	return b
}

// runBundled starts the bundled broker of a configuration that has one; nil when it has none. A disk that fails ends the broker, not the process: other
// destinations go on, and this one is unavailable until a new start. stop is there whenever err is nil.
func runBundled(ctx context.Context, c *config.Config, log *slog.Logger) (_ waybillbroker.Broker, stop func(), err error) {
	if !c.Broker.Enabled {
		return nil, func() {}, nil
	}
	cfg := brokerConfig(c)
	cfg.Failed = func(op string, err error) {
		log.Warn("a chore of the bundled broker failed and is tried again", "op", op, "err", err)
	}
	b, err := startBundled(ctx, cfg, c.Broker.Topics.Create)
	if err != nil {
		return nil, nil, err
	}
	log.Info("the bundled broker runs", "dir", c.Broker.Dir, "topics", len(b.node.Topics()))
	done := make(chan struct{})
	go func() {
		select {
		case err := <-b.ended:
			log.Error("the bundled broker has ended; what it acknowledged is safe, messages to it wait until this process is started again", "dir", c.Broker.Dir, "err", err)
		case <-done:
		}
	}()
	return b.node, func() {
		close(done)
		if err := b.stop(); err != nil {
			log.Error("the bundled broker did not end in order", "err", err)
		}
	}, nil
}

// describeBundled is the engine's description of the bundled broker.
func describeBundled(store *postgres.Store, b waybillbroker.Broker, h hooks) relay.Destination {
	cfg := waybillbroker.Config{Broker: b, Unsettled: store.Unsettled, LanesChanged: func() { h.lanesChanged("") }}
	return relay.Destination{Capabilities: waybillbroker.Capabilities(), New: func() (relay.Publisher, error) { return waybillbroker.New(cfg) }}
}

// checkBundled looks at the folder of the bundled broker without opening it: a running relay may have it.
func checkBundled(c *config.Config) (found relay.Findings, err error) {
	if found.Cluster, err = broker.ClusterOf(c.Broker.Dir, vfs.OS{}); err != nil {
		return found, err
	}
	f := relay.Finding{ID: "waybillbroker.folder", Level: relay.LevelOK, Subject: c.Broker.Dir, Text: "the bundled broker has its data here"}
	if found.Cluster == "" {
		f.Text = "the bundled broker begins here at its first start"
	}
	found.Items = append(found.Items, f)
	return found, nil
}
