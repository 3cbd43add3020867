package kafka

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker"
)

// Settings of a topic by Kafka's names.
const (
	settingRetentionTime  = "retention.ms"
	settingRetentionBytes = "retention.bytes"
	settingMaxMessage     = "max.message.bytes"
	settingCleanup        = "cleanup.policy"
)

// within bounds a change of topics by the time that its client waits.
func within(ctx context.Context, millis int32) (context.Context, context.CancelFunc) {
	if limit := milliseconds(millis); limit > 0 && limit < longest {
		return context.WithTimeout(ctx, limit)
	}
	return context.WithTimeout(ctx, longest)
}

// createTopics makes topics, each for itself.
func (c *conn) createTopics(ctx context.Context, req *kmsg.CreateTopicsRequest) (kmsg.Response, error) {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	if err := c.room(ctx, len(req.Topics), 0); err != nil {
		return nil, err
	}
	names := map[string]int{}
	for _, t := range req.Topics {
		names[t.Topic]++
	}
	for _, t := range req.Topics {
		a := kmsg.NewCreateTopicsResponseTopic()
		a.Topic, a.NumPartitions, a.ReplicationFactor = t.Topic, -1, -1
		topic, code, why := wish(t)
		switch {
		case names[t.Topic] > 1:
			code, why = codeInvalidRequest, "the topic is named twice"
		case code != codeNone:
		case req.ValidateOnly:
			if _, ok := c.cfg.Log.Topic(t.Topic); ok {
				code, why = codeTopicAlreadyExists, broker.ErrTopicExists.Error()
			}
		default:
			if err := c.createTopic(ctx, topic); err != nil {
				code, why = codeOf(err), err.Error()
			}
		}
		if a.ErrorCode = code; code != codeNone {
			a.ErrorMessage = &why
		} else if made, ok := c.cfg.Log.Topic(t.Topic); ok {
			a.TopicID, a.NumPartitions, a.ReplicationFactor = topicID(c.cfg.Log.Cluster(), t.Topic), int32(made.Partitions), 1
		}
		resp.Topics = append(resp.Topics, a)
	}
	return resp, nil
}

// createTopic makes a topic that groups begin to consume anew. A node may have died between the end of an earlier one of this name and that of its offsets, so they go
// first: a group whose members live would go on there.
func (c *conn) createTopic(ctx context.Context, t broker.Topic) error {
	if err := c.naming.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("create topic %q: another change of topics runs: %w", t.Name, err)
	}
	defer c.naming.Release(1)
	if _, ok := c.cfg.Log.Topic(t.Name); !ok {
		if err := c.desk.insist(ctx, func(time.Time) { c.desk.c.TopicGone(t.Name) }); err != nil {
			return fmt.Errorf("create topic %q: the offsets of an earlier one of this name could not be given up; try again: %w", t.Name, err)
		}
	}
	return c.cfg.Log.CreateTopic(ctx, t)
}

// deleteTopic removes a topic, and then what groups have committed of it: that goes at the latest before there is a new one of its name.
func (c *conn) deleteTopic(ctx context.Context, name string) error {
	if err := c.naming.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("delete topic %q: another change of topics runs: %w", name, err)
	}
	defer c.naming.Release(1)
	if _, ok := c.cfg.Log.Topic(name); !ok { // the node would store the question
		return refused(name)
	}
	if err := c.cfg.Log.DeleteTopic(ctx, name); err != nil {
		return err
	}
	_ = c.desk.insist(ctx, func(time.Time) { c.desk.c.TopicGone(name) })
	return nil
}

// wish is the topic that a client wants, or why it cannot be.
func wish(t kmsg.CreateTopicsRequestTopic) (topic broker.Topic, code int16, why string) {
	topic = broker.Topic{Name: t.Topic, Partitions: int(max(0, t.NumPartitions))}
	switch {
	case t.NumPartitions == 0 || t.NumPartitions < -1:
		return topic, codeInvalidPartitions, "a topic has 1 partition or more, or -1 for the default"
	case len(t.ReplicaAssignment) > 0:
		return topic, codeInvalidReplicaAssignment, "there is one node: name a number of partitions instead of replicas"
	case t.ReplicationFactor != 1 && t.ReplicationFactor != -1:
		return topic, codeInvalidReplicationFactor, "there is one node: the replication factor is 1, or -1 for the default"
	}
	for _, s := range t.Configs {
		if s.Value == nil {
			continue
		}
		n, err := strconv.ParseInt(*s.Value, 10, 64)
		switch {
		case s.Name == settingRetentionTime && err == nil && (n == -1 || n > 0 && n <= int64(1<<62)/int64(time.Millisecond)):
			topic.Retention = time.Duration(n) * time.Millisecond
		case s.Name == settingRetentionBytes && err == nil && (n == -1 || n > 0):
			topic.Bytes = n
		case s.Name == settingCleanup && *s.Value == "delete", s.Name == settingMaxMessage && n == broker.MaxMessage:
		default:
			return topic, codeInvalidConfig, fmt.Sprintf("%s=%s is not offered: there are %s and %s, -1 or more than 0, %s=delete and %s=%d", s.Name, *s.Value,
				settingRetentionTime, settingRetentionBytes, settingCleanup, settingMaxMessage, broker.MaxMessage)
		}
	}
	return topic, codeNone, ""
}

