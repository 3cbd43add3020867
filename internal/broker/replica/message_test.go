package replica

import (
	"bytes"
	"errors"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
)

func sampleMessages() []*pb.Message {
	conf := &pb.ConfState{Voters: []uint64{1, 2, 3}, AutoLeave: new(false)}
	return []*pb.Message{
		{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(9)), Commit: new(uint64(70)), Context: []byte("read")},
		{Type: pb.MsgAppResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(9)), Index: new(uint64(70)), Reject: new(true), RejectHint: new(uint64(60)), LogTerm: new(uint64(8))},
		{Type: pb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(3)), Term: new(uint64(9)), Index: new(uint64(70)), LogTerm: new(uint64(9)), Commit: new(uint64(71)), Entries: []*pb.Entry{
			{Type: pb.EntryNormal.Enum(), Term: new(uint64(9)), Index: new(uint64(71))},
			{Type: pb.EntryConfChangeV2.Enum(), Term: new(uint64(9)), Index: new(uint64(72)), Data: []byte("change")},
		}},
		{Type: pb.MsgSnap.Enum(), From: new(uint64(1)), To: new(uint64(3)), Term: new(uint64(9)),
			Snapshot: &pb.Snapshot{Data: []byte("state"), Metadata: &pb.SnapshotMetadata{ConfState: conf, Index: new(uint64(50)), Term: new(uint64(7))}}},
	}
}

// What a node sends arrives as it was, and no shorter piece of it is taken for a message.
func TestMessages(t *testing.T) {
	for _, m := range sampleMessages() {
		b := encodeMessage(m)
		got, err := decodeMessage(b)
		must(t, err)
		if again := encodeMessage(got); !bytes.Equal(b, again) {
			t.Errorf("%v became %v", m, got)
		}
		if got.GetTerm() != m.GetTerm() || got.GetIndex() != m.GetIndex() || got.GetReject() != m.GetReject() || len(got.GetEntries()) != len(m.GetEntries()) {
			t.Errorf("%v became %v", m, got)
		}
		end := len(b) - len(m.GetSnapshot().GetData())
		for n := range end {
			if _, err := decodeMessage(b[:n]); !errors.Is(err, ErrMessage) {
				t.Fatalf("%v cut to %d of %d bytes: %v", m.GetType(), n, len(b), err)
			}
		}
	}
}

// Only what nodes send each other is taken: a proposal or an answer of a disk that came by the net would be a lie.
func TestMessagesRefused(t *testing.T) {
	for _, kind := range []pb.MessageType{pb.MsgProp, pb.MsgHup, pb.MsgBeat, pb.MsgStorageAppendResp, pb.MsgStorageApplyResp, pb.MsgUnreachable, pb.MsgReadIndex, 99} {
		b := encodeMessage(&pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(1)), To: new(uint64(2))})
		b[1] = byte(kind)
		if _, err := decodeMessage(b); !errors.Is(err, ErrMessage) {
			t.Errorf("%v: %v", kind, err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range sampleMessages() {
		f.Add(encodeMessage(m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMessage(b)
		if err != nil {
			return
		}
		first := encodeMessage(m)
		again, err := decodeMessage(first)
		if err != nil || !bytes.Equal(encodeMessage(again), first) {
			t.Fatalf("%x: %v", b, err)
		}
	})
}
