package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// batchOf encodes a record batch of Kafka's format whose records have the given values.
func batchOf(values ...string) []byte {
	b := make([]byte, 61)
	for i, v := range values {
		r := append(binary.AppendVarint([]byte{0, 0}, int64(i)), 1) // attributes, time, offset, null key
		r = append(binary.AppendVarint(r, int64(len(v))), v...)
		r = append(r, 0) // no headers
		b = append(binary.AppendVarint(b, int64(len(r))), r...)
	}
	be := binary.BigEndian
	be.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2
	be.PutUint32(b[23:], uint32(len(values)-1))
	be.PutUint64(b[43:], ^uint64(0))
	be.PutUint32(b[57:], uint32(len(values)))
	be.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// valuesOf decodes what batchOf encodes.
func valuesOf(b StoredBatch) (values []string) {
	rest := b.Bytes[61:]
	for len(rest) > 0 {
		n, used := binary.Varint(rest)
		r := rest[used : used+int(n)]
		rest = rest[used+int(n):]
		_, used = binary.Varint(r[2:])
		r = r[2+used+1:]
		size, used := binary.Varint(r)
		values = append(values, string(r[used:used+int(size)]))
	}
	return values
}

type running struct {
	*Node
	stop func() error
}

func startNode(t testing.TB, cfg Config, fsys vfs.FS) *running {
	t.Helper()
	n, err := Open(cfg, fsys)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	r := &running{n, sync.OnceValue(func() error { cancel(); return <-ended })}
	t.Cleanup(func() { _ = r.stop() })
	ready, done := context.WithTimeout(ctx, 20*time.Second)
	defer done()
	must(t, n.Ready(ready))
	return r
}

func memory() (Config, vfs.FS) { return Config{Dir: "node", SegmentBytes: 256 << 10}, vfs.NewMemory() }

func (r *running) all(t testing.TB, topic string, partition int32) (values []string) {
	t.Helper()
	start, high, err := r.Bounds(topic, partition)
	must(t, err)
	for at := start; at < high; {
		batches, err := r.Read(t.Context(), topic, partition, at, 64<<10)
		must(t, err)
		for _, b := range batches {
			if b.Base != at || binary.BigEndian.Uint64(b.Bytes) != uint64(at) {
				t.Fatalf("a batch with base %d at offset %d", b.Base, at)
			}
			v := valuesOf(b)
			at += int64(len(v))
			values = append(values, v...)
		}
	}
	return values
}

func TestAppendAndRead(t *testing.T) {
	for name, where := range map[string]struct {
		cfg  Config
		fsys vfs.FS
	}{"memory": {Config{Dir: "node", SegmentBytes: 256 << 10}, vfs.NewMemory()}, "disk": {Config{Dir: path.Join(t.TempDir(), "node"), SegmentBytes: 256 << 10}, vfs.OS{}}} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t, where.cfg, where.fsys)
			must(t, n.CreateTopic(t.Context(), Topic{Name: "orders", Partitions: 3}))
			if err := n.CreateTopic(t.Context(), Topic{Name: "orders", Partitions: 3}); !errors.Is(err, ErrTopicExists) {
				t.Errorf("created twice: %v", err)
			}
			want := map[int32][]string{}
			for i := range 200 {
				p := int32(i % 3)
				values := []string{fmt.Sprint("a", i), strings.Repeat("b", i*10)}
				ack, err := n.Append(t.Context(), "orders", p, batchOf(values...))
				must(t, err)
				if ack.Base != int64(len(want[p])) {
					t.Fatalf("batch %d is at offset %d, want %d", i, ack.Base, len(want[p]))
				}
				want[p] = append(want[p], values...)
			}
			for range 2 {
				for p, values := range want {
					if got := n.all(t, "orders", p); strings.Join(got, " ") != strings.Join(values, " ") {
						t.Errorf("partition %d: %d values, want %d", p, len(got), len(values))
					}
				}
				if _, err := n.Read(t.Context(), "orders", 0, int64(len(want[0]))+1, 100); !errors.Is(err, ErrOffset) {
					t.Errorf("behind the end: %v", err)
				}
				for _, err := range []error{second(n.Append(t.Context(), "orders", 3, batchOf("x"))), second(n.Append(t.Context(), "unknown", 0, batchOf("x")))} {
					if !errors.Is(err, ErrUnknownTopic) {
						t.Errorf("an unknown partition: %v", err)
					}
				}
				must(t, n.stop())
				n = startNode(t, where.cfg, where.fsys)
			}
			must(t, n.DeleteTopic(t.Context(), "orders"))
			if _, _, err := n.Bounds("orders", 0); !errors.Is(err, ErrUnknownTopic) {
				t.Errorf("deleted: %v", err)
			}
			must(t, n.CreateTopic(t.Context(), Topic{Name: "orders", Partitions: 1}))
			if start, high, err := n.Bounds("orders", 0); start != 0 || high != 0 || err != nil {
				t.Errorf("made anew: %d to %d, %v", start, high, err)
			}
			must(t, n.stop())
		})
	}
}

