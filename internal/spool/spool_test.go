package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

// TestMain lets a test start this binary as a second process that opens a cache.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SPOOL_TEST_OPEN"); dir != "" {
		_, _, err := Open(Config{FS: vfs.OS{}, Dir: dir}, owner)
		fmt.Print(err)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	owner = Owner{System: 7012345678901234567, Generations: []relay.Generation{{From: 1, UUID: textA}}, Epoch: 7, Claimed: 1000}
	lease = relay.Lease{Epoch: 7, Generations: owner.Generations}
)

// testConfig has files of 16 KiB, so that a few messages fill some.
func testConfig(fsys vfs.FS) Config {
	return Config{FS: fsys, Dir: "some/cache", MaxBytes: 1 << 20, SegmentBytes: 4 * vfs.Block, MinFree: 1}
}

// opened is a cache that runs.
type opened struct {
	*Spool
	found Found
	stop  func() error
}

func openSpool(t *testing.T, cfg Config, who Owner) *opened {
	t.Helper()
	s, found, err := Open(cfg, who)
	must(t, err)
	return run(t, s, found)
}

func run(t *testing.T, s *Spool, found Found) *opened {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	o := &opened{s, found, sync.OnceValue(func() error { cancel(); return <-ended })}
	t.Cleanup(func() { _ = o.stop() })
	return o
}

// newMessage is a message that its id makes.
func newMessage(id relay.ID, size int) *relay.Message {
	m := &relay.Message{ID: id, MessageID: textA + "-" + id.String(), Topic: "order.paid", Key: fmt.Sprint("k", id%7), CreatedAt: someTime.Add(time.Duration(id) * time.Second),
		Payload: bytes.Repeat([]byte{byte(id)}, size), Size: size}
	if id%3 == 0 {
		m.Headers = []relay.Header{{Name: "id", Value: id.String()}}
	}
	if id%11 == 0 {
		m.Payload, m.Size, m.Tombstone = nil, 0, true
	}
	return m
}

func batch(size int, ids ...relay.ID) (list []*relay.Message) {
	for _, id := range ids {
		list = append(list, newMessage(id, size))
	}
	return list
}

func (o *opened) mustPut(t *testing.T, lane relay.CacheLane, list []*relay.Message) {
	t.Helper()
	if n, err := o.Put(lease, lane, list); n != len(list) || err != nil {
		t.Fatalf("put: %d of %d, %v", n, len(list), err)
	}
}

// drain reads a lane to its end.
func (o *opened) drain(t *testing.T, lane relay.CacheLane) (list []*relay.Message) {
	t.Helper()
	for {
		part, err := o.Next(lane, 3, 10<<10)
		must(t, err)
		if len(part) == 0 {
			return list
		}
		list = append(list, part...)
	}
}

func idsOf(list []*relay.Message) (ids []relay.ID) {
	for _, m := range list {
		ids = append(ids, m.ID)
	}
	return ids
}

func upTo(n int) (ids []relay.ID) {
	for i := range n {
		ids = append(ids, relay.ID(i+1))
	}
	return ids
}

