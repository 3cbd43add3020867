package testservices

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
)

// topicTimeout bounds one call about topics.
const topicTimeout = 30 * time.Second

// CreateTopic makes a topic with the cluster's replication factor and returns when every serving node knows it and every partition takes writes. configs
// are Kafka's own, such as min.insync.replicas or max.message.bytes; nil for none.
func (c *Cluster) CreateTopic(name string, partitions int, configs map[string]string) error {
	return c.admin(func(ctx context.Context, client *kafka.Client) error {
		topic := kafka.TopicConfig{Topic: name, NumPartitions: partitions, ReplicationFactor: len(c.nodes)}
		for _, key := range slices.Sorted(maps.Keys(configs)) {
			topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: key, ConfigValue: configs[key]})
		}
		if err := c.create(ctx, client, topic); err != nil {
			return fmt.Errorf("create topic %s: %w", name, err)
		}
		return c.await(ctx, client, name, "ready", func(topic kafka.Topic) bool {
			return topic.Error == nil && len(topic.Partitions) == partitions && c.complete(ctx, client, topic)
		})
	})
}

// create asks until the controller has decided. A controller that has just taken over, or a machine that is busy, answers that its time was over, and may
// have made the topic all the same: after such an answer a topic that exists is the one asked for.
func (c *Cluster) create(ctx context.Context, client *kafka.Client, topic kafka.TopicConfig) error {
	maybe := false
	var last error
	err := until(ctx, func() (bool, error) {
		res, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
		if err == nil {
			err = res.Errors[topic.Topic]
		}
		last = err
		var code kafka.Error
		switch {
		case err == nil, maybe && errors.Is(err, kafka.TopicAlreadyExists):
			return true, nil
		case !errors.As(err, &code), code == kafka.RequestTimedOut:
			maybe = true
			return false, nil
		case code == kafka.NotController, code == kafka.InvalidReplicationFactor && c.allServe(): // a node that was resumed is not counted yet
			return false, nil
		}
		return false, err
	})
	if ctx.Err() != nil {
		return errors.Join(err, last)
	}
	return err
}

func (c *Cluster) allServe() bool {
	return !slices.ContainsFunc(c.nodes, func(n *node) bool { return !n.serving() })
}

// DeleteTopic removes a topic and returns when no serving node knows it.
func (c *Cluster) DeleteTopic(name string) error {
	return c.admin(func(ctx context.Context, client *kafka.Client) error {
		res, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{name}})
		if err == nil {
			err = res.Errors[name]
		}
		if err != nil {
			return fmt.Errorf("delete topic %s: %w", name, err)
		}
		return c.await(ctx, client, name, "gone", func(topic kafka.Topic) bool { return errors.Is(topic.Error, kafka.UnknownTopicOrPartition) })
	})
}

// AlterTopicConfig sets some configs of a topic, leaves the others, and returns when every serving node knows them.
func (c *Cluster) AlterTopicConfig(name string, configs map[string]string) error {
	return c.admin(func(ctx context.Context, client *kafka.Client) error {
		resource := kafka.IncrementalAlterConfigsRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: name}
		for _, key := range slices.Sorted(maps.Keys(configs)) {
			resource.Configs = append(resource.Configs, kafka.IncrementalAlterConfigsRequestConfig{
				Name: key, Value: configs[key], ConfigOperation: kafka.ConfigOperationSet})
		}
		res, err := client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
			Resources: []kafka.IncrementalAlterConfigsRequestResource{resource}})
		for i := 0; err == nil && i < len(res.Resources); i++ {
			err = res.Resources[i].Error
		}
		if err != nil {
			return fmt.Errorf("alter topic %s: %w", name, err)
		}
		err = until(ctx, func() (bool, error) {
			for _, n := range c.nodes {
				if n.serving() && !hasConfigs(ctx, n.client.address(), name, configs) {
					return false, nil
				}
			}
			return true, nil
		})
		if err != nil {
			return fmt.Errorf("topic %s is not altered on every node: %w", name, err)
		}
		return nil
	})
}