func second[T any](_ T, err error) error { return err }

// An ack waits for the sync, for one and not for two.
func TestAckWaitsForTheSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = 50 * time.Millisecond
		n := startNode(t, Config{Dir: "node", SegmentBytes: 4 << 20}, vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
			if op.Kind == vfs.Datasync {
				time.Sleep(slow)
			}
			return 0, nil
		}))
		must(t, n.CreateTopic(t.Context(), Topic{Name: "t", Partitions: 1}))
		for i := range 5 {
			time.Sleep(time.Second) // until everything before it is done, the marker behind it too
			began := time.Now()
			_, err := n.Append(t.Context(), "t", 0, batchOf("x"))
			must(t, err)
			if took := time.Since(began); took != slow {
				t.Errorf("append %d took %v with a sync of %v", i, took, slow)
			}
		}
		must(t, n.stop())
	})
}

func TestLongPoll(t *testing.T) {
	cfg, fsys := memory()
	n := startNode(t, cfg, fsys)
	must(t, n.CreateTopic(t.Context(), Topic{Name: "t", Partitions: 1}))
	woken := make(chan error, 2)
	go func() { woken <- n.Wait(context.Background(), "t", 0, 0) }()
	_, err := n.Append(t.Context(), "t", 0, batchOf("x"))
	must(t, err)
	must(t, <-woken)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { woken <- n.Wait(ctx, "t", 0, 1) }()
	cancel()
	if err := <-woken; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	go func() { woken <- n.Wait(context.Background(), "t", 0, 1) }()
	must(t, n.stop())
	if err := <-woken; !errors.Is(err, ErrStopped) {
		t.Errorf("stopped: %v", err)
	}
}

// Old records are given up by age, by size of a topic and by that of the node, the oldest first; their segments come back.
func TestRetention(t *testing.T) { synctest.Test(t, retention) }

func retention(t *testing.T) {
	cfg, fsys := memory()
	cfg.RetentionEvery = time.Hour
	cfg.RetentionBytes = 600 << 10
	n := startNode(t, cfg, fsys)
	must(t, n.CreateTopic(t.Context(), Topic{Name: "small", Partitions: 1, Bytes: 40 << 10}))
	must(t, n.CreateTopic(t.Context(), Topic{Name: "young", Partitions: 1, Retention: time.Minute}))
	must(t, n.CreateTopic(t.Context(), Topic{Name: "large", Partitions: 1}))
	value := strings.Repeat("x", 10<<10)
	for range 100 {
		for _, topic := range []string{"small", "large"} {
			_, err := n.Append(t.Context(), topic, 0, batchOf(value))
			must(t, err)
		}
	}
	_, err := n.Append(t.Context(), "young", 0, batchOf(value))
	must(t, err)
	n.trim(t.Context(), time.Now())
	bounds := func(topic string) [2]int64 {
		start, high, err := n.Bounds(topic, 0)
		must(t, err)
		return [2]int64{start, high}
	}
	if b := bounds("small"); b[1] != 100 || b[1]-b[0] != 3 {
		t.Errorf("small: %v", b)
	}
	if b := bounds("young"); b != [2]int64{0, 1} {
		t.Errorf("young: %v", b)
	}
	if b := bounds("large"); b[1] != 100 || b[0] < 40 || b[0] > 50 {
		t.Errorf("large: %v", b)
	}
	if _, err := n.Read(t.Context(), "large", 0, 0, 100); !errors.Is(err, ErrOffset) {
		t.Errorf("below the start: %v", err)
	}
	if got := n.all(t, "large", 0); int64(len(got)) != 100-bounds("large")[0] {
		t.Errorf("large holds %d", len(got))
	}
	n.trim(t.Context(), time.Now().Add(2*time.Minute))
	if b := bounds("young"); b != [2]int64{1, 1} {
		t.Errorf("young, later: %v", b)
	}
	for range 2 {
		must(t, n.host.Checkpoint(t.Context()))
		synctest.Wait() // the goroutine that is told of checkpoints gives the segments back
	}
	left, err := fsys.List("node/log")
	must(t, err)
	if left[0] == "00000001.seg" {
		t.Error("no segment was given back")
	}
	must(t, n.stop())
	n = startNode(t, cfg, fsys)
	if got := n.all(t, "large", 0); len(got) == 0 || got[0] != value {
		t.Errorf("after a restart large holds %d", len(got))
	}
	must(t, n.stop())
}