// What was put comes back in the order of the ids, byte for byte, before and after a restart; what was forgotten does not.
func TestPutAndNext(t *testing.T) {
	for name, cfg := range map[string]Config{"memory": testConfig(vfs.NewMemory()), "disk": {FS: vfs.OS{}, Dir: filepath.Join(t.TempDir(), "a", "b"), MinFree: 1, MaxBytes: 16 << 20}} {
		t.Run(name, func(t *testing.T) {
			o := openSpool(t, cfg, owner)
			in := batch(500, upTo(100)...)
			for part := range slices.Chunk(in[:90], 9) {
				o.mustPut(t, kafkaLane, part)
			}
			o.mustPut(t, kafkaLane, in[95:])
			o.mustPut(t, kafkaLane, in[90:95]) // a hole that was filled late
			o.mustPut(t, kafkaLane, in[50:60]) // they are there
			o.mustPut(t, noTopic, batch(20, 101, 102))
			check := func(o *opened, from int) {
				t.Helper()
				if got := o.drain(t, kafkaLane); !reflect.DeepEqual(got, in[from:]) {
					t.Errorf("read %v, want the %d messages from %d on as they were", idsOf(got), len(in)-from, from)
				}
				o.Rewind(kafkaLane)
			}
			check(o, 0)
			if first, err := o.Next(kafkaLane, 2, 1<<20); err != nil || !slices.Equal(idsOf(first), upTo(2)) {
				t.Errorf("after the rewind: %v, %v", idsOf(first), err)
			}
			o.Rewind(kafkaLane)
			o.Forget(kafkaLane, upTo(10))
			check(o, 10)
			if got := o.IDs(kafkaLane, 50, 3); !slices.Equal(got, []relay.ID{51, 52, 53}) {
				t.Errorf("ids: %v", got)
			}
			must(t, o.stop())
			if _, err := o.Put(lease, kafkaLane, in[:1]); !errors.Is(err, relay.ErrCacheClosed) {
				t.Errorf("put when it is closed: %v", err)
			}
			if _, err := o.Next(kafkaLane, 1, 1); !errors.Is(err, relay.ErrCacheClosed) {
				t.Errorf("next when it is closed: %v", err)
			}
			o = openSpool(t, cfg, owner)
			if o.found.Messages != 92 || o.found.Epoch != 7 || o.found.Claimed != 1000 || o.found.Aside != "" || o.found.Dropped+o.found.Unread != 0 {
				t.Errorf("found: %+v", o.found)
			}
			if got := o.Lanes(); !slices.Equal(got, []relay.CacheLane{kafkaLane, noTopic}) {
				t.Errorf("lanes: %v", got)
			}
			check(o, 10)
			st := o.Status()
			if len(st.Destinations) != 2 || st.Destinations[0].Messages != 90 || st.Destinations[0].Oldest != 11 || st.Destinations[1].Oldest != 101 || st.Destinations[0].Bytes < 45_000-500*10 {
				t.Errorf("status: %+v", st)
			}
		})
	}
}

// What is there already, and what was never there, takes no room.
func TestNothingIsWrittenTwice(t *testing.T) {
	cfg := testConfig(vfs.NewMemory())
	o := openSpool(t, cfg, owner)
	o.mustPut(t, kafkaLane, batch(500, 1, 3, 5))
	for range 1000 {
		o.mustPut(t, kafkaLane, batch(500, 1, 3, 5))
		o.Forget(kafkaLane, []relay.ID{2, 4, 6})
		o.Forget(noTopic, []relay.ID{1})
	}
	if n := o.Status().DiskBytes; n != cfg.SegmentBytes {
		t.Errorf("%d bytes", n)
	}
	o.mustPut(t, kafkaLane, batch(500, 1, 2, 3, 4, 5, 6))
	if got := o.drain(t, kafkaLane); !slices.Equal(idsOf(got), upTo(6)) {
		t.Errorf("%v", idsOf(got))
	}
	full := batch(3000, 1, 7, 3, 8)
	cfg.FS.(*vfs.Memory).SetFree(0)
	if n, err := o.Put(lease, kafkaLane, full); n != 0 || !errors.Is(err, relay.ErrCacheFull) {
		t.Errorf("%d, %v", n, err)
	}
}

// When the disk has no room for the rest of a batch, the first of it are stored, and Put says how many.
func TestPartOfABatchH1(t *testing.T) {
	var full atomic.Bool
	cfg := testConfig(vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
		if full.Load() && op.Kind == vfs.Create {
			return 0, syscall.ENOSPC
		}
		return 0, nil
	}))
	o := openSpool(t, cfg, owner)
	o.mustPut(t, kafkaLane, batch(100, 1, 3))
	full.Store(true)
	n, err := o.Put(lease, kafkaLane, batch(3000, upTo(60)...))
	if !errors.Is(err, relay.ErrCacheFull) || n < 3 || n >= 60 {
		t.Fatalf("%d, %v", n, err)
	}
	if got := o.drain(t, kafkaLane); !slices.Equal(idsOf(got), upTo(n)) {
		t.Errorf("%d are stored, there are %v", n, idsOf(got))
	}
}

