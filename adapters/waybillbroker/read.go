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
		start, high, err := b.Bounds(topic, index)
		if err != nil {
			return err
		}
		if _, err := readRange(ctx, b, topic, index, start, high, f); err != nil {
			return err
		}
	}
	return nil
}

// readRange gives f the records of a partition from an offset up to, and without, another, and returns the offset that follows what it has given.
func readRange(ctx context.Context, b Reader, topic string, partition int32, at, end int64, f func(Record) error) (next int64, err error) {
	for at < end {
		batches, err := b.Read(ctx, topic, partition, at, fetchBytes)
		if err != nil {
			return at, err
		}
		before := at
		for _, batch := range batches {
			err := record.Decode(batch.Bytes, func(r record.Record) error {
				if r.Offset < at || r.Offset >= end { // a batch may begin before the first one that is asked for, and end behind the last
					return nil
				}
				at = r.Offset + 1
				return f(Record{partition, r})
			})
			if err != nil {
				return at, fmt.Errorf("topic %q, partition %d, batch at offset %d: %w", topic, partition, batch.Base, err)
			}
		}
		if err := ctx.Err(); err != nil || at == before {
			return at, err
		}
	}
	return at, nil
}

// ReadRange gives f the records of a partition from offset from up to, and without, offset to, in offset order, and returns which offsets it knows of now: they may begin later,
// where retention took the first ones, and end earlier, where an error came in between. What it knows of and has not given to f is not there, such as what lies behind the end
// of the partition. It ends with the first error of f.
func ReadRange(ctx context.Context, b Reader, topic string, partition int32, from, to int64, f func(Record) error) (first, next int64, err error) {
	start, high, err := b.Bounds(topic, partition)
	if err != nil {
		return 0, 0, err
	}
	first = max(from, start)
	end := min(to, high)
	if next, err = readRange(ctx, b, topic, partition, first, end, f); err != nil || next < end {
		return first, next, err
	}
	if start, _, err = b.Bounds(topic, partition); err != nil {
		return first, next, err
	}
	first = max(first, start) // retention goes on while we read
	return first, max(first, to), nil
}
