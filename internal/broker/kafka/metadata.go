package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker"
)

// metadata says where topics lie: all on this node. No topic is made by being asked for: a typo would make one.
func (c *conn) metadata(ctx context.Context, req *kmsg.MetadataRequest) (kmsg.Response, error) {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	b := kmsg.NewMetadataResponseBroker()
	b.NodeID, b.Host, b.Port = nodeID, c.host, c.port
	resp.Brokers = []kmsg.MetadataResponseBroker{b}
	cluster := c.cfg.Log.Cluster()
	resp.ClusterID, resp.ControllerID = &cluster, nodeID
	if req.Topics == nil || req.Version == 0 && len(req.Topics) == 0 {
		list := c.cfg.Log.Topics()
		things, text := 0, int64(0)
		for _, t := range list {
			things, text = things+1+t.Partitions, text+int64(len(t.Name))
		}
		if err := c.room(ctx, things, text); err != nil {
			return nil, err
		}
		for _, t := range list {
			resp.Topics = append(resp.Topics, describe(cluster, t))
		}
		return resp, nil
	}
	c.resolve(req)
	things, text := 0, int64(0)
	for _, q := range req.Topics {
		things++
		if q.Topic != nil {
			t, _ := c.cfg.Log.Topic(*q.Topic)
			things, text = things+t.Partitions, text+int64(len(*q.Topic))
		}
	}
	if err := c.room(ctx, things, text); err != nil {
		return nil, err
	}
	for _, q := range req.Topics {
		resp.Topics = append(resp.Topics, c.describeOne(cluster, q))
	}
	return resp, nil
}

// resolve names the topics that are asked for by uuid, as far as there are any, and each once.
func (c *conn) resolve(req *kmsg.MetadataRequest) {
	var names map[[16]byte]string
	for i := range req.Topics {
		if q := &req.Topics[i]; q.Topic == nil {
			if names == nil {
				names = c.topicIDs()
			}
			if name, ok := names[q.TopicID]; ok {
				q.Topic = &name
			}
		}
	}
	type key struct {
		name string
		id   [16]byte
	}
	req.Topics = once(req.Topics, func(q kmsg.MetadataRequestTopic) key {
		if q.Topic == nil {
			return key{id: q.TopicID}
		}
		return key{name: *q.Topic}
	})
}

func (c *conn) describeOne(cluster string, q kmsg.MetadataRequestTopic) kmsg.MetadataResponseTopic {
	missing := kmsg.NewMetadataResponseTopic()
	missing.Topic, missing.TopicID, missing.ErrorCode = q.Topic, q.TopicID, codeUnknownTopicOrPartition
	if q.Topic == nil {
		missing.ErrorCode = codeUnknownTopicID
		return missing
	}
	t, ok := c.cfg.Log.Topic(*q.Topic)
	if !ok {
		return missing
	}
	return describe(cluster, t)
}

// topicIDs are all topics by their uuids.
func (c *conn) topicIDs() map[[16]byte]string {
	names := map[[16]byte]string{}
	for _, t := range c.cfg.Log.Topics() {
		names[topicID(c.cfg.Log.Cluster(), t.Name)] = t.Name
	}
	return names
}

func describe(cluster string, t broker.Topic) kmsg.MetadataResponseTopic {
	d := kmsg.NewMetadataResponseTopic()
	d.Topic, d.TopicID = &t.Name, topicID(cluster, t.Name)
	for i := range t.Partitions {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition, p.Leader, p.LeaderEpoch = int32(i), nodeID, unknownEpoch
		p.Replicas, p.ISR = []int32{nodeID}, []int32{nodeID}
		d.Partitions = append(d.Partitions, p)
	}
	return d
}

func (c *conn) describeCluster(req *kmsg.DescribeClusterRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.ClusterID, resp.ControllerID = c.cfg.Log.Cluster(), nodeID
	b := kmsg.NewDescribeClusterResponseBroker()
	b.NodeID, b.Host, b.Port = nodeID, c.host, c.port
	resp.Brokers = append(resp.Brokers, b)
	return resp
}