// Acks outlive a restart, of cached messages and of others, until they are settled; what was acked is not handed out again.
func TestAcks(t *testing.T) {
	cfg := testConfig(vfs.NewMemory())
	o := openSpool(t, cfg, owner)
	o.mustPut(t, kafkaLane, batch(100, upTo(10)...))
	acks := []relay.CachedAck{{ID: 1, At: relay.Position{Offset: 41, HasOffset: true}, AckedAt: someTime}, {ID: 2, At: relay.Position{}, AckedAt: someTime}, {ID: 500, AckedAt: someTime}}
	must(t, o.Acked(lease, kafkaLane, acks))
	o.mustPut(t, kafkaLane, batch(100, 1)) // read again from the table: it is acked
	for i := range acks {
		acks[i].Epoch = 7
	}
	for range 2 {
		got, err := o.Unsettled(kafkaLane, 0, 100)
		if err != nil || !reflect.DeepEqual(got, acks) {
			t.Errorf("unsettled: %+v, %v", got, err)
		}
		if got, err := o.Unsettled(kafkaLane, 1, 1); err != nil || len(got) != 1 || got[0].ID != 2 {
			t.Errorf("above 1: %+v, %v", got, err)
		}
		if got := o.drain(t, kafkaLane); !slices.Equal(idsOf(got), []relay.ID{3, 4, 5, 6, 7, 8, 9, 10}) {
			t.Errorf("still to be sent: %v", idsOf(got))
		}
		must(t, o.stop())
		o = openSpool(t, cfg, owner)
	}
	o.Forget(kafkaLane, []relay.ID{500, 1})
	must(t, o.stop())
	o = openSpool(t, cfg, owner)
	if got, err := o.Unsettled(kafkaLane, 0, 100); err != nil || len(got) != 1 || got[0].ID != 2 {
		t.Errorf("after two were settled: %+v, %v", got, err)
	}
}

// One sync serves the lanes that put at once.
func TestLanesShareSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int64
		cfg := testConfig(vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
			if op.Kind == vfs.Datasync && strings.HasSuffix(op.Name, ".seg") {
				syncs.Add(1)
				time.Sleep(2 * time.Millisecond)
			}
			return 0, nil
		}))
		cfg.SegmentBytes, cfg.MaxBytes = 1<<20, 64<<20
		o := openSpool(t, cfg, owner)
		syncs.Store(0)
		var wg sync.WaitGroup
		for lane := range 40 {
			wg.Go(func() {
				name := relay.CacheLane{Destination: "d", Lane: relay.Lane{Index: int32(lane)}}
				for i := range 20 {
					o.mustPut(t, name, batch(50, relay.ID(1000*lane+i+1)))
				}
			})
		}
		wg.Wait()
		if n := syncs.Load(); n > 200 {
			t.Errorf("800 puts of 40 lanes took %d syncs", n)
		}
	})
}

// A full cache refuses and keeps what it has; room comes back when that is settled. DC3
func TestFullH1(t *testing.T) {
	for name, fill := range map[string]struct {
		change func(*Config)
		clear  func(*Config) // what a person does; nil = settling is enough
	}{
		"bytes":      {func(c *Config) { c.MaxBytes = 10 * c.SegmentBytes }, nil},
		"messages":   {func(c *Config) { c.MaxMessages = 10 }, nil},
		"free space": {func(c *Config) { c.FS.(*vfs.Memory).SetFree(c.MinFree) }, func(c *Config) { c.FS.(*vfs.Memory).SetFree(1 << 40) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := testConfig(vfs.NewMemory())
				fill.change(&cfg)
				o := openSpool(t, cfg, owner)
				stored := 0
				for {
					n, err := o.Put(lease, kafkaLane, batch(3000, relay.ID(stored+1)))
					if err != nil {
						if !errors.Is(err, relay.ErrCacheFull) || n != 0 {
							t.Fatalf("put: %d, %v", n, err)
						}
						break
					}
					if stored++; stored > 1000 {
						t.Fatal("never full")
					}
				}
				if st := o.Status(); len(st.Destinations) != 1 || st.Destinations[0].FullAt.IsZero() || st.DiskBytes+reserved*cfg.SegmentBytes > cfg.MaxBytes+cfg.SegmentBytes {
					t.Errorf("status: %+v", st)
				}
				if err := o.Acked(lease, noTopic, []relay.CachedAck{{ID: 5000}}); err != nil {
					t.Errorf("an ack into a cache that is full of messages: %v", err)
				}
				if got := o.drain(t, kafkaLane); !slices.Equal(idsOf(got), upTo(stored)) {
					t.Errorf("of %d stored there are %v", stored, idsOf(got))
				}
				o.Forget(kafkaLane, upTo(stored))
				if fill.clear != nil {
					fill.clear(&cfg)
				}
				synctest.Wait() // room is made
				o.mustPut(t, kafkaLane, batch(3000, 2000))
				if st := o.Status(); !st.Destinations[0].FullAt.IsZero() {
					t.Errorf("still full: %+v", st)
				}
			})
		})
	}
}

// One destination that is down does not keep the room of what comes and goes behind it.
func TestOldMessagesMoveAlong(t *testing.T) { synctest.Test(t, oldMessagesMoveAlong) }

