package fsm

import (
	"errors"
	"maps"
	"slices"
)

// ErrUnknownPartition means that a partition was never opened, or is closed.
var ErrUnknownPartition = errors.New("no such topic or partition")

// Data is the state of one data group: its partitions, and how far each source has been fenced. Apply and Snapshot may not be called at once from two goroutines,
// nor beside a read.
type Data struct {
	time       int64 // ms; never goes back
	partitions map[uint32]*Partition
	epochs     map[SourceID]uint64
}

// NewData returns the state before the first entry.
func NewData() *Data {
	return &Data{partitions: map[uint32]*Partition{}, epochs: map[SourceID]uint64{}}
}

// Result is what became of one command.
type Result struct {
	Err     error
	Base    int64   // offset of the first record of a producer's batch
	Offsets []int64 // of a source's messages, by message
	Repeat  bool    // stored before: nothing was stored now
	Cursor  *CursorState
	Stored  Stored // what an append has stored now
}

// Stored says where a batch was put.
type Stored struct {
	Partition uint32
	Base      int64 // offset of its first record
	Count     int32 // records; 0 = nothing was stored
}

// CursorState is what a partition remembers of a source.
type CursorState struct {
	Epoch, Seq uint64
	Floor      int64 // -1 = none was told
	Highest    int64 // id; -1 = none
	Stored     []StoredID
}

// StoredID is a message of the window.
type StoredID struct {
	ID, Offset int64
	Sum        uint32
}

// Partition returns a partition, nil when it is not open.
func (d *Data) Partition(id uint32) *Partition { return d.partitions[id] }

// Partitions are the ids of the open ones, ascending.
func (d *Data) Partitions() []uint32 { return slices.Sorted(maps.Keys(d.partitions)) }

// Apply does what an entry of a term wishes, in order, and returns what became of each command. It never fails as a whole: a command that cannot be read, or is
// refused, changes nothing.
func (d *Data) Apply(term uint64, e Entry) []Result {
	d.time = max(d.time, e.Time)
	results := make([]Result, len(e.Commands))
	for i, c := range e.Commands {
		switch c.Type {
		case CommandOpen, CommandClose, CommandTrim:
			results[i].Err = d.life(c)
		case CommandAppend:
			results[i] = d.append(term, c.Body)
		case CommandFence:
			results[i].Err = d.fence(c.Body)
		case CommandState:
			results[i] = d.state(c.Body)
		default:
			results[i].Err = ErrEntry
		}
	}
	return results
}

// life opens, closes or trims a partition: partition u32, and of a trim start i64.
func (d *Data) life(c Command) error {
	if len(c.Body) < 4 || c.Type == CommandTrim && len(c.Body) < 12 {
		return ErrEntry
	}
	id := le.Uint32(c.Body)
	p := d.partitions[id]
	switch {
	case c.Type == CommandOpen:
		if p == nil {
			d.partitions[id] = newPartition()
		}
		return nil
	case p == nil:
		return ErrUnknownPartition
	case c.Type == CommandClose:
		delete(d.partitions, id)
	default:
		p.start = max(p.start, min(int64(le.Uint64(c.Body[4:])), p.next))
	}
	return nil
}

func (d *Data) append(term uint64, body []byte) Result {
	r, err := ParseAppend(body)
	if err != nil {
		return Result{Err: err}
	}
	b, err := parseBatchHeader(r.Batch)
	if err != nil {
		return Result{Err: err}
	}
	p := d.partitions[r.Partition]
	switch {
	case p == nil:
		return Result{Err: ErrUnknownPartition}
	case r.Source != nil:
		if err := d.admit(r.Source.ID, r.Source.Epoch); err != nil {
			return Result{Err: err}
		}
	}
	was := p.next
	var res Result
	if r.Source == nil {
		res = p.produce(term, b, d.time)
	} else {
		res = p.appendFrom(term, b, &r)
	}
	if p.next > was {
		res.Stored = Stored{Partition: r.Partition, Base: was, Count: int32(p.next - was)}
	}
	return res
}

// Time is the newest leader's time among the entries, in ms.
func (d *Data) Time() int64 { return d.time }

// admit takes an epoch of a source, or refuses it when a higher one was seen.
func (d *Data) admit(id SourceID, epoch uint64) error {
	if epoch < d.epochs[id] {
		return ErrFenced
	}
	d.epochs[id] = epoch
	return nil
}

// fence: source id, epoch u64.
func (d *Data) fence(body []byte) error {
	if len(body) != 24 {
		return ErrEntry
	}
	return d.admit(SourceID(body), le.Uint64(body[16:]))
}

// state: partition u32, source id, epoch u64. It takes the next number of the source, so that no request from before is applied any more.
func (d *Data) state(body []byte) Result {
	if len(body) != 28 {
		return Result{Err: ErrEntry}
	}
	p := d.partitions[le.Uint32(body)]
	if p == nil {
		return Result{Err: ErrUnknownPartition}
	}
	id, epoch := SourceID(body[4:]), le.Uint64(body[20:])
	if err := d.admit(id, epoch); err != nil {
		return Result{Err: err}
	}
	c := p.cursor(id)
	seq := uint64(1)
	if c.epoch == epoch {
		seq = c.seq + 1
	}
	if err := c.begin(epoch, seq); err != nil {
		return Result{Err: err}
	}
	return Result{Cursor: c.state()}
}
