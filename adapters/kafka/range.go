package kafka

import (
	"context"
	"fmt"
	"strings"

	"github.com/segmentio/kafka-go"

	"github.com/waybillmq/waybill/adapters/internal/cloudevents"
	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

// Range gives f the records of a partition from offset from up to, and without, offset to, in offset order, and returns which offsets it knows of now: they may begin later,
// where retention took the first ones, and end earlier, where an error came in between. What it knows of and has not given to f is not there, such as what lies behind the end
// of the partition. It ends with the first error of f.
func (r *Reader) Range(ctx context.Context, partition int32, from, to int64, f func(Record) error) (first, next int64, err error) {
	at, err := r.bounds(ctx, partition)
	if err == nil {
		first = max(from, at.FirstOffset)
		next, err = r.between(ctx, partition, first, min(to, at.LastOffset), f)
	}
	if err == nil {
		at, err = r.bounds(ctx, partition)
		first = max(first, at.FirstOffset) // retention goes on while we read
		next = max(first, to)
	}
	if err != nil {
		return first, next, fmt.Errorf("kafka: read %q, partition %d: %w", r.topic, partition, err)
	}
	return first, next, nil
}

// between returns the offset that follows the last record that it has given to f.
func (r *Reader) between(ctx context.Context, partition int32, from, to int64, f func(Record) error) (next int64, err error) {
	next = from
	err = r.partition(ctx, kafka.PartitionOffsets{Partition: int(partition), FirstOffset: from, LastOffset: to}, func(rec Record) error {
		next = rec.Offset + 1
		return f(rec)
	})
	return next, err
}

func (r *Reader) bounds(ctx context.Context, partition int32) (kafka.PartitionOffsets, error) {
	ends, err := r.ends(ctx, []int{int(partition)})
	if err != nil {
		return kafka.PartitionOffsets{}, err
	}
	return ends[0], nil
}

// Compacted says whether the topic may lose records to newer ones of their key, as its cleanup.policy says.
func (r *Reader) Compacted(ctx context.Context) (bool, error) {
	res, err := r.c.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kafka.ResourceTypeTopic, ResourceName: r.topic, ConfigNames: []string{setCleanup}}}})
	if err != nil {
		return false, fmt.Errorf("kafka: settings of %q: %w", r.topic, err)
	}
	for _, resource := range res.Resources {
		if resource.Error != nil {
			return false, fmt.Errorf("kafka: settings of %q: %w", r.topic, resource.Error)
		}
		for _, e := range resource.ConfigEntries {
			if e.ConfigName == setCleanup && strings.Contains(e.ConfigValue, "compact") {
				return true, nil
			}
		}
	}
	return false, nil
}

// Wire is m as records carry it, those of the bundled broker too: m itself, or a copy in the form of the CloudEvent that its route asks for. An error says what about this message makes no event.
func Wire(m *relay.Message) (*relay.Message, error) {
	return cloudevents.Message(m, record.EventPrefix)
}
