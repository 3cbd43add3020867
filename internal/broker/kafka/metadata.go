package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker"
)

// metadata says where topics lie: all on this node. No topic is made by being asked for: a typo would make one.
func (c *conn) metadata(req *kmsg.MetadataRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	b := kmsg.NewMetadataResponseBroker()
	b.NodeID, b.Host, b.Port = nodeID, c.host, c.port
	resp.Brokers = []kmsg.MetadataResponseBroker{b}
	cluster := c.cfg.Log.Cluster()
	resp.ClusterID, resp.ControllerID = &cluster, nodeID
	if req.Topics == nil || req.Version == 0 && len(req.Topics) == 0 {
		for _, t := range c.cfg.Log.Topics() {
			resp.Topics = append(resp.Topics, describe(cluster, t))
		}
		return resp
	}
	for _, q := range req.Topics {
		resp.Topics = append(resp.Topics, c.describeOne(cluster, q))
	}
	return resp
}

func (c *conn) describeOne(cluster string, q kmsg.MetadataRequestTopic) kmsg.MetadataResponseTopic {
	missing := kmsg.NewMetadataResponseTopic()
	missing.Topic, missing.TopicID, missing.ErrorCode = q.Topic, q.TopicID, codeUnknownTopicOrPartition
	if q.Topic == nil {
		name, ok := c.named(q.TopicID)
		if !ok {
			missing.ErrorCode = codeUnknownTopicID
			return missing
		}
		q.Topic = &name
	}
	t, ok := c.cfg.Log.Topic(*q.Topic)
	if !ok {
		return missing
	}
	return describe(cluster, t)
}

// named is the topic of a uuid.
func (c *conn) named(id [16]byte) (string, bool) {
	for _, t := range c.cfg.Log.Topics() {
		if topicID(c.cfg.Log.Cluster(), t.Name) == id {
			return t.Name, true
		}
	}
	return "", false
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
