package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker/group"
)

func (c *conn) offsetCommit(ctx context.Context, req *kmsg.OffsetCommitRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	q := group.CommitRequest{Identity: identity(req.Group, req.MemberID, req.InstanceID, req.Generation)}
	var lines []*kmsg.OffsetCommitResponseTopicPartition // of q.Offsets
	for _, t := range req.Topics {
		answer := kmsg.NewOffsetCommitResponseTopic()
		answer.Topic, answer.Partitions = t.Topic, make([]kmsg.OffsetCommitResponseTopicPartition, len(t.Partitions))
		known, ok := c.cfg.Log.Topic(t.Topic)
		for j, p := range t.Partitions {
			a := &answer.Partitions[j]
			*a = kmsg.NewOffsetCommitResponseTopicPartition()
			a.Partition = p.Partition
			if !ok || p.Partition < 0 || int(p.Partition) >= known.Partitions {
				a.ErrorCode = codeUnknownTopicOrPartition
			} else {
				x := group.Commit{Partition: group.Partition{Topic: t.Topic, Partition: p.Partition}, Offset: group.Offset{At: p.Offset, Epoch: p.LeaderEpoch}}
				if p.Metadata != nil {
					x.Metadata = *p.Metadata
				}
				q.Offsets, lines = append(q.Offsets, x), append(lines, a)
			}
		}
		resp.Topics = append(resp.Topics, answer)
	}
	var codes []group.Code
	err := c.desk.call(ctx, func(now time.Time) { codes = c.desk.c.Commit(now, q) })
	for i, a := range lines {
		if a.ErrorCode = deskCode(err); err == nil {
			a.ErrorCode = int16(codes[i])
		}
	}
	return resp
}

// offsetFetch tells what groups have committed: one group until version 7, some from then on. No topics means all.
func (c *conn) offsetFetch(ctx context.Context, req *kmsg.OffsetFetchRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	if req.Version < 8 {
		var asked []kmsg.OffsetFetchRequestGroupTopic
		for _, t := range req.Topics {
			asked = append(asked, kmsg.OffsetFetchRequestGroupTopic{Topic: t.Topic, Partitions: t.Partitions})
		}
		g := c.committed(ctx, req.Group, asked, req.Topics == nil)
		resp.ErrorCode = g.ErrorCode
		for _, t := range g.Topics {
			x := kmsg.NewOffsetFetchResponseTopic()
			x.Topic = t.Topic
			for _, p := range t.Partitions {
				x.Partitions = append(x.Partitions, kmsg.OffsetFetchResponseTopicPartition(p))
			}
			resp.Topics = append(resp.Topics, x)
		}
		return resp
	}
	for _, g := range req.Groups {
		resp.Groups = append(resp.Groups, c.committed(ctx, g.Group, g.Topics, g.Topics == nil))
	}
	return resp
}

func (c *conn) committed(ctx context.Context, id string, asked []kmsg.OffsetFetchRequestGroupTopic, all bool) kmsg.OffsetFetchResponseGroup {
	g := kmsg.NewOffsetFetchResponseGroup()
	g.Group = id
	var list []group.Commit
	if err := c.desk.call(ctx, func(time.Time) { list = c.desk.c.Offsets(id) }); err != nil {
		g.ErrorCode = deskCode(err)
		return g
	}
	known := map[group.Partition]group.Offset{}
	for _, o := range list {
		known[o.Partition] = o.Offset
		if !all {
			continue
		}
		if n := len(asked); n == 0 || asked[n-1].Topic != o.Topic {
			asked = append(asked, kmsg.OffsetFetchRequestGroupTopic{Topic: o.Topic})
		}
		t := &asked[len(asked)-1]
		t.Partitions = append(t.Partitions, o.Partition.Partition)
	}
	for _, t := range asked {
		x := kmsg.NewOffsetFetchResponseGroupTopic()
		x.Topic = t.Topic
		for _, p := range t.Partitions {
			a := kmsg.NewOffsetFetchResponseGroupTopicPartition()
			a.Partition, a.Offset, a.LeaderEpoch, a.Metadata = p, -1, -1, ptr("")
			if o, ok := known[group.Partition{Topic: t.Topic, Partition: p}]; ok {
				a.Offset, a.LeaderEpoch, a.Metadata = o.At, o.Epoch, &o.Metadata
			}
			x.Partitions = append(x.Partitions, a)
		}
		g.Topics = append(g.Topics, x)
	}
	return g
}

// offsetDelete gives up what a group has committed.
func (c *conn) offsetDelete(ctx context.Context, req *kmsg.OffsetDeleteRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	var list []group.Partition
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			list = append(list, group.Partition{Topic: t.Topic, Partition: p.Partition})
		}
	}
	var codes []group.Code
	var all group.Code
	err := c.desk.call(ctx, func(time.Time) { codes, all = c.desk.c.DeleteOffsets(req.Group, list) })
	switch {
	case err != nil:
		resp.ErrorCode = deskCode(err)
		return resp
	case all != group.None:
		resp.ErrorCode = int16(all)
		return resp
	}
	for _, t := range req.Topics {
		x := kmsg.NewOffsetDeleteResponseTopic()
		x.Topic = t.Topic
		for _, p := range t.Partitions {
			a := kmsg.NewOffsetDeleteResponseTopicPartition()
			a.Partition, a.ErrorCode = p.Partition, int16(codes[0])
			codes = codes[1:]
			x.Partitions = append(x.Partitions, a)
		}
		resp.Topics = append(resp.Topics, x)
	}
	return resp
}