// deleteTopics removes topics, each for itself, by name or by uuid.
func (c *conn) deleteTopics(ctx context.Context, req *kmsg.DeleteTopicsRequest) (kmsg.Response, error) {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	for _, name := range req.TopicNames { // until version 5
		req.Topics = append(req.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &name})
	}
	if err := c.room(ctx, len(req.Topics), 0); err != nil {
		return nil, err
	}
	var ids map[[16]byte]string
	for _, t := range req.Topics {
		a := kmsg.NewDeleteTopicsResponseTopic()
		a.Topic, a.TopicID = t.Topic, t.TopicID
		if t.Topic == nil {
			if ids == nil {
				ids = c.topicIDs()
			}
			name, ok := ids[t.TopicID]
			if !ok {
				a.ErrorCode = codeUnknownTopicID
				resp.Topics = append(resp.Topics, a)
				continue
			}
			a.Topic = &name
		}
		if err := c.deleteTopic(ctx, *a.Topic); err != nil {
			text := err.Error()
			a.ErrorCode, a.ErrorMessage = codeOf(err), &text
		}
		resp.Topics = append(resp.Topics, a)
	}
	return resp, nil
}

// describeConfigs tells the settings of topics. They are made with a topic, and not changed here.
func (c *conn) describeConfigs(ctx context.Context, req *kmsg.DescribeConfigsRequest) (kmsg.Response, error) {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	type key struct {
		kind kmsg.ConfigResourceType
		name string
	}
	req.Resources = once(req.Resources, func(q kmsg.DescribeConfigsRequestResource) key { return key{q.ResourceType, q.ResourceName} })
	if err := c.room(ctx, 3*len(req.Resources), 0); err != nil {
		return nil, err
	}
	for _, q := range req.Resources {
		a := kmsg.NewDescribeConfigsResponseResource()
		a.ResourceType, a.ResourceName = q.ResourceType, q.ResourceName
		t, ok := c.cfg.Log.Topic(q.ResourceName)
		switch {
		case q.ResourceType == kmsg.ConfigResourceTypeBroker: // none that a client could use
		case q.ResourceType != kmsg.ConfigResourceTypeTopic:
			a.ErrorCode = codeInvalidRequest
		case !ok:
			a.ErrorCode = codeUnknownTopicOrPartition
		default:
			a.Configs = settings(t, q.ConfigNames)
		}
		resp.Resources = append(resp.Resources, a)
	}
	return resp, nil
}

// settings are those of a topic, or of them the ones that are asked for; nil asks for all.
func settings(t broker.Topic, names []string) (list []kmsg.DescribeConfigsResponseResourceConfig) {
	retention := int64(-1)
	if t.Retention >= 0 {
		retention = t.Retention.Milliseconds()
	}
	for _, s := range []struct {
		name, value string
		kind        kmsg.ConfigType
		source      kmsg.ConfigSource
	}{
		{settingCleanup, "delete", kmsg.ConfigTypeList, kmsg.ConfigSourceDefaultConfig},
		{settingMaxMessage, strconv.Itoa(t.MaxBatch), kmsg.ConfigTypeInt, kmsg.ConfigSourceDefaultConfig},
		{settingRetentionBytes, strconv.FormatInt(t.Bytes, 10), kmsg.ConfigTypeLong, kmsg.ConfigSourceDynamicTopicConfig},
		{settingRetentionTime, strconv.FormatInt(retention, 10), kmsg.ConfigTypeLong, kmsg.ConfigSourceDynamicTopicConfig},
	} {
		if !asked(s.name, names) {
			continue
		}
		x := kmsg.NewDescribeConfigsResponseResourceConfig()
		x.Name, x.Value, x.ConfigType, x.Source, x.ReadOnly = s.name, &s.value, s.kind, s.source, true
		list = append(list, x)
	}
	return list
}

func asked(name string, names []string) bool {
	if names == nil {
		return true
	}
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}
