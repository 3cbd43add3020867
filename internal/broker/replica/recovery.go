package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// ErrRecords means that the log holds something that this version of the program has not written.
var ErrRecords = errors.New("a record of the log cannot be read by this version of the program")

// Recovery gathers what the log tells of the groups. Give [Recovery.Record] to commitlog.Open.
type Recovery struct {
	groups map[uint16]*found
	parts  map[uint16]*part // of a checkpoint whose end was not seen yet
	bases  map[uint16]*part // of the same
	takes  map[uint16]*take // states of other nodes whose end was not seen yet
	number uint64           // of the newest checkpoint that began
	sum    uint32           // of its parts so far
	whole  bool             // the newest end fits its parts, or there was none
}

// found is what the log tells of one group.
type found struct {
	hard  *pb.HardState
	conf  *pb.ConfState
	state *part // of the newest complete checkpoint; nil = none
	base  *part // that belongs to it; nil = it has none
}

// part is the state of one group in a checkpoint.
type part struct {
	index, term uint64 // of the newest entry it covers
	state       []byte
}

// NewRecovery returns a recovery that has seen nothing.
func NewRecovery() *Recovery {
	return &Recovery{groups: map[uint16]*found{}, parts: map[uint16]*part{}, bases: map[uint16]*part{}, takes: map[uint16]*take{}, whole: true}
}

func (r *Recovery) group(id uint16) *found {
	g := r.groups[id]
	if g == nil {
		g = &found{}
		r.groups[id] = g
	}
	return g
}

// Record takes the next record of the log. It keeps no slice of it.
func (r *Recovery) Record(_ commitlog.Position, rec commitlog.Record) error {
	switch rec.Kind {
	case commitlog.KindEntry:
		return nil // the log finds it again
	case commitlog.KindHardState:
		return r.hardState(rec)
	case commitlog.KindMembership:
		conf, err := decodeConf(rec.Body)
		r.group(rec.Stream).conf = conf
		return err
	case commitlog.KindCheckpointPart:
		return r.part(rec)
	case commitlog.KindCheckpointEnd:
		return r.end(rec)
	case commitlog.KindFirstIndex:
		return r.taken(rec)
	}
	return fmt.Errorf("kind %d: %w", rec.Kind, ErrRecords)
}

// hardState takes the newer of two: by term, then by commit. A checkpoint repeats one that may be older than what a writer has put before it.
func (r *Recovery) hardState(rec commitlog.Record) error {
	if len(rec.Body) != 8 {
		return fmt.Errorf("a hard state of %d bytes: %w", len(rec.Body), ErrRecords)
	}
	g, vote := r.group(rec.Stream), le.Uint64(rec.Body)
	switch {
	case g.hard == nil || rec.Term > g.hard.GetTerm():
		g.hard = &pb.HardState{Term: &rec.Term, Vote: &vote, Commit: new(max(rec.Index, g.hard.GetCommit()))}
	case rec.Term == g.hard.GetTerm():
		g.hard.Commit = new(max(rec.Index, g.hard.GetCommit()))
		if vote != raft.None {
			g.hard.Vote = &vote
		}
	}
	return nil
}

// part: checkpoint number u64, then a piece of the state. Flag 1 begins a group.
func (r *Recovery) part(rec commitlog.Record) error {
	if len(rec.Body) < 8 {
		return fmt.Errorf("a part of a checkpoint of %d bytes: %w", len(rec.Body), ErrRecords)
	}
	if rec.Flags&partTaken != 0 {
		r.takePart(rec)
		return nil
	}
	if n := le.Uint64(rec.Body); n != r.number {
		r.number, r.sum, r.parts, r.bases = n, 0, map[uint16]*part{}, map[uint16]*part{}
	}
	r.sum = crc32.Update(r.sum, castagnoli, rec.Body)
	parts := r.parts
	if rec.Flags&partBase != 0 {
		parts = r.bases
	}
	p := parts[rec.Stream]
	if rec.Flags&partFirst != 0 || p == nil {
		p = &part{index: rec.Index, term: rec.Term}
		parts[rec.Stream] = p
	}
	p.state = append(p.state, rec.Body[8:]...)
	return nil
}

// end completes the checkpoint; of a group that has taken a newer state meanwhile it says nothing. One whose parts do not fit began before the place where reading did: a newer one must follow.
func (r *Recovery) end(rec commitlog.Record) error {
	if len(rec.Body) != 4 {
		return fmt.Errorf("the end of a checkpoint of %d bytes: %w", len(rec.Body), ErrRecords)
	}
	if r.whole = rec.Index == r.number && le.Uint32(rec.Body) == r.sum; r.whole {
		for id, p := range r.parts {
			if g := r.group(id); g.state == nil || g.state.index <= p.index {
				g.state, g.base = p, r.bases[id]
			}
		}
	}
	r.parts, r.bases = map[uint16]*part{}, map[uint16]*part{}
	return nil
}

// hardRecord and confRecord are what Record reads. commit is at most that of the state, and at most the last entry that stands before the record in the log.
func hardRecord(group uint16, h *pb.HardState, commit uint64) commitlog.Record {
	return commitlog.Record{Kind: commitlog.KindHardState, Stream: group, Index: commit, Term: h.GetTerm(), Body: le.AppendUint64(nil, h.GetVote())}
}

func confRecord(group uint16, c *pb.ConfState) commitlog.Record {
	return commitlog.Record{Kind: commitlog.KindMembership, Stream: group, Body: encodeConf(c)}
}

// encodeConf: four lists (voters, learners, voters going, learners coming), each a count u8 and ids u64; leave by itself u8.
func encodeConf(c *pb.ConfState) []byte {
	var b []byte
	for _, list := range [][]uint64{c.GetVoters(), c.GetLearners(), c.GetVotersOutgoing(), c.GetLearnersNext()} {
		b = append(b, byte(len(list)))
		for _, id := range list {
			b = le.AppendUint64(b, id)
		}
	}
	if c.GetAutoLeave() {
		return append(b, 1)
	}
	return append(b, 0)
}

func decodeConf(b []byte) (*pb.ConfState, error) {
	var lists [4][]uint64
	for i := range lists {
		if len(b) < 1 || len(b) < 1+8*int(b[0]) {
			return nil, fmt.Errorf("a membership: %w", ErrRecords)
		}
		n := int(b[0])
		b = b[1:]
		for range n {
			lists[i] = append(lists[i], le.Uint64(b))
			b = b[8:]
		}
	}
	if len(b) != 1 || b[0] > 1 {
		return nil, fmt.Errorf("a membership: %w", ErrRecords)
	}
	return &pb.ConfState{Voters: lists[0], Learners: lists[1], VotersOutgoing: lists[2], LearnersNext: lists[3], AutoLeave: new(b[0] == 1)}, nil
}
