package fsm

import (
	"bytes"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// restored is the state that the snapshot of d gives.
func restored(t testing.TB, d *Data) *Data {
	t.Helper()
	b := d.Snapshot(nil)
	again, err := RestoreData(b)
	if err != nil {
		t.Fatalf("%v: %x", err, b)
	}
	if other := again.Snapshot(nil); !bytes.Equal(other, b) {
		t.Fatalf("the snapshot %x is %x after it was restored", b, other)
	}
	return again
}

// Whoever takes snapshots, goes on from them, or does neither, gives the same answers and comes to the same state, also where producers fall silent and come
// back.
func TestSnapshotChangesNothing(t *testing.T) {
	forgotten, back := 0, 0
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 4))
		never, taker, goesOn := NewData(), NewData(), NewData()
		away := map[writer]bool{}
		for n := range 300 {
			e := randomEntry(rng, n, time.Hour.Milliseconds())
			want := never.Apply(uint64(n/9), e)
			if got := taker.Apply(uint64(n/9), e); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d, entry %d: %+v after a snapshot, else %+v", seed, n, got, want)
			}
			if got := goesOn.Apply(uint64(n/9), e); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d, entry %d: %+v from a snapshot on, else %+v", seed, n, got, want)
			}
			if rng.IntN(10) > 0 {
				continue
			}
			before := writers(taker)
			if !bytes.Equal(taker.Snapshot([]byte("x")), append([]byte("x"), goesOn.Snapshot(nil)...)) {
				t.Fatalf("seed %d, entry %d: the snapshots differ", seed, n)
			}
			goesOn = restored(t, goesOn)
			after := writers(taker)
			for w := range before {
				if away[w] {
					back++
					delete(away, w)
				}
				if !after[w] {
					forgotten++
					away[w] = true
				}
			}
		}
		last := never.Snapshot(nil)
		if !bytes.Equal(taker.Snapshot(nil), last) || !bytes.Equal(goesOn.Snapshot(nil), last) {
			t.Fatalf("seed %d: the snapshots differ in the end", seed)
		}
	}
	t.Logf("%d producers were forgotten, %d came back", forgotten, back)
	if forgotten < 200 || back < 200 {
		t.Error("this tests too little")
	}
}

// A snapshot leaves a producer out from the very moment on that it is taken for unknown.
func TestSnapshotForgetsProducers(t *testing.T) {
	for age, kept := range map[int64]int{0: 1, producerLife.Milliseconds() - 1: 1, producerLife.Milliseconds(): 0} {
		d := NewData()
		d.Apply(1, Entry{Time: 5, Commands: []Command{{Type: CommandOpen, Body: partition(1)}, produced(1, batch(1, 7, 0, 0))}})
		d.Apply(1, Entry{Time: 5 + age})
		if n := len(writers(restored(t, d))); n != kept || len(writers(d)) != kept {
			t.Errorf("%d ms silent: %d producers in the snapshot, %d in memory, want %d", age, n, len(writers(d)), kept)
		}
	}
}

// writer is a producer of a partition.
type writer struct {
	partition uint32
	producer  int64
}

func writers(d *Data) map[writer]bool {
	all := map[writer]bool{}
	for id, p := range d.partitions {
		for producer := range p.producers {
			all[writer{id, producer}] = true
		}
	}
	return all
}

// small is a state with one of each.
func small() *Data {
	d := NewData()
	me := SourceID{0xa1}
	d.Apply(3, Entry{Time: 1000, Commands: []Command{{Type: CommandOpen, Body: partition(7)}, {Type: CommandOpen, Body: partition(9)}, {Type: CommandFence, Body: le.AppendUint64(SourceID{0xa2}.bytes(), 300)},
		produced(7, batch(3, 4242, 1, math.MaxInt32-1))}})
	d.Apply(4, Entry{Time: 1200, Commands: []Command{produced(7, batch(1, 4242, 1, 1)),
		sent(7, Source{me, 5, 1, -1}, 100, 90), produced(7, batch(1, -1, 0, 0)), sent(7, Source{me, 5, 2, 5}, 91), {Type: CommandTrim, Body: le.AppendUint64(partition(7), 2)}}})
	return d
}

var smallBytes = unhex(`
01 01 b004000000000000
02
  a1000000000000000000000000000000 05
  a2000000000000000000000000000000 ac02
02
  07000000 02 08
    02  03 00  04 03
    01  9221 0100 00 02  feffff7f 00000000 00  01000000 01000000 03
    01  a1000000000000000000000000000000 05 02 0a c801
        02  04 02 c801 13 2489abcd 3ac8809f
            01 01 02 eb41b83d
  09000000 00 00
    00
    00
    00
`)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestSnapshotBytes(t *testing.T) {
	if b := small().Snapshot(nil); !bytes.Equal(b, smallBytes) {
		t.Errorf("%x, want %x", b, smallBytes)
	}
	restored(t, NewData())
}

// Ids at the ends of their range come back, and a long window takes about 6 bytes an id.
func TestSnapshotIDs(t *testing.T) {
	ids := []int64{math.MaxInt64, math.MinInt64, 0, -1, math.MaxInt64 - 1, math.MinInt64 + 1}
	d := NewData()
	d.Apply(1, Entry{Commands: []Command{{Type: CommandOpen, Body: partition(1)}, sent(1, Source{SourceID{1}, math.MaxUint64, math.MaxUint64, -1}, ids...)}})
	if got, want := restored(t, d).partitions[1].cursors[SourceID{1}].state(), d.partitions[1].cursors[SourceID{1}].state(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}

	d = NewData()
	d.Apply(1, Entry{Commands: []Command{{Type: CommandOpen, Body: partition(1)}}})
	rng := rand.New(rand.NewPCG(1, 5))
	for n := range 100 {
		batch := upFrom(int64(n*100), 100)
		rng.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
		d.Apply(1, Entry{Commands: []Command{sent(1, Source{SourceID{1}, 1, uint64(n + 1), -1}, batch...)}})
	}
	if per := float64(len(restored(t, d).Snapshot(nil))) / 10_000; per > 6 {
		t.Errorf("%.1f bytes an id", per)
	}
}