func oldMessagesMoveAlong(t *testing.T) {
	cfg := testConfig(vfs.NewMemory())
	cfg.MaxBytes = 20 * cfg.SegmentBytes
	o := openSpool(t, cfg, owner)
	o.mustPut(t, noTopic, batch(100, 1, 2, 3))
	must(t, o.Acked(lease, noTopic, []relay.CachedAck{{ID: 9, AckedAt: someTime}}))
	for i := range 200 {
		id := relay.ID(100 + i)
		o.mustPut(t, kafkaLane, batch(5000, id))
		o.Forget(kafkaLane, []relay.ID{id})
		synctest.Wait() // room is made
	}
	check := func() {
		t.Helper()
		if got := o.drain(t, noTopic); !slices.Equal(idsOf(got), []relay.ID{1, 2, 3}) || !reflect.DeepEqual(got[0], newMessage(1, 100)) {
			t.Errorf("messages: %v", idsOf(got))
		}
		if acks, err := o.Unsettled(noTopic, 0, 9); err != nil || len(acks) != 1 || acks[0].ID != 9 || !acks[0].AckedAt.Equal(someTime) {
			t.Errorf("acks: %v, %v", acks, err)
		}
	}
	check()
	for range 30 { // each start begins a file
		must(t, o.stop())
		o = openSpool(t, cfg, owner)
	}
	check()
	synctest.Wait()
	if n := o.Status().DiskBytes; n > 8*cfg.SegmentBytes {
		t.Errorf("%d bytes are left", n)
	}
}

// A message that is forgotten while it is written again does not come back with the copy, nor does its ack.
func TestForgottenWhileItMoves(t *testing.T) {
	cfg := testConfig(vfs.NewMemory())
	o := openSpool(t, cfg, owner)
	o.mustPut(t, kafkaLane, batch(100, 1, 2, 3))
	must(t, o.Acked(lease, kafkaLane, []relay.CachedAck{{ID: 9}}))
	o.mu.Lock()
	list := o.index.inSegment(o.first)
	o.mu.Unlock()
	if len(list) != 4 {
		t.Fatalf("%d things in the first segment", len(list))
	}
	o.Forget(kafkaLane, []relay.ID{2, 9})
	must(t, o.Acked(lease, kafkaLane, []relay.CachedAck{{ID: 3}}))
	must(t, o.rewrite(list))
	for range 2 {
		acks, err := o.Unsettled(kafkaLane, 0, 9)
		if got := o.drain(t, kafkaLane); err != nil || !slices.Equal(idsOf(got), upTo(1)) || len(acks) != 1 || acks[0].ID != 3 {
			t.Errorf("messages %v, acks %v, %v", idsOf(got), acks, err)
		}
		must(t, o.stop())
		o = openSpool(t, cfg, owner)
	}
}

// What was written under another generation than the one that counts for its id now is dropped, and its id can be put again. DC7
func TestGenerationsH8(t *testing.T) {
	cfg := testConfig(vfs.NewMemory())
	o := openSpool(t, cfg, owner)
	o.mustPut(t, kafkaLane, batch(50, upTo(10)...))
	must(t, o.Acked(lease, kafkaLane, []relay.CachedAck{{ID: 4}, {ID: 9}}))
	failedOver := []relay.Generation{{From: 1, UUID: textA}, {From: 6, UUID: textB}} // claimed was 5
	again := relay.Lease{Epoch: 8, Generations: failedOver}
	o.drain(t, kafkaLane)
	if dropped, err := o.Recheck(failedOver); dropped != 5 || err != nil {
		t.Errorf("dropped %d, %v", dropped, err)
	}
	check := func(o *opened) {
		t.Helper()
		got := o.drain(t, kafkaLane)
		if !slices.Equal(idsOf(got), []relay.ID{1, 2, 3, 5, 7}) || string(got[4].Payload) != "another message" {
			t.Errorf("left: %v", idsOf(got))
		}
		acks, err := o.Unsettled(kafkaLane, 0, 10)
		if err != nil || len(acks) != 1 || acks[0].ID != 4 {
			t.Errorf("acks: %v, %v", acks, err)
		}
	}
	redrawn := newMessage(7, 0)
	redrawn.Payload, redrawn.Size = []byte("another message"), 15
	if _, err := o.Put(again, kafkaLane, []*relay.Message{redrawn}); err != nil {
		t.Error(err)
	}
	// What a part of the engine still brings of the lost tail counts for nothing.
	if _, err := o.Put(lease, kafkaLane, batch(50, 8)); err != nil {
		t.Error(err)
	}
	must(t, o.Acked(lease, kafkaLane, []relay.CachedAck{{ID: 7}}))
	check(o)
	if st := o.Status(); st.Dropped != 7 {
		t.Errorf("%d dropped, want 7", st.Dropped)
	}
	must(t, o.stop())
	o = openSpool(t, cfg, Owner{System: owner.System, Generations: failedOver, Epoch: 8, Claimed: 5})
	if o.found.Aside != "" || o.found.Claimed != 1000 || o.found.Epoch != 7 || o.found.Dropped == 0 {
		t.Errorf("found: %+v", o.found)
	}
	check(o)
	if _, err := o.Recheck([]relay.Generation{{From: 1, UUID: textB[:35] + "c"}}); !errors.Is(err, relay.ErrCacheClosed) {
		t.Errorf("a database that does not know the outbox: %v", err)
	}
	if err := o.stop(); err == nil {
		t.Error("it goes on for an outbox that it is not of")
	}
}

