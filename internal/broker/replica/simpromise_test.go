package replica

import (
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// promise looks at what a message promises when it leaves: votes and confirmations rest on what a power cut now would leave.
func (w *world) promise(n *simNode, m Message) {
	if !*simPromises {
		return
	}
	msg, err := decodeMessage(m.Body)
	if err != nil {
		w.fail("node %d sends a message that cannot be read: %v", n.id, err)
	}
	switch kind := msg.GetType(); {
	case msg.GetReject():
	case kind == pb.MsgAppResp:
		if !n.confirmed(m.Group, msg.GetIndex(), msg.GetTerm()) {
			w.fail("group %d: node %d confirms entry %d, which is not synced", m.Group, n.id, msg.GetIndex())
		}
	case kind == pb.MsgVote || kind == pb.MsgVoteResp:
		if w.chance(votesChecked) {
			w.vote(n, m.Group, msg)
		}
	}
}

// votesChecked is the share of votes that are looked at: each costs an image of the disk.
const votesChecked = 0.3

// confirmed says whether an entry, confirmed in a term, is on the disk for good, or part of a state that is. A leader of a later term may have voided it before
// the answer left, as one that waits for a full disk leaves late: a majority had left the old term by then without this entry, so nobody can commit it.
func (n *simNode) confirmed(group uint16, index, in uint64) bool {
	first, next := n.log.Bounds(group)
	if index < first || index <= max(n.covered[group], n.host.groups[group].store.covered()) {
		return true
	}
	if index >= next {
		newest, err := n.log.Term(group, next-1)
		return err == nil && newest > in
	}
	term, err := n.log.Term(group, index)
	return err == nil && n.synced(group, appliedCommand{index: index, term: term})
}

// vote: a power cut now leaves the term and the vote, and of a candidate the log that it boasts of.
func (w *world) vote(n *simNode, group uint16, m *pb.Message) {
	r := NewRecovery()
	log, found, err := commitlog.OpenRead(commitlog.Config{FS: n.mem.Crash(vfs.Damage{}, w.rng), Dir: ".", SegmentBytes: simSegment}, r.Record)
	if err != nil || found.Damage != nil {
		w.fail("node %d: a power cut would leave %v, %v", n.id, err, found.Damage)
	}
	defer log.Close()
	f, vote := r.groups[group], m.GetTo()
	if m.GetType() == pb.MsgVote {
		vote = n.id
	}
	if f == nil {
		w.fail("group %d: node %d sends %v of term %d, and its disk has nothing", group, n.id, m.GetType(), m.GetTerm())
	}
	if f.hard.GetTerm() < m.GetTerm() || f.hard.GetTerm() == m.GetTerm() && f.hard.GetVote() != vote {
		w.fail("group %d: node %d sends %v of term %d for node %d, and its disk has term %d and a vote for %d", group, n.id, m.GetType(), m.GetTerm(), vote, f.hard.GetTerm(), f.hard.GetVote())
	}
	last, term := uint64(1), uint64(1)
	if f.state != nil {
		last, term = f.state.index, f.state.term
	}
	if first, next := log.Bounds(group); next > max(first, last+1) {
		last = next - 1
		if term, err = log.Term(group, last); err != nil {
			w.fail("group %d: node %d: %v", group, n.id, err)
		}
	}
	// The log may have become another since, but not an older one: a request that waited for a full disk comes behind the entries of who was elected meanwhile.
	if m.GetType() == pb.MsgVote && (term < m.GetLogTerm() || term == m.GetLogTerm() && last < m.GetIndex()) {
		w.fail("group %d: node %d asks for votes with entry %d of term %d, and its disk ends with %d of term %d", group, n.id, m.GetIndex(), m.GetLogTerm(), last, term)
	}
}
