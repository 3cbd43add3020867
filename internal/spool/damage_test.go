package spool

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

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
	for i := range 16 { // so few that nothing is written again, which leaves two copies for a while
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
	if err != nil || len(r.Damage) != 1 || r.Messages > 15 {
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
