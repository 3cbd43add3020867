package app

import (
	"context"
	"fmt"

	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// demoBundled is the bundled broker, one node in this process.
type demoBundled struct {
	dir    string
	topics []string
	*bundled
}

// demoSegment is short: a demonstration should not take half a gigabyte of disk.
const demoSegment = 16 << 20

func (d *demoBundled) start(ctx context.Context, topics []string) (_ string, err error) {
	d.topics = topics
	d.bundled, err = startBundled(ctx, broker.Config{Dir: d.dir, SegmentBytes: demoSegment, Partitions: demoPartitions}, topics)
	return fmt.Sprintf("bundled, one node, every record synced to disk before its ack (%d topics)", len(topics)), err
}

func (d *demoBundled) destination() config.Destination {
	return config.NewDestination("bundled", config.KindWaybillBroker)
}

func (d *demoBundled) route(r *config.Route)           { r.To.Topic = "{topic}" }
func (d *demoBundled) inProcess() waybillbroker.Broker { return d.node }
func (d *demoBundled) failed() <-chan error            { return d.ended }
func (d *demoBundled) name() string                    { return "the bundled broker" }

func (d *demoBundled) stop() error {
	if d.bundled == nil {
		return nil
	}
	return d.bundled.stop()
}

func (d *demoBundled) read(ctx context.Context) (stored []audit.Stored, err error) {
	for _, topic := range d.topics {
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
