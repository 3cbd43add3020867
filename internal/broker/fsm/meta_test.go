package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func initial(groups uint16) Command {
	return Command{Type: CommandInit, Body: (&InitRequest{UUID{0xc1}, groups}).Append(nil)}
}

func created(name string, uuid byte, partitions uint32) Command {
	return Command{Type: CommandCreateTopic, Body: (&CreateTopicRequest{name, UUID{uuid}, partitions, RetentionUnlimited, RetentionUnlimited}).Append(nil)}
}

func deleted(name string) Command { return Command{Type: CommandDeleteTopic, Body: []byte(name)} }

func altered(name string, ms, bytes int64) Command {
	return Command{Type: CommandAlterRetention, Body: (&AlterRetentionRequest{name, ms, bytes}).Append(nil)}
}

// founded is a cluster of some data groups.
func founded(t testing.TB, groups uint16) (m *Meta, apply func(Command) MetaResult) {
	t.Helper()
	m = NewMeta()
	apply = func(c Command) MetaResult { return m.Apply(1, Entry{Commands: []Command{c}})[0] }
	if r := apply(initial(groups)); r.Err != nil {
		t.Fatal(r.Err)
	}
	return m, apply
}

func TestMetaBegins(t *testing.T) {
	m := NewMeta()
	for _, c := range []struct {
		what    string
		command Command
		err     error
	}{
		{"a topic of no cluster", created("a", 1, 1), ErrNoCluster},
		{"a cluster of no group", initial(0), ErrEntry},
		{"a cluster without a uuid", Command{Type: CommandInit, Body: (&InitRequest{Groups: 3}).Append(nil)}, ErrEntry},
		{"the first", initial(3), nil},
		{"the same again", initial(3), nil},
		{"with more groups", initial(6), ErrClusterExists},
		{"another cluster", Command{Type: CommandInit, Body: (&InitRequest{UUID{2}, 3}).Append(nil)}, ErrClusterExists},
		{"a command of a data group", Command{Type: CommandOpen, Body: partition(1)}, ErrEntry},
		{"an unknown command", Command{Type: CommandProducerIDs + 1}, ErrEntry},
	} {
		if r := m.Apply(1, Entry{Commands: []Command{c.command}})[0]; !errors.Is(r.Err, c.err) {
			t.Errorf("%s: %v, want %v", c.what, r.Err, c.err)
		}
	}
	if m.Groups() != 3 || m.Cluster() != (UUID{0xc1}) || len(m.Topics()) != 0 {
		t.Errorf("%+v", m)
	}
	if r := NewData().Apply(1, Entry{Commands: []Command{initial(3)}})[0]; !errors.Is(r.Err, ErrEntry) {
		t.Errorf("a data group: %v", r.Err)
	}
}