// The folder of another outbox is set aside whole, never deleted. DC7
func TestSetAsideH8(t *testing.T) {
	unknown := []relay.Generation{{From: 1, UUID: textB}}
	for name, c := range map[string]struct {
		who    Owner
		change func(t *testing.T, fsys vfs.FS)
	}{
		"another server":   {Owner{System: 1, Generations: owner.Generations}, nil},
		"another outbox":   {Owner{System: owner.System, Generations: unknown}, nil},
		"identity missing": {owner, func(t *testing.T, fsys vfs.FS) { must(t, fsys.Remove("some/cache/queue/identity")) }},
		"identity damaged": {owner, func(t *testing.T, fsys vfs.FS) { flip(t, fsys, "some/cache/queue/identity", 20) }},
		"another log": {owner, func(t *testing.T, fsys vfs.FS) {
			id, err := readIdentity(fsys, "some/cache/queue")
			must(t, err)
			id.log[0]++
			must(t, id.write(fsys, "some/cache/queue"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			m := vfs.NewMemory()
			cfg := testConfig(m)
			o := openSpool(t, cfg, owner)
			o.mustPut(t, kafkaLane, batch(50, 1, 2))
			must(t, o.stop())
			if c.change != nil {
				c.change(t, m)
			}
			for n := range 2 {
				o = openSpool(t, cfg, c.who)
				if n == 0 && (o.found.Aside == "" || o.found.Why == nil) || n == 1 && o.found.Aside != "" || o.found.Messages != 0 || len(o.Lanes()) != 0 {
					t.Fatalf("opening %d: %+v", n, o.found)
				}
				must(t, o.stop())
			}
			names, err := m.List("some/cache")
			must(t, err)
			if i := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, asidePre) }); i < 0 {
				t.Fatalf("there is %v", names)
			} else if kept, err := m.List(path.Join("some/cache", names[i], "log")); err != nil || len(kept) == 0 {
				t.Errorf("set aside: %v, %v", kept, err)
			}
		})
	}
}

// A disk that is full for everything refuses, and what is in the cache stays readable.
func TestDiskFullForEverythingH1(t *testing.T) { synctest.Test(t, diskFullForEverything) }

func diskFullForEverything(t *testing.T) {
	var nothing atomic.Bool
	cfg := testConfig(vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
		if nothing.Load() && (op.Kind == vfs.Create || op.Kind == vfs.Rename || op.Kind == vfs.SyncDir) {
			return 0, syscall.ENOSPC
		}
		return 0, nil
	}))
	o := openSpool(t, cfg, owner)
	nothing.Store(true)
	stored := 0
	for {
		if _, err := o.Put(lease, kafkaLane, batch(3000, relay.ID(stored+1))); err != nil {
			if !errors.Is(err, relay.ErrCacheFull) || !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("put: %v", err)
			}
			break
		}
		stored++
	}
	if err := o.Remember(9, 9000); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("remember: %v", err)
	}
	if _, err := o.Recheck([]relay.Generation{{From: 1, UUID: textA}, {From: 1000, UUID: textB}}); err != nil {
		t.Errorf("recheck: %v", err)
	}
	if got := o.drain(t, kafkaLane); !slices.Equal(idsOf(got), upTo(stored)) || stored == 0 {
		t.Errorf("%d were stored, there are %v", stored, idsOf(got))
	}
	o.Forget(kafkaLane, upTo(stored))
	if st := o.Status(); st.Closed != nil || len(st.Destinations) != 0 {
		t.Errorf("%+v", st)
	}
	nothing.Store(false)
	o.mustPut(t, kafkaLane, batch(3000, 100))
	must(t, o.Remember(9, 9000))
}

