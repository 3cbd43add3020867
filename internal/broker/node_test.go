package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
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

// J13: nobody reads what a power cut could still take away, whoever asks and however.
func TestReadersWaitForTheSync_J13(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = 50 * time.Millisecond
		n := startNode(t, Config{Dir: "node", SegmentBytes: 4 << 20}, vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
			if op.Kind == vfs.Datasync {
				time.Sleep(slow)
			}
			return 0, nil
		}))
		must(t, n.CreateTopic(t.Context(), Topic{Name: "t", Partitions: 1}))
		for at := range int64(5) {
			time.Sleep(time.Second) // until everything before it is done, the marker behind it too
			appended := make(chan error, 1)
			began := time.Now()
			go func() {
				_, err := n.Append(t.Context(), "t", 0, batchOf("x"))
				appended <- err
			}()
			time.Sleep(slow - time.Millisecond)
			_, high, err := n.Bounds("t", 0)
			must(t, err)
			batches, err := n.Read(t.Context(), "t", 0, at, 1<<20)
			must(t, err)
			if high != at || len(batches) != 0 {
				t.Errorf("before the sync of record %d the end is %d, and %d batches are read", at, high, len(batches))
			}
			must(t, n.Wait(t.Context(), Point{"t", 0, at}))
			if took := time.Since(began); took != slow {
				t.Errorf("record %d was there after %v with a sync of %v", at, took, slow)
			}
			if batches, err = n.Read(t.Context(), "t", 0, at, 1<<20); err != nil || len(batches) != 1 {
				t.Errorf("record %d: %d batches, %v", at, len(batches), err)
			}
			must(t, <-appended)
		}
		must(t, n.stop())
	})
}

func TestLongPoll(t *testing.T) {
	cfg, fsys := memory()
	n := startNode(t, cfg, fsys)
	must(t, n.CreateTopic(t.Context(), Topic{Name: "t", Partitions: 1}))
	woken := make(chan error, 2)
	go func() { woken <- n.Wait(context.Background(), Point{"t", 0, 0}) }()
	_, err := n.Append(t.Context(), "t", 0, batchOf("x"))
	must(t, err)
	must(t, <-woken)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { woken <- n.Wait(ctx, Point{"t", 0, 1}) }()
	cancel()
	if err := <-woken; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	go func() { woken <- n.Wait(context.Background(), Point{"t", 0, 1}) }()
	must(t, n.stop())
	if err := <-woken; !errors.Is(err, ErrStopped) {
		t.Errorf("stopped: %v", err)
	}
}