func TestMetaTopics(t *testing.T) {
	m, apply := founded(t, 2)
	for _, c := range []struct {
		what    string
		command Command
		topic   Topic
		err     error
	}{
		{"b", created("b", 1, 3), Topic{"b", UUID{1}, []PartitionPlace{{1, 1}, {2, 2}, {3, 1}}, -1, -1}, nil},
		{"b again", created("b", 1, 3), Topic{}, ErrTopicExists},
		{"no partition", created("c", 2, 0), Topic{}, ErrNoPartitions},
		{"too many partitions", created("c", 2, math.MaxUint32), Topic{}, ErrTooManyPartitions},
		{"a uuid twice", created("c", 1, 1), Topic{}, ErrTopicUUID},
		{"no uuid", created("c", 0, 1), Topic{}, ErrTopicUUID},
		{"retention of nothing", Command{Type: CommandCreateTopic, Body: (&CreateTopicRequest{"c", UUID{2}, 1, 0, -1}).Append(nil)}, Topic{}, ErrRetention},
		{"retention as it is, of a new one", Command{Type: CommandCreateTopic, Body: (&CreateTopicRequest{"c", UUID{2}, 1, 1, RetentionKept}).Append(nil)}, Topic{}, ErrRetention},
		{"a", Command{Type: CommandCreateTopic, Body: (&CreateTopicRequest{"a", UUID{2}, 2, 1, 9}).Append(nil)}, Topic{"a", UUID{2}, []PartitionPlace{{4, 2}, {5, 1}}, 1, 9}, nil},
		{"retention of an unknown one", altered("c", 1, 1), Topic{}, ErrUnknownTopic},
		{"retention below -1", altered("b", 1, -3), Topic{}, ErrRetention},
		{"retention 0", altered("b", 0, 1), Topic{}, ErrRetention},
		{"retention of b", altered("b", 7, RetentionKept), Topic{"b", UUID{1}, []PartitionPlace{{1, 1}, {2, 2}, {3, 1}}, 7, -1}, nil},
		{"the other of b", altered("b", RetentionKept, 8), Topic{"b", UUID{1}, []PartitionPlace{{1, 1}, {2, 2}, {3, 1}}, 7, 8}, nil},
		{"b for ever", altered("b", -1, RetentionKept), Topic{"b", UUID{1}, []PartitionPlace{{1, 1}, {2, 2}, {3, 1}}, -1, 8}, nil},
		{"delete an unknown one", deleted("c"), Topic{}, ErrUnknownTopic},
		{"delete b", deleted("b"), Topic{"b", UUID{1}, []PartitionPlace{{1, 1}, {2, 2}, {3, 1}}, -1, 8}, nil},
		{"delete it again", deleted("b"), Topic{}, ErrUnknownTopic},
		{"b anew", created("b", 1, 1), Topic{"b", UUID{1}, []PartitionPlace{{6, 2}}, -1, -1}, nil},
		{"without a body", Command{Type: CommandCreateTopic}, Topic{}, ErrEntry},
		{"without a body", Command{Type: CommandDeleteTopic}, Topic{}, ErrEntry},
		{"without a body", Command{Type: CommandAlterRetention}, Topic{}, ErrEntry},
	} {
		before := m.Snapshot(nil)
		r := apply(c.command)
		if !errors.Is(r.Err, c.err) || !reflect.DeepEqual(r.Topic, c.topic) {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.what, r.Topic, r.Err, c.topic, c.err)
		}
		if c.err != nil && !bytes.Equal(m.Snapshot(nil), before) {
			t.Errorf("%s: refused, and something has changed", c.what)
		}
	}
	if a, ok := m.Topic("a"); !ok || a.UUID != (UUID{2}) {
		t.Errorf("%+v", a)
	}
	if _, ok := m.Topic("c"); ok {
		t.Error("c exists")
	}
	if all := m.Topics(); len(all) != 2 || all[0].Name != "a" || all[1].Name != "b" {
		t.Errorf("%+v", all)
	}
}

