package fsm

import (
	"errors"
	"maps"
	"time"
)

var (
	// ErrOutOfOrder means that batches between this one and the last of its producer are missing.
	ErrOutOfOrder = errors.New("a batch of this producer is missing before this one")
	// ErrOldEpoch means that a newer instance of the producer has taken its id over.
	ErrOldEpoch = errors.New("a newer instance of this producer has taken over")
)

const (
	producerMemory = 5              // batches of a producer that are known again: as many as Kafka's clients keep in flight
	producerLife   = 24 * time.Hour // a producer that wrote nothing for so long is forgotten
)

// ProducerBatch is what an idempotent Kafka producer says of a batch.
type ProducerBatch struct {
	ID    int64
	Epoch int16
	First int32 // sequence number of its first record; they wrap from 2³¹-1 to 0
	Count int32 // records, at least 1
}

// last is the sequence number of its last record.
func (b *ProducerBatch) last() int32 { return addSequence(b.First, b.Count-1) }

// addSequence counts on within the 31 bits of a sequence number.
func addSequence(s, n int32) int32 { return int32((int64(s) + int64(n)) & 0x7fffffff) }

// producers are the idempotent producers of one partition, by id.
type producers map[int64]*producer

type producer struct {
	epoch int16
	wrote int64        // ms, time of its last entry
	known []knownBatch // the last producerMemory, in order
}

type knownBatch struct {
	first, last int32
	base        int64
}

// silent says that p wrote nothing for so long that it is taken for unknown.
func (p *producer) silent(now int64) bool { return now-p.wrote >= producerLife.Milliseconds() }

// check decides about a batch at time now, in ms: new, or a repeat of one that lies at base. A producer that is not known may begin with any number, as since
// Kafka 2.5; a new epoch begins with 0.
func (p producers) check(b ProducerBatch, now int64) (base int64, repeat bool, err error) {
	known := p[b.ID]
	if known == nil || known.silent(now) {
		return 0, false, nil
	}
	switch {
	case b.Epoch < known.epoch:
		return 0, false, ErrOldEpoch
	case b.Epoch > known.epoch:
		if b.First != 0 {
			return 0, false, ErrOutOfOrder
		}
		return 0, false, nil
	}
	for _, k := range known.known {
		if k.first == b.First && k.last == b.last() {
			return k.base, true, nil
		}
	}
	if b.First != addSequence(known.known[len(known.known)-1].last, 1) {
		return 0, false, ErrOutOfOrder
	}
	return 0, false, nil
}

// add takes note of a batch that check let pass, stored at base.
func (p producers) add(b ProducerBatch, base, now int64) {
	known := p[b.ID]
	if known == nil || known.epoch != b.Epoch || known.silent(now) {
		known = &producer{epoch: b.Epoch}
		p[b.ID] = known
	}
	known.wrote = now
	if len(known.known) == producerMemory {
		known.known = append(known.known[:0], known.known[1:]...)
	}
	known.known = append(known.known, knownBatch{b.First, b.last(), base})
}

// forget drops the silent ones. Neither check nor add tells them from unknown ones, now or later: the time of a group never goes back.
func (p producers) forget(now int64) {
	maps.DeleteFunc(p, func(_ int64, known *producer) bool { return known.silent(now) })
}
