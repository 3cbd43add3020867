package kafka

import (
	"context"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker/group"
)

func (c *conn) describeGroups(ctx context.Context, req *kmsg.DescribeGroupsRequest) (kmsg.Response, error) {
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	ids := once(req.Groups, itself)
	weight := int64(0)
	failed := c.desk.call(ctx, func(time.Time) {
		for _, id := range ids {
			weight += int64(len(id)) + c.desk.c.Weight(id)
		}
	})
	if err := c.room(ctx, len(ids), weight); err != nil {
		return nil, err
	}
	described := make([]group.Described, len(ids))
	if failed == nil {
		failed = c.desk.call(ctx, func(time.Time) {
			for i, id := range ids {
				described[i] = c.desk.c.Describe(id)
			}
		})
	}
	for i, d := range described {
		x := kmsg.NewDescribeGroupsResponseGroup()
		if x.Group, x.ErrorCode = ids[i], deskCode(failed); failed != nil {
			resp.Groups = append(resp.Groups, x)
			continue
		}
		x.State, x.ProtocolType, x.Protocol = d.State.String(), d.Kind, d.Protocol
		for _, m := range d.Members {
			y := kmsg.NewDescribeGroupsResponseGroupMember()
			y.MemberID, y.InstanceID, y.ClientID, y.ClientHost = m.Member, optional(m.Instance), m.ClientID, m.Host
			y.ProtocolMetadata, y.MemberAssignment = m.Metadata, m.Assignment
			x.Members = append(x.Members, y)
		}
		resp.Groups = append(resp.Groups, x)
	}
	return resp, nil
}

// listGroups lists all groups, or those in some states (version 4).
func (c *conn) listGroups(ctx context.Context, req *kmsg.ListGroupsRequest) (kmsg.Response, error) {
	resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
	count := 0
	failed := c.desk.call(ctx, func(time.Time) { count = c.desk.c.Count() })
	if err := c.room(ctx, count, 0); err != nil {
		return nil, err
	}
	var list []group.Described
	if failed == nil {
		failed = c.desk.call(ctx, func(time.Time) { list = c.desk.c.List() })
	}
	if resp.ErrorCode = deskCode(failed); failed != nil {
		return resp, nil
	}
	wanted := map[string]bool{}
	for _, state := range req.StatesFilter {
		wanted[strings.ToLower(state)] = true
	}
	for _, d := range list {
		state := d.State.String()
		if len(wanted) > 0 && !wanted[strings.ToLower(state)] {
			continue
		}
		x := kmsg.NewListGroupsResponseGroup()
		x.Group, x.ProtocolType, x.GroupState = d.Group, d.Kind, state
		resp.Groups = append(resp.Groups, x)
	}
	return resp, nil
}

func (c *conn) deleteGroups(ctx context.Context, req *kmsg.DeleteGroupsRequest) (kmsg.Response, error) {
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	ids := once(req.Groups, itself)
	if err := c.room(ctx, len(ids), 0); err != nil {
		return nil, err
	}
	codes := make([]group.Code, len(ids))
	failed := c.desk.call(ctx, func(time.Time) {
		for i, id := range ids {
			codes[i] = c.desk.c.Delete(id)
		}
	})
	for i, id := range ids {
		x := kmsg.NewDeleteGroupsResponseGroup()
		x.Group = id
		if x.ErrorCode = deskCode(failed); failed == nil {
			x.ErrorCode = int16(codes[i])
		}
		resp.Groups = append(resp.Groups, x)
	}
	return resp, nil
}
