package spool

import (
	"errors"
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

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

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
func TestPartOfABatchH1(t *testing.T) { synctest.Test(t, partOfABatch) }

func partOfABatch(t *testing.T) {
	var full atomic.Bool
	cfg := testConfig(vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
		if full.Load() && op.Kind == vfs.Create {
			return 0, syscall.ENOSPC
		}
		return 0, nil
	}))
	o := openSpool(t, cfg, owner)
	o.mustPut(t, kafkaLane, batch(100, 1, 3))
	time.Sleep(time.Second) // a spare file is made meanwhile
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
