package fsm

import (
	"bytes"
	"errors"
	"iter"
	"math/rand/v2"
	"testing"
	"time"
)

// A state brought forward over entries is the one of who has applied them.
func TestForward(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 9))
		d := NewData()
		var entries []Entry
		var states [][]byte
		for n := range 120 {
			states = append(states, d.Snapshot(nil))
			entries = append(entries, randomEntry(rng, n, time.Hour.Milliseconds()))
			d.Apply(uint64(n/9), entries[n])
		}
		between := func(from, to int) iter.Seq2[uint64, Entry] {
			return func(yield func(uint64, Entry) bool) {
				for n := from; n < to && yield(uint64(n/9), entries[n]); n++ {
				}
			}
		}
		for range 30 {
			from := rng.IntN(len(states))
			to := from + rng.IntN(len(states)-from)
			got, err := ForwardData(states[from], between(from, to))
			if err != nil || !bytes.Equal(got, states[to]) {
				t.Fatalf("seed %d, from entry %d to %d: %v, or another state", seed, from, to, err)
			}
		}
	}
	if _, err := ForwardData([]byte("x"), nil); !errors.Is(err, ErrSnapshot) {
		t.Errorf("no state: %v", err)
	}
}
