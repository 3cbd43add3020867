package kafka

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestTopics(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	r := p.dial(t)
	for _, c := range []struct {
		what   string
		change func(*kmsg.CreateTopicsRequestTopic)
		code   int16
	}{
		{"a topic", func(*kmsg.CreateTopicsRequestTopic) {}, codeNone},
		{"the same again", func(*kmsg.CreateTopicsRequestTopic) {}, codeTopicAlreadyExists},
		{"a bad name", func(x *kmsg.CreateTopicsRequestTopic) { x.Topic = "a b" }, codeInvalidTopic},
		{"no partition", func(x *kmsg.CreateTopicsRequestTopic) { x.NumPartitions = 0 }, codeInvalidPartitions},
		{"too many", func(x *kmsg.CreateTopicsRequestTopic) { x.Topic, x.NumPartitions = "many", 10_000 }, codeInvalidPartitions},
		{"three replicas", func(x *kmsg.CreateTopicsRequestTopic) { x.ReplicationFactor = 3 }, codeInvalidReplicationFactor},
		{"places", func(x *kmsg.CreateTopicsRequestTopic) {
			x.ReplicaAssignment = make([]kmsg.CreateTopicsRequestTopicReplicaAssignment, 1)
		}, codeInvalidReplicaAssignment},
		{"compaction", func(x *kmsg.CreateTopicsRequestTopic) { x.Configs = setting(settingCleanup, "compact") }, codeInvalidConfig},
		{"no retention", func(x *kmsg.CreateTopicsRequestTopic) { x.Configs = setting(settingRetentionTime, "0") }, codeInvalidConfig},
		{"retention", func(x *kmsg.CreateTopicsRequestTopic) {
			x.Topic, x.Configs = "kept", append(setting(settingRetentionTime, "60000"), setting(settingRetentionBytes, "1048576")...)
		}, codeNone},
	} {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version = 7
		x := kmsg.NewCreateTopicsRequestTopic()
		x.Topic, x.NumPartitions, x.ReplicationFactor = "orders", 2, 1
		c.change(&x)
		req.Topics = append(req.Topics, x)
		a := ask[*kmsg.CreateTopicsResponse](r, req).Topics[0]
		if a.ErrorCode != c.code || (a.ErrorMessage != nil) != (c.code != codeNone) {
			t.Errorf("%s: %+v, want %d", c.what, a, c.code)
		}
		req.ValidateOnly, req.Topics[0].Topic = true, "never"
		ask[*kmsg.CreateTopicsResponse](r, req)
		req.Topics = append(req.Topics, req.Topics[0])
		if a := ask[*kmsg.CreateTopicsResponse](r, req).Topics[1]; a.ErrorCode != codeInvalidRequest {
			t.Errorf("named twice: %+v", a)
		}
	}
	if _, ok := p.Topic("never"); ok {
		t.Error("a topic was made that was to be checked only")
	}
	if kept, _ := p.Topic("kept"); kept.Retention != time.Minute || kept.Bytes != 1<<20 {
		t.Errorf("%+v", kept)
	}
	describe := kmsg.NewPtrDescribeConfigsRequest()
	describe.Version = 4
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName, resource.ConfigNames = kmsg.ConfigResourceTypeTopic, "kept", []string{settingRetentionTime}
	unknown := resource
	unknown.ResourceName = "typo"
	describe.Resources = append(describe.Resources, resource, unknown)
	told := ask[*kmsg.DescribeConfigsResponse](r, describe).Resources
	if len(told[0].Configs) != 1 || *told[0].Configs[0].Value != "60000" || told[1].ErrorCode != codeUnknownTopicOrPartition {
		t.Errorf("%+v", told)
	}
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.Version = 6
	byName, byID, none := kmsg.NewDeleteTopicsRequestTopic(), kmsg.NewDeleteTopicsRequestTopic(), kmsg.NewDeleteTopicsRequestTopic()
	byName.Topic, byID.TopicID, none.TopicID = kmsg.StringPtr("kept"), topicID(p.Cluster(), "orders"), [16]byte{1}
	remove.Topics = append(remove.Topics, byName, byID, none, byName)
	codes := []int16{codeNone, codeNone, codeUnknownTopicID, codeUnknownTopicOrPartition}
	for i, a := range ask[*kmsg.DeleteTopicsResponse](r, remove).Topics {
		if a.ErrorCode != codes[i] {
			t.Errorf("%d: %+v, want %d", i, a, codes[i])
		}
	}
	if list := (visible{p}).Topics(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	old := kmsg.NewPtrDeleteTopicsRequest()
	old.Version, old.TopicNames = 1, []string{"kept"}
	if a := ask[*kmsg.DeleteTopicsResponse](r, old).Topics[0]; a.ErrorCode != codeUnknownTopicOrPartition || *a.Topic != "kept" {
		t.Errorf("%+v", a)
	}
}

func setting(name, value string) []kmsg.CreateTopicsRequestTopicConfig {
	s := kmsg.NewCreateTopicsRequestTopicConfig()
	s.Name, s.Value = name, &value
	return []kmsg.CreateTopicsRequestTopicConfig{s}
}

func TestMetadata(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 2)
	create(t, p, "bills", 1)
	r := p.dial(t)
	for version := int16(0); version <= 12; version++ {
		req := kmsg.NewPtrMetadataRequest()
		req.Version = version
		all := ask[*kmsg.MetadataResponse](r, req)
		if len(all.Topics) != 2 || len(all.Brokers) != 1 || all.Brokers[0].NodeID != nodeID || len(all.Topics[1].Partitions) != 2 || all.Topics[1].Partitions[1].Leader != nodeID {
			t.Errorf("version %d: %+v", version, all)
		}
		if version >= 10 && (all.Topics[0].TopicID == [16]byte{} || all.Topics[0].TopicID == all.Topics[1].TopicID) {
			t.Errorf("version %d: topics need uuids of their own", version)
		}
		for _, name := range []string{"orders", "typo"} {
			topic := kmsg.NewMetadataRequestTopic()
			topic.Topic = &name
			req.Topics = append(req.Topics, topic)
		}
		some := ask[*kmsg.MetadataResponse](r, req)
		if len(some.Topics) != 2 || *some.Topics[0].Topic != "orders" || some.Topics[1].ErrorCode != codeUnknownTopicOrPartition || len(some.Topics[1].Partitions) != 0 {
			t.Errorf("version %d: %+v", version, some)
		}
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	known, unknown := kmsg.NewMetadataRequestTopic(), kmsg.NewMetadataRequestTopic()
	known.TopicID, unknown.TopicID = topicID(p.Cluster(), "bills"), [16]byte{9}
	req.Topics = append(req.Topics, known, unknown)
	if got := ask[*kmsg.MetadataResponse](r, req).Topics; *got[0].Topic != "bills" || got[1].ErrorCode != codeUnknownTopicID {
		t.Errorf("%+v", got)
	}
	if _, ok := p.Topic("typo"); ok {
		t.Error("a topic was made by asking for it")
	}
	cluster := ask[*kmsg.DescribeClusterResponse](r, &kmsg.DescribeClusterRequest{Version: 1})
	if cluster.ClusterID != p.Cluster() || len(cluster.Brokers) != 1 {
		t.Errorf("%+v", cluster)
	}
}

func TestProducerIDs(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	r := p.dial(t)
	seen := map[int64]bool{}
	for version := int16(0); version <= 4; version++ {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version = version
		if got := ask[*kmsg.InitProducerIDResponse](r, req); got.ErrorCode != 0 || got.ProducerID < 0 || got.ProducerEpoch != 0 || seen[got.ProducerID] {
			t.Errorf("%+v", got)
		} else {
			seen[got.ProducerID] = true
		}
		req.TransactionalID = kmsg.StringPtr("tx")
		if got := ask[*kmsg.InitProducerIDResponse](r, req); got.ErrorCode != codeInvalidRequest || got.ProducerID != -1 {
			t.Errorf("%+v", got)
		}
	}
}
