package spool

import (
	"slices"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

func TestContract(t *testing.T) {
	relaytest.TestCache(t, func(t *testing.T, room int) relay.Cache {
		cfg := testConfig(vfs.NewMemory())
		if room > 0 {
			cfg.MaxMessages = room
		}
		return openSpool(t, cfg, owner)
	})
}

// An ownership that begins finds no message, and the acks of the one before. A cache that is closed gives its lanes back all the same.
func TestOwnershipBegins(t *testing.T) {
	cfg := testConfig(vfs.NewMemory())
	o := openSpool(t, cfg, owner)
	o.mustPut(t, kafkaLane, batch(100, 1, 2, 3))
	must(t, o.Acked(lease, kafkaLane, []relay.CachedAck{{ID: 2, AckedAt: someTime}}))
	for range 2 {
		if _, err := o.Begin(owner.Generations); err != nil {
			t.Fatal(err)
		}
		if got := o.drain(t, kafkaLane); len(got) != 0 {
			t.Errorf("messages: %v", idsOf(got))
		}
		if acks, err := o.Unsettled(kafkaLane, 0, 10); err != nil || len(acks) != 1 || acks[0].ID != 2 {
			t.Errorf("acks: %v, %v", acks, err)
		}
		must(t, o.stop())
		o = openSpool(t, cfg, owner)
	}
	o.mustPut(t, kafkaLane, batch(100, 4, 5))
	must(t, o.stop())
	if low := o.Drop(kafkaLane); low != 4 || o.Has(kafkaLane, 5) {
		t.Errorf("dropped from %d on", low)
	}
	if got := o.IDs(kafkaLane, 0, 10); !slices.Equal(got, nil) {
		t.Errorf("left: %v", got)
	}
}
