package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// batch is a record batch of a producer; its records are bytes that nobody looks at.
func batch(count int, producer int64, epoch int16, first int32) []byte {
	be := binary.BigEndian
	b := make([]byte, batchHeader+count)
	be.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2
	be.PutUint32(b[23:], uint32(count-1))
	be.PutUint64(b[35:], 1234)
	be.PutUint64(b[43:], uint64(producer))
	be.PutUint16(b[51:], uint16(epoch))
	be.PutUint32(b[53:], uint32(first))
	be.PutUint32(b[57:], uint32(count))
	be.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

func TestBatchIsKafkas(t *testing.T) {
	b := batch(3, 77, 2, 9)
	var theirs kmsg.RecordBatch
	if err := theirs.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	ours, err := ParseBatch(b)
	if err != nil || ours.Count != theirs.NumRecords || ours.MaxTimestamp != theirs.MaxTimestamp ||
		ours.Producer != (ProducerBatch{theirs.ProducerID, theirs.ProducerEpoch, theirs.FirstSequence, theirs.NumRecords}) {
		t.Errorf("%+v, %v; theirs %+v", ours, err, theirs)
	}
	for at := 8; at < len(b); at++ {
		if at >= 12 && at < 16 {
			continue // leader epoch: outside the crc, set when it is read
		}
		bad := bytes.Clone(b)
		bad[at] ^= 1
		if _, err := ParseBatch(bad); !errors.Is(err, ErrBatch) {
			t.Errorf("byte %d turned: %v", at, err)
		}
	}
	for _, bad := range [][]byte{nil, b[:60], b[:len(b)-1], append(bytes.Clone(b), 0), batch(0, -1, 0, 0)} {
		if _, err := ParseBatch(bad); !errors.Is(err, ErrBatch) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}

func partition(id uint32) []byte { return le.AppendUint32(nil, id) }

func produced(id uint32, b []byte) Command {
	return Command{Type: CommandAppend, Body: (&AppendRequest{Partition: id, Batch: b}).Append(nil)}
}

func sent(id uint32, s Source, ids ...int64) Command {
	return Command{Type: CommandAppend, Body: (&AppendRequest{Partition: id, Source: &s, IDs: ids, Sums: sumsOf(ids), Batch: batch(len(ids), -1, 0, 0)}).Append(nil)}
}

func TestData(t *testing.T) {
	d := NewData()
	me := SourceID{1}
	apply := func(c Command) Result { return d.Apply(3, Entry{Time: 5, Commands: []Command{c}})[0] }
	expect := func(what string, c Command, base int64, err error) {
		t.Helper()
		if r := apply(c); r.Base != base || !errors.Is(r.Err, err) {
			t.Errorf("%s: %+v, want base %d, %v", what, r, base, err)
		}
	}
	expect("append before open", produced(1, batch(1, -1, 0, 0)), 0, ErrUnknownPartition)
	expect("open", Command{Type: CommandOpen, Body: partition(1)}, 0, nil)
	expect("append", produced(1, batch(2, -1, 0, 0)), 0, nil)
	expect("opened again", Command{Type: CommandOpen, Body: partition(1)}, 0, nil)
	expect("append more", produced(1, batch(3, 9, 0, 0)), 2, nil)
	expect("a repeat", produced(1, batch(3, 9, 0, 0)), 2, nil)
	expect("the next", produced(1, batch(1, 9, 0, 3)), 5, nil)
	expect("a gap", produced(1, batch(1, 9, 0, 7)), 0, ErrOutOfOrder)
	expect("no batch", produced(1, []byte("x")), 0, ErrBatch)
	expect("an unknown command", Command{Type: 99}, 0, ErrEntry)
	for _, short := range []CommandType{CommandOpen, CommandClose, CommandTrim, CommandAppend, CommandFence, CommandState} {
		expect("a command without a body", Command{Type: short}, 0, ErrEntry)
	}

	if r := apply(sent(1, Source{me, 4, 1, -1}, 10, 20)); r.Err != nil || !slices.Equal(r.Offsets, []int64{6, 7}) || r.Repeat {
		t.Errorf("from a source: %+v", r)
	}
	if r := apply(sent(1, Source{me, 4, 2, -1}, 20, 10)); r.Err != nil || !slices.Equal(r.Offsets, []int64{7, 6}) || !r.Repeat {
		t.Errorf("the same again: %+v", r)
	}
	if r := apply(Command{Type: CommandAppend, Body: (&AppendRequest{Partition: 1, Source: &Source{me, 4, 3, -1}, IDs: []int64{10}, Sums: []uint32{1}, Replay: true,
		Batch: batch(1, -1, 0, 0)}).Append(nil)}); r.Err != nil || !slices.Equal(r.Offsets, []int64{8}) {
		t.Errorf("a replay: %+v", r)
	}
	expect("ids that do not fit", Command{Type: CommandAppend, Body: (&AppendRequest{Partition: 1, Source: &Source{me, 4, 9, -1}, IDs: []int64{1}, Sums: []uint32{1},
		Batch: batch(2, -1, 0, 0)}).Append(nil)},
		0, ErrIDs)
	expect("a source to nowhere", sent(2, Source{me, 4, 9, -1}, 1), 0, ErrUnknownPartition)
	expect("fence", Command{Type: CommandFence, Body: le.AppendUint64(me[:], 5)}, 0, nil)
	expect("fenced everywhere", sent(1, Source{me, 4, 9, -1}, 30), 0, ErrFenced)
	expect("an old fence", Command{Type: CommandFence, Body: le.AppendUint64(SourceID{1}.bytes(), 4)}, 0, ErrFenced)
	r := apply(Command{Type: CommandState, Body: le.AppendUint64(append(partition(1), me[:]...), 5)})
	if r.Err != nil || !reflect.DeepEqual(*r.Cursor, CursorState{Epoch: 5, Seq: 1, Floor: -1, Highest: 20, Stored: []StoredID{{10, 6, sumOf(10)}, {20, 7, sumOf(20)}}}) {
		t.Errorf("state: %+v, %v", r.Cursor, r.Err)
	}
	expect("a number that state took", sent(1, Source{me, 5, 1, -1}, 30), 0, ErrStale)

	expect("trim", Command{Type: CommandTrim, Body: le.AppendUint64(partition(1), 4)}, 0, nil)
	expect("trim back", Command{Type: CommandTrim, Body: le.AppendUint64(partition(1), 2)}, 0, nil)
	if p := d.Partition(1); p.Start() != 4 || p.HighWatermark() != 9 {
		t.Errorf("%d to %d", p.Start(), p.HighWatermark())
	}
	expect("trim too far", Command{Type: CommandTrim, Body: le.AppendUint64(partition(1), 99)}, 0, nil)
	if p := d.Partition(1); p.Start() != 9 {
		t.Errorf("start %d", p.Start())
	}
	expect("close", Command{Type: CommandClose, Body: partition(1)}, 0, nil)
	expect("append after close", produced(1, batch(1, -1, 0, 0)), 0, ErrUnknownPartition)
}

func (s SourceID) bytes() []byte { return s[:] }

func TestLeaderEpochs(t *testing.T) {
	p := newPartition()
	for term := range uint64(2 * leaderEpochs) {
		p.take(term, 1)
		p.take(term, 2)
	}
	if len(p.epochs) != leaderEpochs || p.epochs[0] != (epochStart{leaderEpochs, 3 * leaderEpochs}) {
		t.Errorf("%d epochs from %+v on", len(p.epochs), p.epochs[0])
	}
}

// randomEntry is the n-th entry of a history: a few partitions, producers and sources that get into each other's way, and commands that are none. Its time is
// about n steps, and goes back at times.
func randomEntry(rng *rand.Rand, n int, step int64) Entry {
	e := Entry{Time: rng.Int64N(int64(n+1) * step)}
	for range 1 + rng.IntN(3) {
		id := uint32(rng.IntN(3))
		source := Source{SourceID{byte(rng.IntN(2))}, uint64(rng.IntN(3)), uint64(n), int64(rng.IntN(50) - 1)}
		e.Commands = append(e.Commands, [...]Command{{Type: CommandOpen, Body: partition(id)}, produced(id, batch(1+rng.IntN(3), int64(rng.IntN(6)-1), 0, int32(rng.IntN(3)))),
			sent(id, source, int64(rng.IntN(50)), int64(50+rng.IntN(50))), {Type: CommandFence, Body: le.AppendUint64(source.ID.bytes(), source.Epoch)},
			{Type: CommandState, Body: le.AppendUint64(append(partition(id), source.ID[:]...), source.Epoch)}, {Type: CommandTrim, Body: le.AppendUint64(partition(id), uint64(n))},
			{Type: CommandType(rng.IntN(9)), Body: []byte("garbage")}, {Type: CommandClose, Body: partition(2)}}[rng.IntN(8)])
	}
	return e
}

// Two nodes that apply the same entries come to the same state and the same answers, whatever the entries are.
func TestApplyIsDeterministic(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 3))
		a, b := NewData(), NewData()
		for n := range 200 {
			e := randomEntry(rng, n, 5)
			if x, y := a.Apply(uint64(n/9), e), b.Apply(uint64(n/9), e); !reflect.DeepEqual(x, y) {
				t.Fatalf("seed %d: %+v and %+v", seed, x, y)
			}
		}
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("seed %d: the states differ", seed)
		}
	}
}