func TestRemember(t *testing.T) {
	cfg := testConfig(vfs.NewMemory())
	o := openSpool(t, cfg, owner)
	must(t, o.Remember(9, 5000))
	must(t, o.Remember(8, 4000))
	must(t, o.stop())
	o = openSpool(t, cfg, owner)
	if o.found.Epoch != 9 || o.found.Claimed != 5000 {
		t.Errorf("%+v", o.found)
	}
}

// A newer format is refused and left as it is. DC13
func TestNewerFormatH11(t *testing.T) {
	m := vfs.NewMemory()
	cfg := testConfig(m)
	o := openSpool(t, cfg, owner)
	o.mustPut(t, kafkaLane, batch(50, 1))
	must(t, o.stop())
	for _, at := range []struct {
		name string
		byte int64
	}{{"queue/identity", 4}, {"queue/log/00000001.seg", 4}} {
		name := path.Join(cfg.Dir, at.name)
		add(t, m, name, at.byte, 1)
		if _, _, err := Open(cfg, owner); !errors.Is(err, commitlog.ErrVersion) {
			t.Errorf("%s of format 2: %v", at.name, err)
		}
		if _, err := Inspect(m, cfg.Dir); !errors.Is(err, commitlog.ErrVersion) {
			t.Errorf("inspect %s of format 2: %v", at.name, err)
		}
		add(t, m, name, at.byte, -1)
	}
	if o = openSpool(t, cfg, owner); o.found.Messages != 1 || o.found.Aside != "" {
		t.Errorf("after that: %+v", o.found)
	}
}

