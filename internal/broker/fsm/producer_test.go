package fsm

import (
	"errors"
	"math"
	"testing"
)

func TestProducers(t *testing.T) {
	const day = 24 * 60 * 60 * 1000
	for _, c := range []struct {
		name   string
		before []ProducerBatch // stored at 100, 200, … at time 0
		batch  ProducerBatch
		now    int64
		base   int64 // of the repeat; 0 = new
		err    error
	}{
		{"unknown producer, any number", nil, ProducerBatch{1, 0, 77, 3}, 0, 0, nil},
		{"next", []ProducerBatch{{1, 0, 0, 3}}, ProducerBatch{1, 0, 3, 1}, 0, 0, nil},
		{"repeat of the last", []ProducerBatch{{1, 0, 0, 3}}, ProducerBatch{1, 0, 0, 3}, 0, 100, nil},
		{"repeat of the fifth last", []ProducerBatch{{1, 0, 0, 1}, {1, 0, 1, 1}, {1, 0, 2, 1}, {1, 0, 3, 1}, {1, 0, 4, 1}}, ProducerBatch{1, 0, 0, 1}, 0, 100, nil},
		{"older than that", []ProducerBatch{{1, 0, 0, 1}, {1, 0, 1, 1}, {1, 0, 2, 1}, {1, 0, 3, 1}, {1, 0, 4, 1}, {1, 0, 5, 1}}, ProducerBatch{1, 0, 0, 1}, 0, 0, ErrOutOfOrder},
		{"gap", []ProducerBatch{{1, 0, 0, 3}}, ProducerBatch{1, 0, 4, 1}, 0, 0, ErrOutOfOrder},
		{"half of a repeat", []ProducerBatch{{1, 0, 0, 3}}, ProducerBatch{1, 0, 0, 2}, 0, 0, ErrOutOfOrder},
		{"old epoch", []ProducerBatch{{1, 2, 0, 3}}, ProducerBatch{1, 1, 3, 1}, 0, 0, ErrOldEpoch},
		{"new epoch", []ProducerBatch{{1, 2, 0, 3}}, ProducerBatch{1, 3, 0, 1}, 0, 0, nil},
		{"new epoch with a gap", []ProducerBatch{{1, 2, 0, 3}}, ProducerBatch{1, 3, 3, 1}, 0, 0, ErrOutOfOrder},
		{"another producer", []ProducerBatch{{1, 0, 0, 3}}, ProducerBatch{2, 0, 9, 1}, 0, 0, nil},
		{"wraps behind the last number", []ProducerBatch{{1, 0, math.MaxInt32 - 2, 3}}, ProducerBatch{1, 0, 0, 1}, 0, 0, nil},
		{"wraps inside a batch", []ProducerBatch{{1, 0, math.MaxInt32, 3}}, ProducerBatch{1, 0, 2, 1}, 0, 0, nil},
		{"repeat of a batch that wraps", []ProducerBatch{{1, 0, math.MaxInt32, 3}}, ProducerBatch{1, 0, math.MaxInt32, 3}, 0, 100, nil},
		{"gap, a moment before it is forgotten", []ProducerBatch{{1, 0, 0, 3}}, ProducerBatch{1, 0, 9, 1}, day - 1, 0, ErrOutOfOrder},
		{"forgotten after a day", []ProducerBatch{{1, 0, 0, 3}}, ProducerBatch{1, 0, 9, 1}, day, 0, nil},
	} {
		p := producers{}
		for i, b := range c.before {
			p.add(b, int64(i+1)*100, 0)
		}
		base, repeat, err := p.check(c.batch, c.now)
		if base != c.base || repeat != (c.base != 0) || !errors.Is(err, c.err) {
			t.Errorf("%s: base %d, repeat %v, %v", c.name, base, repeat, err)
		}
	}
}

func TestProducerBeginsAnewAfterADay(t *testing.T) {
	p := producers{}
	p.add(ProducerBatch{2, 0, 0, 1}, 1, 1000)
	p.add(ProducerBatch{2, 0, 7, 1}, 2, 1000+producerLife.Milliseconds())
	if n := len(p[2].known); n != 1 {
		t.Errorf("%d batches are known", n)
	}
}
