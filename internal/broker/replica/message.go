package replica

import (
	"errors"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"
)

// Message is one of raft's messages for another node. The net may lose it, deliver it late, twice, or before an earlier one: raft copes. It must not change it.
type Message struct {
	Group    uint16
	From, To uint64
	Lane     Lane
	Body     []byte // what [Host.Deliver] of the other node reads; nobody else keeps it
}

// Lane says what a message should not wait behind.
type Lane uint8

// The lanes, each of which may have a queue of its own.
const (
	LaneControl Lane = iota // votes, heartbeats, answers: a late one costs an election
	LaneAppend              // entries
	LaneBulk                // states for a node that is far behind
)

// ErrMessage means that a message of another node cannot be read, or is none that a node sends to this one.
var ErrMessage = errors.New("a message of another node cannot be read")

const (
	messageVersion = 1
	messageHeader  = 64
	messageEntry   = 24
	snapshotHeader = 20

	messageReject   = 1 << 0
	messageSnapshot = 1 << 1
)

// lanes are the types that nodes send each other; everything else is between a node and itself.
var lanes = map[pb.MessageType]Lane{
	pb.MsgApp: LaneAppend, pb.MsgSnap: LaneBulk,
	pb.MsgAppResp: LaneControl, pb.MsgHeartbeat: LaneControl, pb.MsgHeartbeatResp: LaneControl, pb.MsgVote: LaneControl, pb.MsgVoteResp: LaneControl,
	pb.MsgPreVote: LaneControl, pb.MsgPreVoteResp: LaneControl, pb.MsgTimeoutNow: LaneControl,
}

// encodeMessage copies everything: the body holds nothing of raft's.
//
//	 0 version u8 = 1 | 1 type u8 | 2 flags u8: 1 reject, 2 snapshot | 3 length of the context u8 | 4 entries u32
//	 8 from u64 | 16 to u64 | 24 term u64 | 32 log term u64 | 40 index u64 | 48 commit u64 | 56 hint of a reject u64
//	64 context
//	   entries: type u8, 3 zeros, length u32, term u64, index u64, data
//	   with a snapshot: index u64, term u64, length of the membership u32, membership, state
func encodeMessage(m *pb.Message) []byte {
	size := messageHeader + len(m.GetContext())
	for _, e := range m.GetEntries() {
		size += messageEntry + len(e.GetData())
	}
	conf := []byte(nil)
	if s := m.GetSnapshot(); s != nil {
		conf = encodeConf(s.GetMetadata().GetConfState())
		size += snapshotHeader + len(conf) + len(s.GetData())
	}
	b := make([]byte, 0, size)
	flags := byte(0)
	if m.GetReject() {
		flags |= messageReject
	}
	if m.GetSnapshot() != nil {
		flags |= messageSnapshot
	}
	b = append(b, messageVersion, byte(m.GetType()), flags, byte(len(m.GetContext())))
	b = le.AppendUint32(b, uint32(len(m.GetEntries())))
	for _, n := range []uint64{m.GetFrom(), m.GetTo(), m.GetTerm(), m.GetLogTerm(), m.GetIndex(), m.GetCommit(), m.GetRejectHint()} {
		b = le.AppendUint64(b, n)
	}
	b = append(b, m.GetContext()...)
	for _, e := range m.GetEntries() {
		b = append(b, byte(e.GetType()), 0, 0, 0)
		b = le.AppendUint32(b, uint32(len(e.GetData())))
		b = le.AppendUint64(b, e.GetTerm())
		b = le.AppendUint64(b, e.GetIndex())
		b = append(b, e.GetData()...)
	}
	if s := m.GetSnapshot(); s != nil {
		b = le.AppendUint64(b, s.GetMetadata().GetIndex())
		b = le.AppendUint64(b, s.GetMetadata().GetTerm())
		b = le.AppendUint32(b, uint32(len(conf)))
		b = append(append(b, conf...), s.GetData()...)
	}
	return b
}

// decodeMessage reads what encodeMessage wrote; the data of the entries lie in b.
func decodeMessage(b []byte) (*pb.Message, error) {
	if len(b) < messageHeader || b[0] != messageVersion || b[2]&^(messageReject|messageSnapshot) != 0 {
		return nil, ErrMessage
	}
	kind, flags, context, count := pb.MessageType(b[1]), b[2], int(b[3]), int(le.Uint32(b[4:]))
	if _, known := lanes[kind]; !known {
		return nil, fmt.Errorf("type %d: %w", b[1], ErrMessage)
	}
	m := &pb.Message{Type: kind.Enum(), From: u64(b, 8), To: u64(b, 16), Term: u64(b, 24), LogTerm: u64(b, 32), Index: u64(b, 40), Commit: u64(b, 48),
		RejectHint: u64(b, 56), Reject: new(flags&messageReject != 0)}
	b = b[messageHeader:]
	if len(b) < context || count > (len(b)-context)/messageEntry {
		return nil, ErrMessage
	}
	if context > 0 {
		m.Context = b[:context:context]
	}
	b = b[context:]
	for range count {
		if len(b) < messageEntry || b[0] > byte(pb.EntryConfChangeV2) || uint64(le.Uint32(b[4:])) > uint64(len(b)-messageEntry) {
			return nil, ErrMessage
		}
		end := messageEntry + int(le.Uint32(b[4:]))
		e := &pb.Entry{Type: pb.EntryType(b[0]).Enum(), Term: u64(b, 8), Index: u64(b, 16)}
		if end > messageEntry {
			e.Data = b[messageEntry:end:end]
		}
		m.Entries = append(m.Entries, e)
		b = b[end:]
	}
	if flags&messageSnapshot != 0 {
		s, err := decodeSnapshot(b)
		m.Snapshot = s
		return m, err
	}
	if len(b) > 0 {
		return nil, ErrMessage
	}
	return m, nil
}

func u64(b []byte, at int) *uint64 { return new(le.Uint64(b[at:])) }

func decodeSnapshot(b []byte) (*pb.Snapshot, error) {
	if len(b) < snapshotHeader || uint64(le.Uint32(b[16:])) > uint64(len(b)-snapshotHeader) {
		return nil, ErrMessage
	}
	end := snapshotHeader + int(le.Uint32(b[16:]))
	conf, err := decodeConf(b[snapshotHeader:end])
	if err != nil {
		return nil, ErrMessage
	}
	return &pb.Snapshot{Data: b[end:], Metadata: &pb.SnapshotMetadata{ConfState: conf, Index: u64(b, 0), Term: u64(b, 8)}}, nil
}