// A refused request of a source that a partition does not know leaves nothing there, not even its number.
func TestRefusedLeavesNoCursor(t *testing.T) {
	d := NewData()
	source := Source{SourceID{1}, 2, 7, -1}
	d.Apply(1, Entry{Commands: []Command{{Type: CommandOpen, Body: partition(1)}}})
	for _, c := range []struct {
		refused Command
		err     error
	}{
		{sent(1, Source{source.ID, 2, 0, -1}, 5), ErrStale},
		{sent(1, source, 5, 5), ErrIDs},
		{sent(1, source, upFrom(5, maxWindow+1)...), ErrWindowFull},
	} {
		for range 2 { // the copy is not stored either
			r := d.Apply(1, Entry{Commands: []Command{c.refused}})[0]
			if p := d.Partition(1); !errors.Is(r.Err, c.err) || len(p.cursors) != 0 || p.HighWatermark() != 0 {
				t.Fatalf("%v, want %v; %d cursors, %d records", r.Err, c.err, len(p.cursors), p.HighWatermark())
			}
		}
	}
	if r := d.Apply(1, Entry{Commands: []Command{sent(1, source, 5)}})[0]; r.Err != nil || !slices.Equal(r.Offsets, []int64{0}) {
		t.Fatalf("%+v", r)
	}
}

