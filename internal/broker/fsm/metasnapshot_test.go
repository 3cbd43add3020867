package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

// restoredMeta is the state that the snapshot of m gives.
func restoredMeta(t testing.TB, m *Meta) *Meta {
	t.Helper()
	b := m.Snapshot(nil)
	again, err := RestoreMeta(b)
	if err != nil {
		t.Fatalf("%v: %x", err, b)
	}
	if other := again.Snapshot([]byte("x")); !bytes.Equal(other[1:], b) || other[0] != 'x' {
		t.Fatalf("the snapshot %x is %x after it was restored", b, other)
	}
	return again
}

// smallMeta is a state with one of each.
func smallMeta(t testing.TB) *Meta {
	m, apply := founded(t, 2)
	for _, c := range []Command{created("x", 9, 1), created("b", 1, 3), created("a.z", 2, 1), altered("a.z", 86_400_000, 300), deleted("x"), {Type: CommandProducerIDs}} {
		if r := apply(c); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	return m
}

var smallMetaBytes = unhex(`
01 02 0200 c1000000000000000000000000000000
05 01
02
  03 612e7a  02000000000000000000000000000000  80f0b252 d804
    01  05 01
  01 62      01000000000000000000000000000000  01 01
    03  02 02  01 01  01 02
`)

func TestMetaSnapshotBytes(t *testing.T) {
	if b := smallMeta(t).Snapshot(nil); !bytes.Equal(b, smallMetaBytes) {
		t.Errorf("%x, want %x", b, smallMetaBytes)
	}
	restoredMeta(t, NewMeta())
}

func refusedMeta(t *testing.T, b []byte, reason string) {
	t.Helper()
	m, err := RestoreMeta(b)
	if m != nil || !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), reason) {
		t.Errorf("want %q: %v", reason, err)
	}
}

// restorableMeta holds that b is refused, or is exactly what its state is written as.
func restorableMeta(t *testing.T, b []byte) {
	t.Helper()
	m, err := RestoreMeta(b)
	if err != nil {
		if m != nil || !errors.Is(err, ErrSnapshot) {
			t.Errorf("%x: %v", b, err)
		}
		return
	}
	if again := m.Snapshot(nil); !bytes.Equal(again, b) {
		t.Errorf("%x is written as %x", b, again)
	}
}

func TestRestoreMetaRefusesBytes(t *testing.T) {
	for n := range smallMetaBytes {
		refusedMeta(t, smallMetaBytes[:n], "")
	}
	refusedMeta(t, append(bytes.Clone(smallMetaBytes), 0), "goes on behind its end")
	refusedMeta(t, NewData().Snapshot(nil), "another group's kind")
	refusedMeta(t, append([]byte{2}, smallMetaBytes[1:]...), "version 2, known is 1")
	refusedMeta(t, unhex("01 02 0200 c1000000000000000000000000000000 05 01 02"+
		"01 62 01000000000000000000000000000000 01 01 01 01 01"+"01 62 02000000000000000000000000000000 01 01 01 02 01"), "topics are not in order")
	for at := range smallMetaBytes { // a turned bit is refused, or is another state in its own right
		for bit := range 8 {
			b := bytes.Clone(smallMetaBytes)
			b[at] ^= 1 << bit
			restorableMeta(t, b)
		}
	}
}

// What Apply rests on is checked: a state that it cannot come to is refused.
func TestRestoreMetaRefusesStates(t *testing.T) {
	change := func(change func(*Topic)) func(*Meta) {
		return func(m *Meta) {
			topic := m.topics["b"]
			change(&topic)
			m.topics["b"] = topic
		}
	}
	for _, c := range []struct {
		reason string
		spoil  func(*Meta)
	}{
		{"a cluster without groups", func(m *Meta) { m.groups = 0 }},
		{"groups without a cluster", func(m *Meta) { m.cluster = UUID{} }},
		{"before the cluster began", func(m *Meta) { m.groups, m.cluster = 0, UUID{} }},
		{"before the cluster began", func(m *Meta) { *m = Meta{placed: 1} }},
		{"before the cluster began", func(m *Meta) { *m = Meta{blocks: 1} }},
		{"higher than it can be", func(m *Meta) { m.blocks = maxBlocks + 1 }},
		{"higher than it can be", func(m *Meta) { m.placed = 4 }},
		{"higher than it can be", func(m *Meta) { m.groups = 1 }},
		{"higher than it can be", change(func(t *Topic) { t.Partitions[2].ID = 6 })},
		{"a name is none of a topic", change(func(t *Topic) { t.Name = ".." })},
		{"a name is none of a topic", change(func(t *Topic) { t.Name = "" })},
		{"a retention is out of range", change(func(t *Topic) { t.RetentionMS = 0 })},
		{"a retention is out of range", change(func(t *Topic) { t.RetentionBytes = RetentionKept })},
		{"two topics have one uuid", change(func(t *Topic) { t.UUID = UUID{2} })},
		{"or one has none", change(func(t *Topic) { t.UUID = UUID{} })},
		{"a topic has no partition", change(func(t *Topic) { t.Partitions = nil })},
		{"a partition id is not in order", change(func(t *Topic) { t.Partitions[0].ID = 0 })},
		{"a partition id is not in order", change(func(t *Topic) { t.Partitions[1].ID = 2 })},
		{"or there twice", change(func(t *Topic) { t.Partitions[2].ID = 5 })},
		{"a partition has no group", change(func(t *Topic) { t.Partitions[2].Group = 0 })},
	} {
		m := smallMeta(t)
		c.spoil(m)
		refusedMeta(t, m.Snapshot(nil), c.reason)
	}
}

func TestRestoreMetaAllocation(t *testing.T) {
	claim := append(bytes.Clone(smallMetaBytes[:22]), 0xff, 0xff, 0xff, 0x7f) // so many topics
	refusedMeta(t, append(claim, make([]byte, 1_000)...), "higher than it can be")
	m, apply := founded(t, 2)
	for n := range MaxTopics {
		r := CreateTopicRequest{fmt.Sprint(n), UUID{1, byte(n), byte(n >> 8)}, 1, 1, 1}
		if err := apply(Command{Type: CommandCreateTopic, Body: r.Append(nil)}).Err; err != nil {
			t.Fatal(err)
		}
	}
	b := m.Snapshot(nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	again, err := RestoreMeta(b)
	runtime.ReadMemStats(&after)
	per := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(b))
	t.Logf("%.1f bytes for each of %d", per, len(b))
	if per > 64 || err != nil {
		t.Errorf("%.0f bytes for each byte of the snapshot, %v", per, err)
	}
	runtime.KeepAlive(again)
}

func FuzzRestoreMeta(f *testing.F) {
	f.Add(smallMetaBytes)
	f.Add(NewMeta().Snapshot(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		restorableMeta(t, b)
		m, err := RestoreMeta(b)
		if err != nil {
			return
		}
		rng := rand.New(rand.NewPCG(uint64(len(b)), 8)) // what it takes is a state: Apply comes to others
		for range 20 {
			m.Apply(1, randomMetaEntry(rng))
		}
		restoredMeta(t, m)
	})
}