func TestTopicNames(t *testing.T) {
	_, apply := founded(t, 1)
	for i, good := range []string{"a", "Z", "0", "_", "-", "...", "..a", "order.paid_2-x", strings.Repeat("x", MaxTopicName)} {
		if r := apply(created(good, byte(i+1), 1)); r.Err != nil {
			t.Errorf("%q: %v", good, r.Err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a b", "a/b", "ä", "a\x00", "\xff", "a:b", strings.Repeat("x", MaxTopicName+1)} {
		if r := apply(created(bad, 99, 1)); !errors.Is(r.Err, ErrTopicName) {
			t.Errorf("%q: %v", bad, r.Err)
		}
	}
}

func TestMetaLimits(t *testing.T) {
	m, apply := founded(t, 6)
	create := func(n int, partitions uint32) error {
		r := CreateTopicRequest{fmt.Sprint("t", n), UUID{1, byte(n), byte(n >> 8)}, partitions, -1, -1}
		return apply(Command{Type: CommandCreateTopic, Body: r.Append(nil)}).Err
	}
	for n := range MaxTopics {
		if err := create(n, MaxPartitions/MaxTopics); err != nil {
			t.Fatalf("topic %d: %v", n, err)
		}
	}
	per := map[uint16]int{}
	for _, topic := range m.Topics() {
		for _, p := range topic.Partitions {
			per[p.Group]++
		}
	}
	if want := map[uint16]int{1: 1667, 2: 1667, 3: 1667, 4: 1667, 5: 1666, 6: 1666}; !reflect.DeepEqual(per, want) {
		t.Errorf("partitions by group: %v, want %v", per, want)
	}
	if err := create(MaxTopics, 1); !errors.Is(err, ErrTooManyTopics) {
		t.Error(err)
	}
	apply(deleted("t7"))
	if err := create(MaxTopics, MaxPartitions/MaxTopics+1); !errors.Is(err, ErrTooManyPartitions) {
		t.Error(err)
	}
	if err := create(MaxTopics, MaxPartitions/MaxTopics); err != nil {
		t.Error(err)
	}
	if again := restoredMeta(t, m); again.partitions != MaxPartitions {
		t.Errorf("%d partitions", again.partitions)
	}
}

func TestMetaIDsEnd(t *testing.T) {
	m, apply := founded(t, 6)
	for n := range int64(3) {
		if r := apply(Command{Type: CommandProducerIDs}); r.Err != nil || r.ProducerID != n*ProducerIDBlock {
			t.Errorf("block %d: %+v", n, r)
		}
	}
	if r := apply(Command{Type: CommandProducerIDs, Body: []byte{0}}); !errors.Is(r.Err, ErrEntry) {
		t.Error(r.Err)
	}
	m.blocks, m.placed = maxBlocks-1, math.MaxUint32-2
	if r := apply(Command{Type: CommandProducerIDs}); r.Err != nil || r.ProducerID != (maxBlocks-1)*ProducerIDBlock {
		t.Errorf("the last block: %+v", r)
	}
	if r := apply(Command{Type: CommandProducerIDs}); !errors.Is(r.Err, ErrSpent) {
		t.Error(r.Err)
	}
	if r := apply(created("a", 1, 3)); !errors.Is(r.Err, ErrSpent) {
		t.Error(r.Err)
	}
	if r := apply(created("a", 1, 2)); r.Err != nil || r.Topic.Partitions[1] != (PartitionPlace{math.MaxUint32, 3}) {
		t.Errorf("%+v", r)
	}
	restoredMeta(t, m)
}

// randomMetaEntry has commands on a few topics, some of them refused, and some that are none.
func randomMetaEntry(rng *rand.Rand) (e Entry) {
	for range 1 + rng.IntN(3) {
		name := string(rune('a' + rng.IntN(6)))
		e.Commands = append(e.Commands, [...]Command{initial(uint16(rng.IntN(4))), created(name, byte(rng.IntN(8)), uint32(rng.IntN(4))), deleted(name),
			altered(name, rng.Int64N(9)-3, rng.Int64N(9)-3), {Type: CommandProducerIDs}, {Type: CommandType(rng.IntN(256)), Body: []byte("garbage")}}[rng.IntN(6)])
	}
	return e
}

// Whoever goes on from snapshots gives the same answers and comes to the same state; no id is given twice, and groups take turns.
func TestMetaGoesOnFromSnapshots(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 7))
		a, b := NewMeta(), NewMeta()
		placed, blocks := uint32(0), int64(0)
		for n := range 200 {
			e := randomMetaEntry(rng)
			x, y := a.Apply(uint64(n), e), b.Apply(uint64(n), e)
			if !reflect.DeepEqual(x, y) {
				t.Fatalf("seed %d, entry %d: %+v and %+v", seed, n, x, y)
			}
			for i, r := range x {
				switch {
				case r.Err != nil:
				case e.Commands[i].Type == CommandProducerIDs:
					if r.ProducerID != blocks*ProducerIDBlock {
						t.Fatalf("seed %d, entry %d: producers from %d on", seed, n, r.ProducerID)
					}
					blocks++
				case e.Commands[i].Type == CommandCreateTopic:
					for _, p := range r.Topic.Partitions {
						if placed++; p != (PartitionPlace{placed, uint16(1 + (placed-1)%uint32(a.Groups()))}) {
							t.Fatalf("seed %d, entry %d: %+v after %d partitions", seed, n, p, placed-1)
						}
					}
				}
			}
			if rng.IntN(10) == 0 {
				b = restoredMeta(t, b)
			}
		}
		if !bytes.Equal(a.Snapshot(nil), b.Snapshot(nil)) || !reflect.DeepEqual(a, b) {
			t.Fatalf("seed %d: the states differ", seed)
		}
		if !slices.IsSortedFunc(a.Topics(), func(x, y Topic) int { return strings.Compare(x.Name, y.Name) }) {
			t.Fatalf("seed %d: %+v", seed, a.Topics())
		}
	}
}
