package spool

import (
	"reflect"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

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
