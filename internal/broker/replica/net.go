package replica

import (
	"fmt"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"
)

// send hands a message of a group to the net.
func (h *Host) send(group uint16, m *pb.Message) {
	if h.cfg.Send == nil {
		return
	}
	h.cfg.Send(Message{Group: group, From: m.GetFrom(), To: m.GetTo(), Lane: lanes[m.GetType()], Body: encodeMessage(m)})
}

// Deliver takes a message that another node has sent, and keeps its body. [ErrMessage]: it is of no node that this one knows, or cannot be read; the connection
// that it came by is not to be trusted. It never blocks.
func (h *Host) Deliver(msg Message) error {
	m, err := decodeMessage(msg.Body)
	if err != nil {
		return err
	}
	if int(msg.Group) >= len(h.groups) || m.GetTo() != h.cfg.ID || m.GetFrom() == h.cfg.ID {
		return fmt.Errorf("group %d, from node %d to node %d: %w", msg.Group, m.GetFrom(), m.GetTo(), ErrMessage)
	}
	g := h.groups[msg.Group]
	if !slices.Contains(g.store.conf().GetVoters(), m.GetFrom()) {
		return fmt.Errorf("node %d is no voter of group %d: %w", m.GetFrom(), msg.Group, ErrMessage)
	}
	g.steps.put(m)
	return nil
}

// Transfer asks the leader of a group, which must be one of this host's, to hand the leadership to another node, which it does when that one has everything: within an election timeout, or not at
// all. Elsewhere it does nothing. It never blocks.
func (h *Host) Transfer(group uint16, node uint64) {
	h.groups[group].steps.put(&pb.Message{Type: pb.MsgTransferLeader.Enum(), From: new(node)})
}

// Dropped tells that a message was not sent, or that its connection ended while it was on its way. raft would wait for the answer to entries, and for ever for
// that to a state; what else was dropped it sends again by itself.
func (h *Host) Dropped(m Message) {
	kind := pb.MsgUnreachable
	switch m.Lane {
	case LaneControl:
		return
	case LaneBulk:
		kind = pb.MsgSnapStatus
	}
	h.groups[m.Group].steps.put(&pb.Message{Type: kind.Enum(), From: new(m.To)})
}
