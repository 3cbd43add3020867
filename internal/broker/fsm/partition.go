package fsm

import "errors"

// leaderEpochs is how many changes of the leader a partition remembers.
const leaderEpochs = 64

// Partition is a row of records with offsets, which are given here: at apply, never before.
type Partition struct {
	start, next int64 // offsets of the oldest record that is kept and behind the newest
	producers   producers
	cursors     map[SourceID]*Cursor
	epochs      []epochStart
}

// epochStart says that records from offset on were appended under a term.
type epochStart struct {
	term   uint64
	offset int64
}

func newPartition() *Partition {
	return &Partition{producers: producers{}, cursors: map[SourceID]*Cursor{}}
}

// Start is the offset of the oldest record that is kept, HighWatermark the one behind the newest.
func (p *Partition) Start() int64 { return p.start }

// HighWatermark is the next offset: what is applied is committed, so a consumer may read everything below it.
func (p *Partition) HighWatermark() int64 { return p.next }

func (p *Partition) cursor(id SourceID) *Cursor {
	c := p.cursors[id]
	if c == nil {
		c = newCursor()
		p.cursors[id] = c
	}
	return c
}

// take gives offsets to count records appended under a term.
func (p *Partition) take(term uint64, count int32) (base int64) {
	if n := len(p.epochs); n == 0 || p.epochs[n-1].term != term {
		if n == leaderEpochs {
			p.epochs = append(p.epochs[:0], p.epochs[1:]...)
		}
		p.epochs = append(p.epochs, epochStart{term, p.next})
	}
	base = p.next
	p.next += int64(count)
	return base
}

// produce appends the batch of a producer that is no source, at time now.
func (p *Partition) produce(term uint64, b Batch, now int64) Result {
	if b.Producer.ID < 0 {
		return Result{Base: p.take(term, b.Count)}
	}
	base, repeat, err := p.producers.check(b.Producer, now)
	if err != nil || repeat {
		return Result{Base: base, Repeat: repeat, Err: err}
	}
	base = p.take(term, b.Count)
	p.producers.add(b.Producer, base, now)
	return Result{Base: base}
}

// appendFrom appends the batch of a source whose epoch is admitted.
func (p *Partition) appendFrom(term uint64, b Batch, r *AppendRequest) Result {
	if len(r.IDs) != int(b.Count) {
		return Result{Err: ErrIDs}
	}
	c := p.cursors[r.Source.ID]
	if c == nil {
		c = newCursor() // kept when something is stored: what an empty window refuses, it refuses again
	}
	if err := c.begin(r.Source.Epoch, r.Source.Seq); err != nil {
		return Result{Err: err}
	}
	var offsets []int64
	var err error
	if !r.Replay {
		offsets, err = c.check(r.IDs, r.Sums)
		switch {
		case errors.Is(err, ErrWindowFull) && c.floor < r.Source.Floor: // it waits for just that: what is settled may be forgotten
			c.raise(r.Source.Floor, p.next)
			offsets, err = c.check(r.IDs, r.Sums)
		case errors.As(err, new(*PartialError)):
			c.raise(r.Source.Floor, p.next)
		}
		if err != nil {
			return Result{Err: err}
		}
	}
	p.cursors[r.Source.ID] = c
	repeat := offsets != nil
	if !repeat {
		base := p.take(term, b.Count)
		offsets = make([]int64, b.Count)
		for i := range offsets {
			offsets[i] = base + int64(i)
		}
		if !r.Replay {
			c.add(base, r.IDs, r.Sums)
		}
	}
	c.raise(r.Source.Floor, p.next)
	return Result{Offsets: offsets, Repeat: repeat}
}
