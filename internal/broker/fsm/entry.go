package fsm

import (
	"encoding/binary"
	"errors"
)

// Command is one wish of an entry. Body is that of its type.
type Command struct {
	Type   CommandType
	Body   []byte
	Append *AppendRequest // instead of the body of a CommandAppend that is to be encoded: it goes straight into the entry
}

// Size is the length of the body.
func (c *Command) Size() int {
	if c.Append != nil {
		return c.Append.size()
	}
	return len(c.Body)
}

// CommandType says what a command does.
type CommandType uint8

// The commands of a data group.
const (
	CommandOpen   CommandType = 1 // a partition begins
	CommandClose  CommandType = 2 // a partition ends: later appends are refused
	CommandAppend CommandType = 3 // a record batch
	CommandFence  CommandType = 4 // an epoch of a source
	CommandState  CommandType = 5 // what a partition remembers of a source
	CommandTrim   CommandType = 6 // the oldest records are given up
)

const (
	entryVersion  = 1
	entryKindData = 1

	entryHeader   = 28
	commandHeader = 5
	appendHeader  = 6
	sourceHeader  = 44

	flagSource = 1 << 0
	flagReplay = 1 << 1
)

// Entry is what a leader proposes and every node applies.
type Entry struct {
	Time     int64  // ms, the leader's clock
	Proposer uint64 // node
	Proposal uint64 // counts the node's proposals
	Commands []Command
}

// ErrEntry means that an entry does not parse: it was not written by this program, or by a newer one.
var ErrEntry = errors.New("an entry of the log cannot be read by this version of the program")

var le = binary.LittleEndian

// Append encodes e behind dst:
//
//	 0 version u8 | 1 kind u8 | 2 commands u16 | 4 time, ms i64
//	12 proposer u64 | 20 proposal u64
//	28 commands: type u8, length u32, body
func (e *Entry) Append(dst []byte) []byte {
	dst = append(dst, entryVersion, entryKindData)
	dst = le.AppendUint16(dst, uint16(len(e.Commands)))
	dst = le.AppendUint64(dst, uint64(e.Time))
	dst = le.AppendUint64(dst, e.Proposer)
	dst = le.AppendUint64(dst, e.Proposal)
	for i := range e.Commands {
		c := &e.Commands[i]
		dst = append(dst, byte(c.Type))
		dst = le.AppendUint32(dst, uint32(c.Size()))
		if c.Append != nil {
			dst = c.Append.Append(dst)
		} else {
			dst = append(dst, c.Body...)
		}
	}
	return dst
}

// ParseEntry decodes an entry; the bodies of its commands lie in b.
func ParseEntry(b []byte) (e Entry, err error) {
	if len(b) < entryHeader || b[0] != entryVersion || b[1] != entryKindData {
		return e, ErrEntry
	}
	e = Entry{Time: int64(le.Uint64(b[4:])), Proposer: le.Uint64(b[12:]), Proposal: le.Uint64(b[20:]), Commands: make([]Command, 0, min(int(le.Uint16(b[2:])), len(b)/commandHeader))}
	n := int(le.Uint16(b[2:]))
	b = b[entryHeader:]
	for range n {
		if len(b) < commandHeader || uint64(le.Uint32(b[1:])) > uint64(len(b)-commandHeader) {
			return e, ErrEntry
		}
		end := commandHeader + int(le.Uint32(b[1:]))
		e.Commands = append(e.Commands, Command{Type: CommandType(b[0]), Body: b[commandHeader:end:end]})
		b = b[end:]
	}
	if len(b) > 0 {
		return e, ErrEntry
	}
	return e, nil
}

// ProposalOf is the proposal of an encoded entry; false when b is none.
func ProposalOf(b []byte) (proposer, proposal uint64, ok bool) {
	if len(b) < entryHeader || b[0] != entryVersion || b[1] != entryKindData {
		return 0, 0, false
	}
	return le.Uint64(b[12:]), le.Uint64(b[20:]), true
}

// AppendRequest is the body of [CommandAppend].
type AppendRequest struct {
	Partition uint32
	Source    *Source // nil = of a producer that is no source
	IDs       []int64 // with Source: of each record
	Sums      []uint32
	Replay    bool   // a person's wish to send again: the window is not asked
	Batch     []byte // Kafka record batch, version 2, base offset 0
}

// Append encodes r behind dst:
//
//	0 partition u32 | 4 flags u16: 1 source, 2 replay
//	6 with a source: id, 16 bytes | epoch u64 | seq u64 | floor i64 | count u32 | count ids i64 | count sums u32
//	  batch
func (r *AppendRequest) Append(dst []byte) []byte {
	dst = le.AppendUint32(dst, r.Partition)
	flags := uint16(0)
	if r.Source != nil {
		flags |= flagSource
	}
	if r.Replay {
		flags |= flagReplay
	}
	dst = le.AppendUint16(dst, flags)
	if r.Source != nil {
		dst = append(dst, r.Source.ID[:]...)
		dst = le.AppendUint64(dst, r.Source.Epoch)
		dst = le.AppendUint64(dst, r.Source.Seq)
		dst = le.AppendUint64(dst, uint64(r.Source.Floor))
		dst = le.AppendUint32(dst, uint32(len(r.IDs)))
		for _, id := range r.IDs {
			dst = le.AppendUint64(dst, uint64(id))
		}
		for _, sum := range r.Sums {
			dst = le.AppendUint32(dst, sum)
		}
	}
	return append(dst, r.Batch...)
}

// size is how many bytes Append adds.
func (r *AppendRequest) size() int {
	n := appendHeader + len(r.Batch)
	if r.Source != nil {
		n += sourceHeader + 12*len(r.IDs)
	}
	return n
}

// ParseAppend decodes r; Batch lies in b.
func ParseAppend(b []byte) (r AppendRequest, err error) {
	if len(b) < appendHeader {
		return r, ErrEntry
	}
	flags := le.Uint16(b[4:])
	r = AppendRequest{Partition: le.Uint32(b), Replay: flags&flagReplay != 0}
	b = b[appendHeader:]
	if flags&^(flagSource|flagReplay) != 0 {
		return r, ErrEntry
	}
	if flags&flagSource != 0 {
		if len(b) < sourceHeader {
			return r, ErrEntry
		}
		r.Source = &Source{ID: SourceID(b), Epoch: le.Uint64(b[16:]), Seq: le.Uint64(b[24:]), Floor: int64(le.Uint64(b[32:]))}
		n := int(le.Uint32(b[40:]))
		b = b[sourceHeader:]
		if n > len(b)/12 {
			return r, ErrEntry
		}
		r.IDs, r.Sums = make([]int64, n), make([]uint32, n)
		for i := range n {
			r.IDs[i], r.Sums[i] = int64(le.Uint64(b[8*i:])), le.Uint32(b[8*n+4*i:])
		}
		b = b[12*n:]
	}
	r.Batch = b
	return r, nil
}
