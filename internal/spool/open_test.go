package spool

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

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
	must(t, o.Remember(8, 5)) // less than was claimed in the generation before
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
	if o.found.Aside != "" || o.found.Claimed != 5 || o.found.Epoch != 8 || o.found.Dropped == 0 {
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

// What a folder remembers is read without opening it, under the name of the generation that it counts for: a new one begins anew, also in a folder that was left by the
// one before.
func TestRecallF16(t *testing.T) {
	cfg := testConfig(vfs.NewMemory())
	recalls := func(when string, want relay.Known) {
		t.Helper()
		if r, err := Recall(cfg.FS, cfg.Dir); err != nil || r != want {
			t.Errorf("%s: %+v, %v, want %+v", when, r, err, want)
		}
	}
	recalls("no folder", relay.Known{})
	o := openSpool(t, cfg, owner)
	must(t, o.Remember(9, 5000))
	recalls("in use", relay.Known{System: owner.System, Outbox: textA, Epoch: 9, Claimed: 5000})
	must(t, o.stop())
	later := Owner{System: owner.System, Generations: []relay.Generation{{From: 1, UUID: textA}, {From: 6, UUID: textB}}, Epoch: 1_000_009, Claimed: 5}
	o = openSpool(t, cfg, later)
	recalls("of a new generation", relay.Known{System: owner.System, Outbox: textB, Epoch: 1_000_009, Claimed: 5})
	must(t, o.stop())
	flip(t, cfg.FS, path.Join(cfg.Dir, "queue/identity"), 20)
	recalls("damaged", relay.Known{})
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