// What a source appends is stored once, also when the node died between the ack and what the source remembers, and when it forgot everything.
func TestSourceSurvivesPowerCuts(t *testing.T) {
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		cfg, fsys := memory()
		var fs vfs.FS = fsys
		sent, at, epoch := 0, map[int64]int64{}, uint64(0)
		id := SourceID{7}
		for life := range 5 {
			n := startNode(t, cfg, fs)
			if life == 0 {
				must(t, n.CreateTopic(t.Context(), Topic{Name: "t", Partitions: 1}))
			}
			epoch++
			must(t, n.Fence(t.Context(), id, epoch))
			if err := n.Fence(t.Context(), id, epoch-1); !errors.Is(err, ErrFenced) {
				t.Fatalf("an older epoch: %v", err)
			}
			state, err := n.SourceState(t.Context(), id, epoch, "t", 0)
			must(t, err)
			seq := state.Seq
			for i := range 1 + rnd.IntN(30) {
				first := max(0, sent-rnd.IntN(4)) // again, as after a lost answer
				var ids []int64
				for k := range 1 + rnd.IntN(5) {
					ids = append(ids, int64(first+k))
				}
				sent = max(sent, first+len(ids))
				for len(ids) > 0 {
					seq++
					var sums []uint32
					var values []string
					for _, k := range ids {
						sums, values = append(sums, uint32(k)), append(values, fmt.Sprint(k))
					}
					ack, err := n.AppendFrom(t.Context(), Source{ID: id, Epoch: epoch, Seq: seq, Floor: -1}, "t", 0, batchOf(values...), ids, sums, false)
					var part *PartialError
					offsets := ack.Offsets
					if errors.As(err, &part) {
						offsets, err = part.Offsets, nil
					}
					must(t, err)
					var rest []int64
					for k, m := range ids {
						if offsets[k] < 0 {
							rest = append(rest, m)
							continue
						}
						if was, stored := at[m]; stored && was != offsets[k] {
							t.Fatalf("seed %d, life %d, call %d: message %d lies at %d and at %d", seed, life, i, m, was, offsets[k])
						}
						at[m] = offsets[k]
					}
					ids = rest
				}
			}
			if rnd.IntN(2) == 0 {
				must(t, n.host.Checkpoint(t.Context()))
			}
			image := fsys.(*vfs.Memory).Crash(vfs.Damage{Writes: rnd.Float64(), Names: rnd.Float64(), Grows: rnd.Float64()}, rnd)
			must(t, n.stop())
			fs, fsys = image, image
		}
		n := startNode(t, cfg, fs)
		got := n.all(t, "t", 0)
		if len(got) != sent {
			t.Errorf("seed %d: %d records, want %d: %v", seed, len(got), sent, got)
		}
		for m, offset := range at {
			if offset >= int64(len(got)) || got[offset] != fmt.Sprint(m) {
				t.Errorf("seed %d: message %d does not lie at %d", seed, m, offset)
			}
		}
		must(t, n.stop())
	}
}

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

func TestIdentity(t *testing.T) {
	fsys := vfs.NewMemory()
	must(t, fsys.MakeDir("node"))
	first, err := openIdentity(fsys, "node")
	must(t, err)
	again, err := openIdentity(fsys, "node")
	if err != nil || again != first || first.raftID() == 0 {
		t.Errorf("%v, then %v, %v", first, again, err)
	}
	b := first.encode()
	for i := range b {
		b[i] ^= 1
		if _, err := decodeIdentity(b); err == nil {
			t.Errorf("byte %d is wrong and nobody sees it", i)
		}
		b[i] ^= 1
	}
	must(t, fsys.Remove("node/identity"))
	must(t, fsys.MakeDir("node/log"))
	f, err := fsys.Create("node/log/00000001.seg")
	must(t, err)
	must(t, f.Close())
	if _, err := openIdentity(fsys, "node"); err == nil || !strings.Contains(err.Error(), "identity") {
		t.Errorf("a log without an identity: %v", err)
	}
}
