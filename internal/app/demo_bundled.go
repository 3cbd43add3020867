package app

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// demoBundled is the bundled broker, one node in this process.
type demoBundled struct {
	dir   string
	node  *broker.Node
	ended chan error
	end   func() error // stops the node and returns its error
}

// demoSegment is short: a demonstration should not take half a gigabyte of disk.
const demoSegment = 16 << 20

func (d *demoBundled) start(ctx context.Context) (string, error) {
	var err error
	if d.node, err = broker.Open(broker.Config{Dir: d.dir, SegmentBytes: demoSegment, Partitions: demoPartitions}, vfs.OS{}); err != nil {
		return "", err
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.ended = make(chan error, 1)
	done := make(chan struct{})
	var result error
	go func() {
		defer close(done)
		if result = d.node.Run(work); result != nil {
			d.ended <- result
		}
	}()
	d.end = sync.OnceValue(func() error { cancel(); <-done; return result })
	for _, topic := range demoTopics {
		if err := d.node.CreateTopic(ctx, broker.Topic{Name: topic}); err != nil && !errors.Is(err, broker.ErrTopicExists) {
			return "", errors.Join(err, d.stop())
		}
	}
	return fmt.Sprintf("bundled, one node, every record synced to disk before its ack (%d topics)", len(demoTopics)), nil
}

func (d *demoBundled) destination() config.Destination {
	return config.Destination{Name: "bundled", Kind: bundledKind}
}

func (d *demoBundled) topic() string                 { return "{topic}" }
func (d *demoBundled) bundled() waybillbroker.Broker { return d.node }
func (d *demoBundled) failed() <-chan error          { return d.ended }
func (d *demoBundled) name() string                  { return "the bundled broker" }

func (d *demoBundled) stop() error {
	if d.end == nil {
		return nil
	}
	return d.end()
}

func (d *demoBundled) read(ctx context.Context) (stored []audit.Stored, err error) {
	for _, topic := range demoTopics {
		err := waybillbroker.ReadAll(ctx, d.node, topic, func(r waybillbroker.Record) error {
			messageID, _ := r.Header("waybill-id")
			seq, _ := r.Header("waybill-seq")
			stored = append(stored, storedAt(relay.Lane{Topic: topic, Index: r.Partition}, r.Offset, messageID, seq, topic, r.Key, r.Value))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return stored, nil
}