// hasConfigs says whether a node knows these configs of a topic.
func hasConfigs(ctx context.Context, address, name string, configs map[string]string) bool {
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(address), Timeout: topicTimeout, Transport: transport}
	res, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kafka.ResourceTypeTopic, ResourceName: name, ConfigNames: slices.Sorted(maps.Keys(configs))}}})
	if err != nil || len(res.Resources) != 1 {
		return false
	}
	known := 0
	for _, e := range res.Resources[0].ConfigEntries {
		if configs[e.ConfigName] == e.ConfigValue {
			known++
		}
	}
	return known == len(configs)
}

// AddPartitions raises the partition count of a topic to count and returns when every partition takes writes.
func (c *Cluster) AddPartitions(name string, count int) error {
	return c.admin(func(ctx context.Context, client *kafka.Client) error {
		res, err := client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
			Topics: []kafka.TopicPartitionsConfig{{Name: name, Count: int32(count)}}})
		if err == nil {
			err = res.Errors[name]
		}
		if err != nil {
			return fmt.Errorf("add partitions to topic %s: %w", name, err)
		}
		return c.await(ctx, client, name, "ready", func(topic kafka.Topic) bool {
			return topic.Error == nil && len(topic.Partitions) == count && c.complete(ctx, client, topic)
		})
	})
}

// Leader is the number of the node that leads a partition.
func (c *Cluster) Leader(name string, partition int) (int, error) {
	leader := 0
	err := c.admin(func(ctx context.Context, client *kafka.Client) error {
		res, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{name}})
		if err != nil {
			return err
		}
		for _, topic := range res.Topics {
			for _, p := range topic.Partitions {
				if topic.Name == name && p.ID == partition {
					leader = p.Leader.ID
				}
			}
		}
		return nil
	})
	if err == nil && leader == 0 {
		err = fmt.Errorf("partition %d of topic %s has no leader", partition, name)
	}
	return leader, err
}

// admin runs a call with a client of its own, so that no connection outlives it.
func (c *Cluster) admin(call func(context.Context, *kafka.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), topicTimeout)
	defer cancel()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	return call(ctx, &kafka.Client{Addr: kafka.TCP(c.Brokers...), Timeout: topicTimeout, Transport: transport})
}

// await asks every serving node by itself: nodes learn of a change one after the other, and a client may ask any of them.
func (c *Cluster) await(ctx context.Context, client *kafka.Client, name, what string, done func(kafka.Topic) bool) error {
	err := until(ctx, func() (bool, error) {
		for _, n := range c.nodes {
			if !n.serving() {
				continue
			}
			topic, err := metadataAt(ctx, n.client.address(), name)
			if err != nil || !done(topic) {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("topic %s is not %s on every node: %w", name, what, err)
	}
	return nil
}

// metadataAt asks one node; a transport of its own keeps the client from asking another.
func metadataAt(ctx context.Context, address, name string) (kafka.Topic, error) {
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(address), Timeout: topicTimeout, Transport: transport}
	res, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{name}})
	if err != nil || len(res.Topics) != 1 {
		return kafka.Topic{}, errors.Join(err, errors.New("no answer about the topic"))
	}
	return res.Topics[0], nil
}

// complete says whether every partition has a leader with all serving replicas in sync, and that leader answers for it: a node named as leader may not know
// yet that it is, and refuses a write with "unknown topic or partition".
func (c *Cluster) complete(ctx context.Context, client *kafka.Client, topic kafka.Topic) bool {
	serving := 0
	for _, n := range c.nodes {
		if n.serving() {
			serving++
		}
	}
	offsets := make([]kafka.OffsetRequest, 0, len(topic.Partitions))
	for _, p := range topic.Partitions {
		if p.Error != nil || p.Leader.ID <= 0 || len(p.Isr) < serving {
			return false
		}
		offsets = append(offsets, kafka.LastOffsetOf(p.ID))
	}
	res, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic.Name: offsets}})
	if err != nil || len(res.Topics[topic.Name]) != len(offsets) {
		return false
	}
	return !slices.ContainsFunc(res.Topics[topic.Name], func(p kafka.PartitionOffsets) bool { return p.Error != nil })
}