// A full window takes more as soon as a request tells that what fills it is settled, be it that very request.
func TestFullWindowHearsTheFloor(t *testing.T) {
	d := NewData()
	d.Apply(1, Entry{Commands: []Command{{Type: CommandOpen, Body: partition(1)}}})
	seq := uint64(0)
	apply := func(floor int64, ids ...int64) Result {
		seq++
		return d.Apply(1, Entry{Commands: []Command{sent(1, Source{SourceID{1}, 2, seq, floor}, ids...)}})[0]
	}
	if r := apply(-1, upFrom(1, maxWindow)...); r.Err != nil {
		t.Fatal(r.Err)
	}
	for _, floor := range []int64{-1, 0} {
		if r := apply(floor, 1_000_000); !errors.Is(r.Err, ErrWindowFull) {
			t.Fatalf("floor %d: %v", floor, r.Err)
		}
	}
	if r := apply(maxWindow, 1_000_000); r.Err != nil || !slices.Equal(r.Offsets, []int64{maxWindow}) {
		t.Fatalf("with the floor: %v, %v", r.Offsets, r.Err)
	}
}

// upFrom is count ids that count up.
func upFrom(first int64, count int) []int64 {
	ids := make([]int64, count)
	for i := range ids {
		ids[i] = first + int64(i)
	}
	return ids
}

func FuzzParse(f *testing.F) {
	e := Entry{Time: 1, Proposer: 2, Proposal: 3, Commands: []Command{{Type: CommandOpen, Body: partition(1)}, sent(1, Source{SourceID{1}, 1, 1, -1}, 5, 6)}}
	f.Add(e.Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEntry(b)
		if err != nil {
			return
		}
		if again := e.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%x encoded again is %x", b, again)
		}
		for _, c := range e.Commands {
			if r, err := ParseAppend(c.Body); err == nil {
				direct := Command{Type: c.Type, Append: &r}
				if direct.Size() != len(c.Body) {
					t.Errorf("a size of %d for %d bytes", direct.Size(), len(c.Body))
				}
			}
			if r, err := ParseAppend(c.Body); err == nil && !bytes.Equal(r.Append(nil), c.Body) {
				t.Errorf("%x encoded again is %x", c.Body, r.Append(nil))
			}
		}
		NewData().Apply(1, e)
	})
}
