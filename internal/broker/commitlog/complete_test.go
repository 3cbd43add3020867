package commitlog

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// What Open did not read is found afterwards as it was before: entries that others took the place of, and states that voided everything, count the same.
func TestComplete(t *testing.T) {
	completed := 0
	for seed := range uint64(60) {
		rng := newRand(seed)
		cfg := memoryConfig()
		l := openLog(t, cfg)
		term, next := uint64(1), [3]uint64{2, 2, 2}
		var segments []uint64
		add := func(count int) {
			for range count {
				s := rng.IntN(len(next))
				switch rng.IntN(40) {
				case 0: // a new leader, who voids what the one before has left
					term++
					next[s] = max(2, next[s]-uint64(rng.IntN(4)))
				case 1:
					next[s] += uint64(rng.IntN(5))
					_, err := l.Append(Record{Kind: KindFirstIndex, Stream: uint16(s), Index: next[s] - 1, Term: term, Body: []byte("sum.")})
					must(t, err)
				}
				p, err := l.Append(entry(uint16(s), next[s], term, fmt.Sprint(seed, next[s])))
				must(t, err)
				next[s]++
				segments = append(segments, p.Segment)
			}
		}
		add(40 + rng.IntN(60))
		from := segments[len(segments)-1]
		if first := segments[rng.IntN(len(segments))]; rng.IntN(2) == 0 {
			must(t, l.Release(first))
		}
		// Nothing that a checkpoint covers is voided behind it.
		bounds := next
		_, err := l.Append(CheckpointEnd(1, from, nil))
		must(t, err)
		for range rng.IntN(60) {
			s := rng.IntN(len(next))
			_, err := l.Append(entry(uint16(s), next[s], term, "new"))
			must(t, err)
			next[s]++
		}
		want := seen(t, l.Log, next)
		must(t, l.stop())
		l = openLog(t, cfg)
		if !slices.Equal(seen(t, l.Log, next), want) {
			completed++
		}
		must(t, l.Complete())
		must(t, l.Complete())
		if got := seen(t, l.Log, next); !slices.Equal(got, want) {
			t.Errorf("seed %d: %q, want %q, the checkpoint covers %v", seed, got, want, bounds)
		}
		must(t, l.stop())
	}
	if completed < 20 {
		t.Errorf("only %d logs had something to complete", completed)
	}
}

// seen is everything that a log tells of its entries.
func seen(t *testing.T, l *Log, next [3]uint64) (all []string) {
	t.Helper()
	for s := range next {
		for i := range next[s] + 1 {
			r, err := l.Read(uint16(s), i)
			if errors.Is(err, ErrNotHeld) {
				continue
			}
			must(t, err)
			term, err := l.Term(uint16(s), i)
			must(t, err)
			all = append(all, fmt.Sprintf("%d/%d of term %d and %d: %s", s, i, r.Term, term, r.Body))
		}
	}
	return all
}

// Damage in an old segment is named, and costs nothing of what was read.
func TestCompleteFindsDamage(t *testing.T) {
	cfg := memoryConfig()
	l := openLog(t, cfg)
	first, err := l.Append(entry(1, 2, 1, "old"))
	must(t, err)
	must(t, l.stop())
	l = openLog(t, cfg)
	last, err := l.Append(entry(1, 3, 1, "new"))
	must(t, err)
	_, err = l.Append(CheckpointEnd(1, last.Segment, nil))
	must(t, err)
	must(t, l.stop())
	f, err := cfg.FS.Open("log/" + segmentName(first.Segment))
	must(t, err)
	_, err = f.WriteAt([]byte("rot"), 0)
	must(t, err)
	must(t, f.Close())
	l = openLog(t, cfg)
	var damage *DamageError
	if err := l.Complete(); !errors.As(err, &damage) || damage.Segment != first.Segment {
		t.Errorf("damage in segment %d: %v", first.Segment, err)
	}
	if r, err := l.Read(1, 3); err != nil || string(r.Body) != "new" {
		t.Errorf("what was read: %q, %v", r.Body, err)
	}
	must(t, l.stop())
}
