package kafka

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker/group"
)

func (c *conn) describeGroups(ctx context.Context, req *kmsg.DescribeGroupsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	for _, id := range req.Groups {
		var d group.Described
		err := c.desk.call(ctx, func(time.Time) { d = c.desk.c.Describe(id) })
		x := kmsg.NewDescribeGroupsResponseGroup()
		if x.Group, x.ErrorCode = id, deskCode(err); err != nil {
			resp.Groups = append(resp.Groups, x)
			continue
		}
		x.State, x.ProtocolType, x.Protocol = d.State.String(), d.Kind, d.Protocol
		for _, m := range d.Members {
			y := kmsg.NewDescribeGroupsResponseGroupMember()
			y.MemberID, y.InstanceID, y.ClientID, y.ClientHost = m.Member, optional(m.Instance), m.ClientID, m.Host
			y.ProtocolMetadata, y.MemberAssignment = append([]byte{}, m.Metadata...), append([]byte{}, m.Assignment...)
			x.Members = append(x.Members, y)
		}
		resp.Groups = append(resp.Groups, x)
	}
	return resp
}

// listGroups lists all groups, or those in some states (version 4).
func (c *conn) listGroups(ctx context.Context, req *kmsg.ListGroupsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
	var list []group.Described
	err := c.desk.call(ctx, func(time.Time) { list = c.desk.c.List() })
	if resp.ErrorCode = deskCode(err); err != nil {
		return resp
	}
	for _, d := range list {
		state := d.State.String()
		if len(req.StatesFilter) > 0 && !slices.ContainsFunc(req.StatesFilter, func(s string) bool { return strings.EqualFold(s, state) }) {
			continue
		}
		x := kmsg.NewListGroupsResponseGroup()
		x.Group, x.ProtocolType, x.GroupState = d.Group, d.Kind, state
		resp.Groups = append(resp.Groups, x)
	}
	return resp
}

func (c *conn) deleteGroups(ctx context.Context, req *kmsg.DeleteGroupsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	for _, id := range req.Groups {
		var code group.Code
		err := c.desk.call(ctx, func(time.Time) { code = c.desk.c.Delete(id) })
		x := kmsg.NewDeleteGroupsResponseGroup()
		x.Group = id
		if x.ErrorCode = deskCode(err); err == nil {
			x.ErrorCode = int16(code)
		}
		resp.Groups = append(resp.Groups, x)
	}
	return resp
}
