package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker/group"
)

func (c *conn) offsetCommit(ctx context.Context, req *kmsg.OffsetCommitRequest) (kmsg.Response, error) {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	things := len(req.Topics)
	for _, t := range req.Topics {
		things += len(t.Partitions)
	}
	if err := c.room(ctx, things, 0); err != nil {
		return nil, err
	}
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
	return resp, nil
}

// offsetFetch tells what groups have committed: one group until version 7, some from then on. No topics means all.
func (c *conn) offsetFetch(ctx context.Context, req *kmsg.OffsetFetchRequest) (kmsg.Response, error) {
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	groups := req.Groups
	if req.Version < 8 {
		one := kmsg.OffsetFetchRequestGroup{Group: req.Group}
		if req.Topics != nil {
			one.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, 0, len(req.Topics))
		}
		for _, t := range req.Topics {
			one.Topics = append(one.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: t.Topic, Partitions: t.Partitions})
		}
		groups = []kmsg.OffsetFetchRequestGroup{one}
	}
	groups = once(groups, func(g kmsg.OffsetFetchRequestGroup) string { return g.Group })
	things, text := trimGroups(groups)
	weight := int64(0)
	failed := c.desk.call(ctx, func(time.Time) {
		for _, g := range groups {
			weight += c.desk.c.Weight(g.Group)
		}
	})
	if err := c.room(ctx, things, text+2*weight); err != nil {
		return nil, err
	}
	committed := make([][]group.Commit, len(groups))
	if failed == nil {
		failed = c.desk.call(ctx, func(time.Time) {
			for i, g := range groups {
				committed[i] = c.desk.c.Offsets(g.Group)
			}
		})
	}
	for i, g := range groups {
		a := kmsg.NewOffsetFetchResponseGroup()
		if a.Group, a.ErrorCode = g.Group, deskCode(failed); failed == nil {
			a.Topics = committedOf(g.Topics, committed[i])
		}
		resp.Groups = append(resp.Groups, a)
	}
	if req.Version < 8 {
		resp.ErrorCode = resp.Groups[0].ErrorCode
		for _, t := range resp.Groups[0].Topics {
			x := kmsg.NewOffsetFetchResponseTopic()
			x.Topic = t.Topic
			for _, p := range t.Partitions {
				x.Partitions = append(x.Partitions, kmsg.OffsetFetchResponseTopicPartition(p))
			}
			resp.Topics = append(resp.Topics, x)
		}
	}
	return resp, nil
}

// trimGroups drops what is named again of a group, and counts the rest.
func trimGroups(groups []kmsg.OffsetFetchRequestGroup) (things int, text int64) {
	for i := range groups {
		g, seen := &groups[i], named{}
		things, text = things+1, text+int64(len(g.Group))
		kept := g.Topics[:0]
		for _, t := range g.Topics {
			var needless bool
			if t.Partitions, needless = rest(seen, t.Topic, t.Partitions, func(p int32) int32 { return p }); needless {
				continue
			}
			kept, things, text = append(kept, t), things+1+len(t.Partitions), text+int64(len(t.Topic))
		}
		g.Topics = kept
	}
	return things, text
}

// committedOf are the offsets of what is asked for among what is committed, -1 where nothing is; nil asks for all.
func committedOf(asked []kmsg.OffsetFetchRequestGroupTopic, committed []group.Commit) (list []kmsg.OffsetFetchResponseGroupTopic) {
	one := func(partition int32, o *group.Offset) kmsg.OffsetFetchResponseGroupTopicPartition {
		a := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		a.Partition, a.Offset, a.LeaderEpoch, a.Metadata = partition, -1, -1, &none
		if o != nil {
			a.Offset, a.LeaderEpoch, a.Metadata = o.At, o.Epoch, &o.Metadata
		}
		return a
	}
	if asked == nil {
		for i := range committed {
			o := &committed[i]
			if n := len(list); n == 0 || list[n-1].Topic != o.Topic {
				list = append(list, kmsg.NewOffsetFetchResponseGroupTopic())
				list[n].Topic = o.Topic
			}
			t := &list[len(list)-1]
			t.Partitions = append(t.Partitions, one(o.Partition.Partition, &o.Offset))
		}
		return list
	}
	known := make(map[group.Partition]*group.Offset, len(committed))
	for i := range committed {
		known[committed[i].Partition] = &committed[i].Offset
	}
	for _, t := range asked {
		x := kmsg.NewOffsetFetchResponseGroupTopic()
		x.Topic = t.Topic
		for _, p := range t.Partitions {
			x.Partitions = append(x.Partitions, one(p, known[group.Partition{Topic: t.Topic, Partition: p}]))
		}
		list = append(list, x)
	}
	return list
}

// none is the text beside an offset that has none.
var none = ""

// offsetDelete gives up what a group has committed.
func (c *conn) offsetDelete(ctx context.Context, req *kmsg.OffsetDeleteRequest) (kmsg.Response, error) {
	resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	var list []group.Partition
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			list = append(list, group.Partition{Topic: t.Topic, Partition: p.Partition})
		}
	}
	if err := c.room(ctx, len(req.Topics)+len(list), 0); err != nil {
		return nil, err
	}
	var codes []group.Code
	var all group.Code
	err := c.desk.call(ctx, func(time.Time) { codes, all = c.desk.c.DeleteOffsets(req.Group, list) })
	switch {
	case err != nil:
		resp.ErrorCode = deskCode(err)
		return resp, nil
	case all != group.None:
		resp.ErrorCode = int16(all)
		return resp, nil
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
	return resp, nil
}
