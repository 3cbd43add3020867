package kafka

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker/group"
)

// Codes of the coordinator's host; those of the coordinator itself are package group's.
const (
	codeLoading        int16 = 14 // COORDINATOR_LOAD_IN_PROGRESS
	codeNotCoordinator int16 = 16 // NOT_COORDINATOR: ask again who is
)

// deskCode is the code of an error of the desk.
func deskCode(err error) int16 {
	switch {
	case err == nil:
		return codeNone
	case errors.Is(err, errLoading):
		return codeLoading
	}
	return codeNotCoordinator
}

// findCoordinator: this node is that of all groups.
func (c *conn) findCoordinator(ctx context.Context, req *kmsg.FindCoordinatorRequest) (kmsg.Response, error) {
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	req.CoordinatorKeys = once(req.CoordinatorKeys, itself)
	if err := c.room(ctx, len(req.CoordinatorKeys), 0); err != nil {
		return nil, err
	}
	code, node, host, port := codeNone, int32(nodeID), c.host, c.port
	if req.CoordinatorType != 0 { // transactions; the answer is final
		code, node, host, port = codeInvalidRequest, -1, "", -1
	}
	resp.ErrorCode, resp.NodeID, resp.Host, resp.Port = code, node, host, port
	for _, key := range req.CoordinatorKeys {
		x := kmsg.NewFindCoordinatorResponseCoordinator()
		x.Key, x.ErrorCode, x.NodeID, x.Host, x.Port = key, code, node, host, port
		resp.Coordinators = append(resp.Coordinators, x)
	}
	return resp, nil
}

func identity(id, member string, instance *string, generation int32) group.Identity {
	x := group.Identity{Group: id, Member: member, Generation: generation}
	if instance != nil {
		x.Instance = *instance
	}
	return x
}

// optional is a text that may be missing.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func milliseconds(n int32) time.Duration { return time.Duration(n) * time.Millisecond }

func (c *conn) joinGroup(ctx context.Context, req *kmsg.JoinGroupRequest) (kmsg.Response, error) {
	q := group.JoinRequest{Identity: identity(req.Group, req.MemberID, req.InstanceID, -1), ClientID: c.client, Host: c.remote(), Kind: req.ProtocolType,
		Session: milliseconds(req.SessionTimeoutMillis), Rejoin: milliseconds(req.RebalanceTimeoutMillis), NeedsID: req.Version >= 4, MaySkip: req.Version >= 9}
	q.NewID = c.client + "-" + rand.Text()
	if q.Instance != "" {
		q.NewID = q.Instance + "-" + rand.Text()
	}
	for _, p := range req.Protocols {
		q.Protocols = append(q.Protocols, group.Protocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)})
	}
	req.Protocols = nil
	c.forget()
	a, err := c.desk.answer(ctx, func(now time.Time, t group.Token) { c.desk.c.Join(now, t, q) })
	resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
	if err != nil {
		resp.ErrorCode, resp.Generation, resp.MemberID, resp.Protocol = deskCode(err), -1, req.MemberID, ptr("")
		return resp, nil
	}
	j, text := a.Join, int64(0)
	for _, m := range j.Members {
		text += int64(len(m.Metadata) + len(m.Member) + len(m.Instance))
	}
	if err := c.room(ctx, len(j.Members), text); err != nil {
		return nil, err
	}
	resp.ErrorCode, resp.Generation, resp.LeaderID, resp.MemberID, resp.SkipAssignment = int16(j.Code), j.Generation, j.Leader, j.Member, j.Skip
	resp.ProtocolType, resp.Protocol = &j.Kind, &j.Protocol
	for _, m := range j.Members {
		x := kmsg.NewJoinGroupResponseMember()
		x.MemberID, x.InstanceID, x.ProtocolMetadata = m.Member, optional(m.Instance), m.Metadata
		resp.Members = append(resp.Members, x)
	}
	return resp, nil
}

func (c *conn) syncGroup(ctx context.Context, req *kmsg.SyncGroupRequest) (kmsg.Response, error) {
	q := group.SyncRequest{Identity: identity(req.Group, req.MemberID, req.InstanceID, req.Generation), Assignments: map[string][]byte{}}
	if req.ProtocolType != nil {
		q.Kind = *req.ProtocolType
	}
	if req.Protocol != nil {
		q.Protocol = *req.Protocol
	}
	for _, m := range req.GroupAssignment {
		q.Assignments[m.MemberID] = bytes.Clone(m.MemberAssignment)
	}
	req.GroupAssignment = nil
	c.forget()
	a, err := c.desk.answer(ctx, func(now time.Time, t group.Token) { c.desk.c.Sync(now, t, q) })
	resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
	if err != nil {
		resp.ErrorCode, resp.MemberAssignment = deskCode(err), []byte{}
		return resp, nil
	}
	s := a.Sync
	resp.ErrorCode, resp.ProtocolType, resp.Protocol, resp.MemberAssignment = int16(s.Code), &s.Kind, &s.Protocol, s.Assignment
	return resp, c.room(ctx, 1, int64(len(s.Assignment)))
}

func (c *conn) heartbeat(ctx context.Context, req *kmsg.HeartbeatRequest) kmsg.Response {
	var code group.Code
	err := c.desk.call(ctx, func(now time.Time) {
		code = c.desk.c.Heartbeat(now, identity(req.Group, req.MemberID, req.InstanceID, req.Generation))
	})
	resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
	if resp.ErrorCode = deskCode(err); err == nil {
		resp.ErrorCode = int16(code)
	}
	return resp
}

func (c *conn) leaveGroup(ctx context.Context, req *kmsg.LeaveGroupRequest) (kmsg.Response, error) {
	q := group.LeaveRequest{Group: req.Group}
	for _, m := range req.Members {
		q.Members = append(q.Members, group.Leaver{Member: m.MemberID, Instance: identity("", "", m.InstanceID, 0).Instance})
	}
	if req.Version < 3 {
		q.Members = []group.Leaver{{Member: req.MemberID}}
	}
	if err := c.room(ctx, len(req.Members), 0); err != nil {
		return nil, err
	}
	var codes []group.Code
	var all group.Code
	err := c.desk.call(ctx, func(now time.Time) { codes, all = c.desk.c.Leave(now, q) })
	resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
	if err != nil {
		resp.ErrorCode = deskCode(err)
		return resp, nil
	}
	resp.ErrorCode = int16(all)
	if req.Version < 3 && all == group.None {
		resp.ErrorCode = int16(codes[0])
		return resp, nil
	}
	for i, code := range codes {
		x := kmsg.NewLeaveGroupResponseMember()
		x.MemberID, x.InstanceID, x.ErrorCode = req.Members[i].MemberID, req.Members[i].InstanceID, int16(code)
		resp.Members = append(resp.Members, x)
	}
	return resp, nil
}
