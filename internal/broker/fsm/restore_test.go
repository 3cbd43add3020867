package fsm

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func refused(t *testing.T, b []byte, reason string) {
	t.Helper()
	d, err := RestoreData(b)
	if d != nil || !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), reason) {
		t.Errorf("want %q: %v", reason, err)
	}
}

func TestRestoreDataRefusesBytes(t *testing.T) {
	for n := range smallBytes {
		refused(t, smallBytes[:n], "")
	}
	refused(t, append(bytes.Clone(smallBytes), 0), "goes on behind its end")
	refused(t, NewMeta().Snapshot(nil), "another group's kind")
	refused(t, unhex("02 01 0000000000000000 00 00"), "version 2, known is 1")
	refused(t, unhex("01 01 0000000000000080 00 00"), "negative")
	refused(t, unhex("01 01 0000000000000000 8000 00"), "longer than need be")
	refused(t, unhex("01 01 0000000000000000 00 ffffffffffffffffff02"), "too large")
	refused(t, unhex("01 01 0000000000000000 02 "+strings.Repeat("01000000000000000000000000000000 00", 2)+"00"), "sources are not in order")
	refused(t, unhex("01 01 0000000000000000 00 02 "+strings.Repeat("01000000 00 00 00 00 00", 2)), "partitions are not in order")
	producer := "05 0000 00 01 00000000 00000000 00"
	refused(t, unhex("01 01 0000000000000000 00 01 01000000 00 01 00 02"+producer+producer+"00"), "producers of a partition are not in order")
	for at := range smallBytes { // a turned bit is refused, or is another state in its own right
		for bit := range 8 {
			b := bytes.Clone(smallBytes)
			b[at] ^= 1 << bit
			restorable(t, b)
		}
	}
}

// restorable holds that b is refused, or is exactly what its state is written as.
func restorable(t *testing.T, b []byte) {
	t.Helper()
	d, err := RestoreData(b)
	if err != nil {
		if d != nil || !errors.Is(err, ErrSnapshot) {
			t.Errorf("%x: %v", b, err)
		}
		return
	}
	silent := len(writers(d))
	again := d.Snapshot(nil)
	silent -= len(writers(d))
	if silent == 0 && !bytes.Equal(again, b) || silent > 0 && len(again) >= len(b) {
		t.Errorf("%x is written as %x", b, again)
	}
	restored(t, d)
}

// What Apply rests on is checked: a state that it cannot come to is refused.
func TestRestoreDataRefusesStates(t *testing.T) {
	me := SourceID{0xa1}
	for _, c := range []struct {
		reason string
		spoil  func(p *Partition)
	}{
		{"begins behind its end", func(p *Partition) { p.start = 9 }},
		{"a number is higher", func(p *Partition) { p.next = -1 }},
		{"a number is higher", func(p *Partition) { p.start, p.next = 0, 0 }},
		{"more than 64 leader epochs", func(p *Partition) { p.epochs = make([]epochStart, leaderEpochs+1) }},
		{"leader epochs of a partition are not in order", func(p *Partition) { p.epochs[1].term = 3 }},
		{"leader epochs of a partition are not in order", func(p *Partition) { p.epochs[1].offset = 0 }},
		{"a number is higher", func(p *Partition) { p.epochs[1].offset = 8 }},
		{"has 0 batches", func(p *Partition) { p.producers[4242].known = nil }},
		{"has 6 batches", func(p *Partition) { p.producers[4242].known = make([]knownBatch, producerMemory+1) }},
		{"sequence number is negative", func(p *Partition) { p.producers[4242].known[0].last = -1 }},
		{"batches of a producer are not in order", func(p *Partition) { p.producers[4242].known[0].base = 3 }},
		{"a number is higher", func(p *Partition) { p.producers[4242].known[1].base = 8 }},
		{"a number is higher", func(p *Partition) { p.producers[4242].wrote = -1 }},
		{"higher epoch of a source than the group", func(p *Partition) { p.cursors[me].epoch = 6 }},
		{"floor or the highest id", func(p *Partition) { p.cursors[me].floor = -2 }},
		{"floor or the highest id", func(p *Partition) { p.cursors[me].floor = 9 }},
		{"floor or the highest id", func(p *Partition) { p.cursors[me].highest = -2 }},
		{"between the floor and the end", func(p *Partition) { p.cursors[me].floor = 6 }},
		{"between the floor and the end", func(p *Partition) { p.cursors[me].window[1].ids = nil }},
		{"between the floor and the end", func(p *Partition) { p.cursors[me].window[1].ids = []int64{1, 2, 3} }},
		{"a number is higher", func(p *Partition) { p.cursors[me].window[1].base = 5 }},
		{"an id is twice", func(p *Partition) { p.cursors[me].window[1].ids[0] = 90 }},
		{"above the highest", func(p *Partition) { p.cursors[me].highest = 99 }},
	} {
		d := small()
		c.spoil(d.partitions[7])
		refused(t, d.Snapshot(nil), c.reason)
	}
}

// The memory that a restore takes is bounded by the length of what it reads, whatever that says.
func TestRestoreDataAllocation(t *testing.T) {
	empty, single, known, full := NewData(), NewData(), NewData(), NewData()
	for i := range uint32(3_000) {
		empty.Apply(1, Entry{Commands: []Command{{Type: CommandOpen, Body: partition(i)}}})
		single.Apply(1, Entry{Commands: []Command{{Type: CommandOpen, Body: partition(1)}, sent(1, Source{SourceID{byte(i), byte(i >> 8)}, 1, 1, -1}, 1)}})
		known.Apply(1, Entry{Commands: []Command{{Type: CommandOpen, Body: partition(1)}, produced(1, batch(1, int64(i), 0, 0))}})
	}
	full.Apply(1, Entry{Commands: []Command{{Type: CommandOpen, Body: partition(1)}, sent(1, Source{SourceID{1}, 1, 1, -1}, upFrom(1, 20_000)...)}})
	snapshots := map[string][]byte{"partitions": empty.Snapshot(nil), "cursors": single.Snapshot(nil), "producers": known.Snapshot(nil), "ids": full.Snapshot(nil)}
	for _, name := range slices.Collect(maps.Keys(snapshots)) {
		snapshots[name+", cut off"] = snapshots[name][:len(snapshots[name])-1]
	}
	snapshots["a count of 2⁶³-1"] = append(unhex("01 01 0000000000000000 ffffffffffffffff7f"), make([]byte, 100_000)...)
	for name, b := range snapshots {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d, err := RestoreData(b)
		runtime.ReadMemStats(&after)
		per := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(b))
		t.Logf("%s: %.1f bytes for each of %d", name, per, len(b))
		if per > 64 {
			t.Errorf("%s: %.0f bytes for each byte of the snapshot (%v)", name, per, err)
		}
		runtime.KeepAlive(d)
	}
}

func FuzzRestoreData(f *testing.F) {
	f.Add(smallBytes)
	f.Add(NewData().Snapshot(nil))
	rng := rand.New(rand.NewPCG(1, 6))
	d := NewData()
	for n := range 200 {
		d.Apply(uint64(n/9), randomEntry(rng, n, time.Hour.Milliseconds()))
	}
	f.Add(d.Snapshot(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		restorable(t, b)
		d, err := RestoreData(b)
		if err != nil {
			return
		}
		rng := rand.New(rand.NewPCG(uint64(len(b)), 6)) // nothing that it takes makes Apply panic
		for n := range 20 {
			d.Apply(uint64(n), randomEntry(rng, n, time.Hour.Milliseconds()))
		}
	})
}
