package waybillbroker

import (
	"context"
	"fmt"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/internal/broker"
)

const fetchBytes = 4 << 20

// Reader is what ReadAll needs of the bundled broker; *broker.Node is one.
type Reader interface {
	Topic(name string) (broker.Topic, bool)
	Bounds(topic string, partition int32) (start, high int64, err error)
	Read(ctx context.Context, topic string, partition int32, from int64, maxBytes int) ([]broker.StoredBatch, error)
}

// Record is one record of a partition as it lies at the broker.
type Record struct {
	Partition int32
	record.Record
}

// Header returns the first header of that name.
func (r *Record) Header(name string) (string, bool) {
	for _, h := range r.Headers {
		if h.Name == name {
			return string(h.Value), true
		}
	}
	return "", false
}

// ReadAll gives f every record of a topic that lies there when it is called: partition by partition, in offset order. The record and its bytes are f's to keep.
// It ends with the first error of f.
func ReadAll(ctx context.Context, b Reader, topic string, f func(Record) error) error {
	described, ok := b.Topic(topic)
	if !ok {
		return fmt.Errorf("read topic %q: %w", topic, broker.ErrUnknownTopic)
	}
	for index := range int32(described.Partitions) {
		at, high, err := b.Bounds(topic, index)
		if err != nil {
			return err
		}
		for at < high {
			batches, err := b.Read(ctx, topic, index, at, fetchBytes)
			if err != nil {
				return err
			}
			for _, batch := range batches {
				err := record.Decode(batch.Bytes, func(r record.Record) error {
					at = r.Offset + 1
					return f(Record{index, r})
				})
				if err != nil {
					return fmt.Errorf("topic %q, partition %d, batch at offset %d: %w", topic, index, batch.Base, err)
				}
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}
