package broker

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// Rows come back from a checkpoint as they were; what is damaged is refused.
func TestRowsCodec(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	all := map[uint32]*rows{}
	for id := range uint32(5) {
		r := &rows{}
		var x row
		for range rnd.IntN(50) {
			x.base += int64(1 + rnd.IntN(100))
			x.at.Segment += uint64(rnd.IntN(2))
			x.at.At = int64(rnd.IntN(1<<27)) / 8 * 8
			x.command, x.time, x.size = uint16(rnd.IntN(1<<16)), x.time+int64(rnd.IntN(1000)), int32(rnd.IntN(1<<20))
			r.add(x)
		}
		all[id*7] = r
	}
	encoded := appendRows(nil, all)
	got, err := parseRows(encoded)
	must(t, err)
	if !bytes.Equal(appendRows(nil, got), encoded) || len(got) != len(all) {
		t.Error("not the same after decoding")
	}
	for id, r := range all {
		if got[id].bytes != r.bytes {
			t.Errorf("partition %d: %d bytes, want %d", id, got[id].bytes, r.bytes)
		}
	}
	for n := range encoded {
		if _, err := parseRows(encoded[:n]); err == nil {
			t.Errorf("cut at %d of %d: no error", n, len(encoded))
		}
	}
}

func FuzzParseRows(f *testing.F) {
	f.Add([]byte{1, 7, 1, 2, 2, 2, 2, 2, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := parseRows(b); err == nil {
			if again, err := parseRows(appendRows(nil, got)); err != nil || len(again) != len(got) {
				t.Errorf("encoded again: %v", err)
			}
		}
	})
}
