package checker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/relay/relaytest"
)

// addTopic makes a topic at a fake cluster.
func addTopic(ctx context.Context, brokers []string, name string, parts int32, configs map[string]string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer client.Close()
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, parts, 1
	for key, value := range configs {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = key, &value
		topic.Configs = append(topic.Configs, config)
	}
	req.Topics = append(req.Topics, topic)
	res, err := req.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(res.Topics[0].ErrorCode)
}

// readTopic reads a topic from its first to its present last record, each partition in offset order, with a client that shares nothing with the relay's.
func readTopic(ctx context.Context, brokers []string, topic string, parts int32, each func(*kgo.Record)) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	ends, total, err := endOffsets(ctx, client, topic, parts)
	if err != nil || total == 0 {
		return err
	}
	from := map[int32]kgo.Offset{}
	for p := range ends {
		from[p] = kgo.NewOffset().AtStart()
	}
	consumer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer consumer.Close()
	for open := len(ends); open > 0; {
		fetches := consumer.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read %s: %d partitions are not at their end: %w", topic, open, err)
		}
		fetches.EachError(func(_ string, p int32, ferr error) { err = fmt.Errorf("read %s/%d: %w", topic, p, ferr) })
		if err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset < ends[r.Partition] {
				each(r)
			}
			if r.Offset == ends[r.Partition]-1 {
				open--
			}
		})
	}
	return nil
}

// endOffsets returns the end of each partition that has records.
func endOffsets(ctx context.Context, client *kgo.Client, topic string, parts int32) (ends map[int32]int64, total int64, err error) {
	req := kmsg.NewPtrListOffsetsRequest()
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for p := range parts {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = p, -1
		t.Partitions = append(t.Partitions, part)
	}
	req.ReplicaID, req.Topics = -1, append(req.Topics, t)
	ends = map[int32]int64{}
	for _, shard := range client.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, 0, shard.Err
		}
		for _, rt := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, rp := range rt.Partitions {
				if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
					return nil, 0, fmt.Errorf("end of %s/%d: %w", topic, rp.Partition, err)
				}
				if rp.Offset > 0 {
					ends[rp.Partition] = rp.Offset
					total += rp.Offset
				}
			}
		}
	}
	return ends, total, nil
}

// delivery is what a record says about itself.
func delivery(r *kgo.Record) relaytest.Delivery {
	d := relaytest.Delivery{Topic: r.Topic, Key: string(r.Key), Lane: fmt.Sprintf("%s/%d", r.Topic, r.Partition), Offset: r.Offset}
	for _, h := range r.Headers {
		switch h.Key {
		case "waybill-id":
			d.MessageID = string(h.Value)
		case "token":
			d.Token = string(h.Value)
		}
	}
	var b body
	if json.Unmarshal(r.Value, &b) == nil {
		d.N = b.N
	}
	d.Sum = sumOf(d.Topic, d.Key, d.Token, r.Value)
	return d
}