func add(t *testing.T, fsys vfs.FS, name string, at int64, n int) {
	t.Helper()
	f, err := fsys.Open(name)
	must(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	b[0] += byte(n)
	_, err = f.WriteAt(b, at)
	must(t, errors.Join(err, f.Datasync(), f.Close()))
}

func flip(t *testing.T, fsys vfs.FS, name string, at int64) { t.Helper(); add(t, fsys, name, at, 1) }

// Damage costs the cache its messages, but no ack that can be read. DC12
func TestDamageH5(t *testing.T) {
	m := vfs.NewMemory()
	cfg := testConfig(m)
	o := openSpool(t, cfg, owner)
	for i := range 20 {
		o.mustPut(t, kafkaLane, batch(3000, relay.ID(i+1)))
	}
	must(t, o.Acked(lease, noTopic, []relay.CachedAck{{ID: 100}, {ID: 101}}))
	o.Forget(noTopic, []relay.ID{101})
	o.mustPut(t, noTopic, batch(10, 200))
	must(t, o.stop())
	kept := place(0)
	for _, e := range o.index.lanes[kafkaLane].entries {
		if e.id == 5 {
			kept = e.message
		}
	}
	flip(t, m, path.Join(cfg.Dir, "queue/log", fmt.Sprintf("%08d.seg", kept.segment())), kept.position().At+100)
	r, err := Verify(m, cfg.Dir)
	if err != nil || len(r.Damage) != 1 || r.Messages > 19 {
		t.Errorf("verify: %+v, %v", r, err)
	}
	o = openSpool(t, cfg, owner)
	if o.found.Damage == nil || o.found.Damage.Segment != kept.segment() || o.found.Messages != 0 || o.found.Acks != 1 || o.found.Left < 10 || o.found.Quarantine == "" {
		t.Errorf("found: %+v", o.found)
	}
	if got := o.Lanes(); !slices.Equal(got, []relay.CacheLane{noTopic}) {
		t.Errorf("left: %v", got)
	}
	if acks, err := o.Unsettled(noTopic, 0, 10); err != nil || len(acks) != 1 || acks[0].ID != 100 {
		t.Errorf("acks: %v, %v", acks, err)
	}
	if len(o.IDs(noTopic, 0, 10)) != 0 {
		t.Error("a message behind the damage is still there")
	}
	o.mustPut(t, kafkaLane, batch(3000, upTo(5)...))
	must(t, o.stop())
	if r, err := Verify(m, cfg.Dir); err != nil || len(r.Damage) != 0 || len(r.Damaged) != 1 || !r.Clean || r.Messages != 5 {
		t.Errorf("verify afterwards: %+v, %v", r, err)
	}
}

// A message that rots while the cache is open ends its lane there; the other lanes go on. H2: the same when the disk does not give it.
func TestUnreadableMessageH2H5(t *testing.T) {
	for name, failing := range map[string]bool{"rot": false, "EIO": true} {
		t.Run(name, func(t *testing.T) {
			m := vfs.NewMemory()
			var bad atomic.Int64
			cfg := testConfig(vfs.Inject(m, func(op vfs.Op) (int, error) {
				if at := bad.Load(); at != 0 && op.Kind == vfs.Read && op.Offset == at {
					return 0, syscall.EIO
				}
				return 0, nil
			}))
			cfg.SegmentBytes, cfg.MaxBytes = 1<<20, 20<<20
			o := openSpool(t, cfg, owner)
			o.mustPut(t, kafkaLane, batch(300, upTo(10)...))
			o.mustPut(t, noTopic, batch(300, 100))
			p := o.index.lanes[kafkaLane].entries[3].message.position()
			if failing {
				bad.Store(p.At)
			} else {
				flip(t, m, path.Join(cfg.Dir, "queue/log/00000001.seg"), p.At+100)
			}
			got, err := o.Next(kafkaLane, 100, 1<<20)
			var damaged *relay.CacheDamageError
			if !errors.As(err, &damaged) || damaged.From != 4 || damaged.Lane != kafkaLane || !slices.Equal(idsOf(got), upTo(3)) {
				t.Errorf("%v, %v", idsOf(got), err)
			}
			if got := o.drain(t, kafkaLane); len(got) != 0 {
				t.Errorf("behind it: %v", idsOf(got))
			}
			if got := o.drain(t, noTopic); len(got) != 1 {
				t.Errorf("the other lane: %v", idsOf(got))
			}
			if st := o.Status(); st.Damaged != 7 || st.Closed != nil {
				t.Errorf("%+v", st)
			}
		})
	}
}

// A second process is kept out; so is a second opening by the same one. DC9
func TestTwoProcessesH9(t *testing.T) {
	cfg := Config{FS: vfs.OS{}, Dir: filepath.Join(t.TempDir(), "cache"), MaxBytes: 16 << 20, MinFree: 1}
	o := openSpool(t, cfg, owner)
	if _, _, err := Open(cfg, owner); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("the same process: %v", err)
	}
	exe, err := os.Executable()
	must(t, err)
	other := exec.Command(exe)
	other.Env = append(os.Environ(), "SPOOL_TEST_OPEN="+cfg.Dir)
	out, err := other.Output()
	if err != nil || !strings.Contains(string(out), vfs.ErrLocked.Error()) {
		t.Errorf("another process: %q, %v", out, err)
	}
	if _, err := Inspect(cfg.FS, cfg.Dir); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("inspect: %v", err)
	}
	if _, err := Remove(cfg.Dir, true); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("remove: %v", err)
	}
	o.mustPut(t, kafkaLane, batch(10, 1))
	must(t, o.stop())
	out, err = exec.Command("/bin/sh", "-c", "SPOOL_TEST_OPEN="+cfg.Dir+" "+exe).Output()
	if err != nil || string(out) != "<nil>" {
		t.Errorf("another process after the first: %q, %v", out, err)
	}
}

// Whoever removes the folder of a running cache gets no panic and loses no more than the cache. DC9
func TestFolderRemovedH9(t *testing.T) {
	for _, after := range []int{0, 3, 50} {
		cfg := Config{FS: vfs.OS{}, Dir: filepath.Join(t.TempDir(), "cache"), MaxBytes: 16 << 20, SegmentBytes: 64 << 10, MinFree: 1}
		o := openSpool(t, cfg, owner)
		for i := range after {
			o.mustPut(t, kafkaLane, batch(3000, relay.ID(i+1)))
		}
		var wg sync.WaitGroup
		for lane := range 3 {
			wg.Go(func() {
				name := relay.CacheLane{Destination: "d", Lane: relay.Lane{Index: int32(lane)}}
				for i := 1; ; i++ {
					_, err := o.Put(lease, name, batch(2000, relay.ID(i)))
					_, errNext := o.Next(name, 5, 1<<20)
					errAck := o.Acked(lease, name, []relay.CachedAck{{ID: relay.ID(i)}})
					o.Forget(name, []relay.ID{relay.ID(i)})
					if errors.Is(err, relay.ErrCacheClosed) && errors.Is(errNext, relay.ErrCacheClosed) && errors.Is(errAck, relay.ErrCacheClosed) {
						return
					}
				}
			})
		}
		for err := os.RemoveAll(cfg.Dir); err != nil; err = os.RemoveAll(cfg.Dir) {
			if !errors.Is(err, syscall.ENOTEMPTY) { // the cache makes files in it until it notices
				t.Fatal(err)
			}
		}
		wg.Wait()
		if _, err := o.Put(lease, kafkaLane, batch(10, 900)); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "its folder was removed") {
			t.Errorf("put: %v", err)
		}
		if err := o.stop(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("run: %v", err)
		}
		if o = openSpool(t, cfg, owner); o.found.Messages+o.found.Acks != 0 {
			t.Errorf("%+v", o.found)
		}
		o.mustPut(t, kafkaLane, batch(10, 1))
		must(t, o.stop())
	}
}

