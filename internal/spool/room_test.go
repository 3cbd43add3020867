package spool

import (
	"errors"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

func TestRoom(t *testing.T) {
	c := Config{MaxBytes: 160 << 20, SegmentBytes: 16 << 20, MinFree: 1 << 30, MaxMessages: 1000}
	fine := usage{segments: 6, messages: 999, free: 2 << 30}
	for name, row := range map[string]struct {
		change        func(*usage)
		refuses, acks bool
	}{
		"fine":               {func(*usage) {}, false, false},
		"only acks fit":      {func(u *usage) { u.segments = 7 }, true, false},
		"nothing fits":       {func(u *usage) { u.segments = 8 }, true, true},
		"too many":           {func(u *usage) { u.messages = 1000 }, true, false},
		"the disk is needed": {func(u *usage) { u.free = 1 << 30 }, true, false},
	} {
		u := fine
		row.change(&u)
		if (c.refuses(u) != "") != row.refuses || (c.refusesAcks(u) != "") != row.acks {
			t.Errorf("%s: %q, acks %q", name, c.refuses(u), c.refusesAcks(u))
		}
	}
	for _, row := range []struct {
		u    usage
		want bool
	}{{usage{segments: 8, live: 1, free: 2 << 30}, true}, {usage{segments: 7, live: 1, free: 2 << 30}, false}, {usage{segments: 8, live: 1, free: 1 << 30}, false},
		{usage{segments: 100, live: 75 * 16 << 20, free: 2 << 30}, false}, {usage{segments: 100, live: 73 * 16 << 20, free: 2 << 30}, true}} {
		if got := c.rewrites(row.u); got != row.want {
			t.Errorf("%+v: rewrites %v", row.u, got)
		}
	}
	for _, bad := range []Config{{MaxBytes: 1 << 20, SegmentBytes: 1 << 18}, {SegmentBytes: 4096}} {
		if err := bad.complete(); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	small := Config{MaxBytes: 64 << 20}
	if err := small.complete(); err != nil || small.SegmentBytes != 4<<20 || small.MinFree != 1<<30 || small.MaxMessages == 0 {
		t.Errorf("%+v, %v", small, err)
	}
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
