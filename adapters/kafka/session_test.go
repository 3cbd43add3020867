package kafka

import (
	"math"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

func TestSequenceWraps(t *testing.T) {
	for _, c := range []struct {
		seq  int32
		n    int
		want int32
	}{{0, 1, 1}, {math.MaxInt32 - 1, 1, math.MaxInt32}, {math.MaxInt32, 1, 0}, {math.MaxInt32, 500, 499}, {math.MaxInt32 - 499, 500, 0}} {
		if got := addSequence(c.seq, c.n); got != c.want {
			t.Errorf("addSequence(%d, %d) = %d, want %d", c.seq, c.n, got, c.want)
		}
	}
	s := anonymous()
	if s.advance(500); s.next != -1 {
		t.Error("a session without producer id has no sequence")
	}
}

func TestOpenBatchLeads(t *testing.T) {
	batch := func(ids ...relay.ID) (b []*relay.Message) {
		for _, id := range ids {
			b = append(b, &relay.Message{ID: id})
		}
		return b
	}
	o := &openBatch{ids: []relay.ID{3, 5, 4}}
	for _, c := range []struct {
		batch []*relay.Message
		want  bool
	}{{batch(3, 5, 4), true}, {batch(3, 5, 4, 9), true}, {batch(3, 5), false}, {batch(5, 4, 3), false}, {batch(1, 3, 5, 4), false}} {
		if got := o.leads(c.batch); got != c.want {
			t.Errorf("%v leads %v: %v", o.ids, c.batch, got)
		}
	}
	if (&openBatch{}).leads(batch(1)) {
		t.Error("no batch leads nothing")
	}
	o.buf, o.shared = make([]byte, 9), true
	if o.clear(); o.buf != nil || o.isOpen() || cap(takeBuffer()) == 9 {
		t.Error("a buffer that somebody may still read must not be used again")
	}
}