// Nobody else may read what is in the cache, whatever the umask; names tell nothing; files that do not belong there do no harm. DC13
func TestPermissionsH13(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	cfg := Config{FS: vfs.OS{}, Dir: filepath.Join(t.TempDir(), "new", "cache"), MaxBytes: 16 << 20, SegmentBytes: 64 << 10, MinFree: 1}
	lane := relay.CacheLane{Destination: "../../evil\x00name", Lane: relay.Lane{Topic: "/etc/passwd"}}
	o := openSpool(t, cfg, owner)
	for i := range 50 {
		o.mustPut(t, lane, batch(3000, relay.ID(i+1)))
	}
	must(t, o.stop())
	for _, name := range []string{"queue/log/../../00000000.seg", "queue/log/junk", "queue/log/-1.seg", "queue/log/99999999999999999999.seg", "queue/spare/..x", "queue/identity.new", "aside-"} {
		must(t, os.WriteFile(filepath.Join(cfg.Dir, name), []byte("junk"), 0o600))
	}
	o = openSpool(t, cfg, owner)
	if got := o.drain(t, lane); len(got) != 50 {
		t.Errorf("%d messages", len(got))
	}
	must(t, o.stop())
	seen := 0
	must(t, filepath.WalkDir(filepath.Dir(cfg.Dir), func(name string, e fs.DirEntry, err error) error {
		must(t, err)
		info, err := e.Info()
		must(t, err)
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
		if strings.Contains(name, "evil") {
			t.Errorf("a destination names a file: %s", name)
		}
		seen++
		return nil
	}))
	if seen < 10 {
		t.Errorf("only %d files were seen", seen)
	}
}

// A sync that failed is final: nothing is taken any more, although the next sync would succeed. DC10
func TestSyncErrorH3(t *testing.T) {
	var failing atomic.Bool
	m := vfs.NewMemory()
	cfg := testConfig(vfs.Inject(m, func(op vfs.Op) (int, error) {
		if op.Kind == vfs.Datasync && strings.HasSuffix(op.Name, ".seg") && failing.CompareAndSwap(true, false) {
			return 0, syscall.EIO
		}
		return 0, nil
	}))
	o := openSpool(t, cfg, owner)
	o.mustPut(t, kafkaLane, batch(10, 1))
	failing.Store(true)
	if _, err := o.Put(lease, kafkaLane, batch(10, 2)); !errors.Is(err, relay.ErrCacheClosed) || !errors.Is(err, syscall.EIO) {
		t.Errorf("put: %v", err)
	}
	for range 3 {
		if _, err := o.Put(lease, kafkaLane, batch(10, 3)); !errors.Is(err, relay.ErrCacheClosed) || !errors.Is(err, syscall.EIO) {
			t.Errorf("put after it: %v", err)
		}
	}
	if err := o.Acked(lease, kafkaLane, []relay.CachedAck{{ID: 1}}); !errors.Is(err, relay.ErrCacheClosed) {
		t.Errorf("an ack: %v", err)
	}
	if err := o.stop(); !errors.Is(err, syscall.EIO) {
		t.Errorf("run: %v", err)
	}
	if st := o.Status(); !errors.Is(st.Closed, syscall.EIO) {
		t.Errorf("%+v", st)
	}
	cfg.FS = m.Crash(vfs.Damage{}, newRand(1))
	o = openSpool(t, cfg, owner)
	if got := o.drain(t, kafkaLane); !slices.Equal(idsOf(got), upTo(1)) {
		t.Errorf("after a power cut: %v", idsOf(got))
	}
}
