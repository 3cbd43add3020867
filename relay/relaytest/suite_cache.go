package relaytest

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// TestCache holds a relay.Cache to the contract of the port. open makes an empty one that works until the test ends; with room for about so many messages of
// 1,000 bytes when room is not 0.
func TestCache(t *testing.T, open func(t *testing.T, room int) relay.Cache) {
	for name, run := range cacheCases {
		t.Run(name, func(t *testing.T) {
			room := 0
			if strings.HasPrefix(name, "full") {
				room = 20
			}
			run(&cacheCase{t: t, Cache: open(t, room)})
		})
	}
}

type cacheCase struct {
	t *testing.T
	relay.Cache
}

var (
	cacheLease = relay.Lease{Epoch: 7, Generations: []relay.Generation{{From: 1, UUID: "3f2a8c1e-5b7d-4e9f-8a6c-1d2e3f4a5b6c"}}}
	laneA      = relay.CacheLane{Destination: "kafka", Lane: relay.Lane{Topic: "orders", Index: 1}}
	laneB      = relay.CacheLane{Destination: "kafka", Lane: relay.Lane{Topic: "orders", Index: 2}}
	ackedAt    = time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)
)

func cacheMessages(size int, ids ...relay.ID) (list []*relay.Message) {
	for _, id := range ids {
		list = append(list, &relay.Message{ID: id, MessageID: id.String(), Topic: "orders", Key: "k", Headers: []relay.Header{{Name: "a", Value: "b"}},
			CreatedAt: ackedAt, Payload: []byte(strings.Repeat("x", size)), Size: size})
	}
	return list
}

func (c *cacheCase) put(lane relay.CacheLane, size int, ids ...relay.ID) {
	c.t.Helper()
	if n, err := c.Put(cacheLease, lane, cacheMessages(size, ids...)); err != nil || n != len(ids) {
		c.t.Fatalf("put %v: %d, %v", ids, n, err)
	}
}

func (c *cacheCase) next(lane relay.CacheLane, most int) (ids []relay.ID) {
	c.t.Helper()
	got, err := c.Next(lane, most, 1<<20)
	if err != nil {
		c.t.Fatalf("next: %v", err)
	}
	for _, m := range got {
		ids = append(ids, m.ID)
	}
	return ids
}

func (c *cacheCase) equal(what string, got, want any) {
	c.t.Helper()
	if !reflect.DeepEqual(got, want) {
		c.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (c *cacheCase) has(lane relay.CacheLane, ids ...relay.ID) (there []relay.ID) {
	for _, id := range ids {
		if c.Has(lane, id) {
			there = append(there, id)
		}
	}
	return there
}

var cacheCases = map[string]func(*cacheCase){
	"handed out in the order of the ids, as read": func(c *cacheCase) {
		c.put(laneA, 10, 3, 5, 9)
		c.put(laneA, 10, 4) // came late
		c.put(laneB, 10, 6)
		got, err := c.Next(laneA, 2, 1<<20)
		if err != nil || !reflect.DeepEqual(got, cacheMessages(10, 3, 4)) {
			c.t.Errorf("%v, %v", got, err)
		}
		c.equal("rest", c.next(laneA, 10), []relay.ID{5, 9})
		c.equal("nothing left", c.next(laneA, 10), []relay.ID(nil))
		c.equal("other lane", c.next(laneB, 10), []relay.ID{6})
	},
	"one at least": func(c *cacheCase) {
		c.put(laneA, 1000, 1, 2)
		got, err := c.Next(laneA, 10, 1)
		if err != nil || len(got) != 1 || got[0].ID != 1 {
			c.t.Errorf("%v, %v", got, err)
		}
	},
	"put again": func(c *cacheCase) {
		c.put(laneA, 10, 1, 2)
		c.put(laneA, 10, 1, 2, 3)
		c.equal("each once", c.next(laneA, 10), []relay.ID{1, 2, 3})
	},
	"rewound": func(c *cacheCase) {
		c.put(laneA, 10, 1, 2, 3)
		c.next(laneA, 2)
		c.Forget(laneA, []relay.ID{1})
		c.Rewind(laneA)
		c.equal("what is not forgotten", c.next(laneA, 10), []relay.ID{2, 3})
	},
	"has": func(c *cacheCase) {
		c.put(laneA, 10, 1, 2, 3, 4)
		c.next(laneA, 2)
		c.equal("handed out or not", c.has(laneA, 1, 2, 3, 4, 5), []relay.ID{1, 2, 3, 4})
		c.equal("lane by lane", c.has(laneB, 1, 2, 3, 4), []relay.ID(nil))
		c.Forget(laneA, []relay.ID{1, 3, 77})
		c.equal("not forgotten", c.has(laneA, 1, 2, 3, 4), []relay.ID{2, 4})
		c.equal("forgotten before it was handed out", c.next(laneA, 10), []relay.ID{4})
	},
	"dropped": func(c *cacheCase) {
		c.put(laneA, 10, 2, 3, 4)
		c.put(laneB, 10, 9)
		c.next(laneA, 1)
		if err := c.Acked(cacheLease, laneA, []relay.CachedAck{{ID: 3, AckedAt: ackedAt}}); err != nil {
			c.t.Fatal(err)
		}
		c.equal("the lowest", c.Drop(laneA), relay.ID(2))
		c.equal("messages", c.next(laneA, 10), []relay.ID(nil))
		c.equal("its ack stays", c.has(laneA, 2, 3, 4), []relay.ID{3})
		c.equal("nothing to drop", c.Drop(laneA), relay.ID(0))
		c.equal("other lane", c.next(laneB, 10), []relay.ID{9})
		c.put(laneA, 10, 2)
		c.equal("taken in again", c.next(laneA, 10), []relay.ID{2})
	},
	"acks": func(c *cacheCase) {
		c.put(laneA, 10, 1, 2, 3)
		acks := []relay.CachedAck{{ID: 1, At: relay.Position{Offset: 41, HasOffset: true}, AckedAt: ackedAt}, {ID: 8, AckedAt: ackedAt}}
		if err := c.Acked(cacheLease, laneA, acks); err != nil {
			c.t.Fatal(err)
		}
		c.equal("messages", c.next(laneA, 10), []relay.ID{2, 3})
		for i := range acks {
			acks[i].Epoch = cacheLease.Epoch
		}
		got, err := c.Unsettled(laneA, 0, 10)
		c.equal("unsettled", []any{got, err}, []any{acks, error(nil)})
		got, err = c.Unsettled(laneA, 1, 1)
		c.equal("above an id", []any{got, err}, []any{acks[1:], error(nil)})
		c.equal("lanes", c.Lanes(), []relay.CacheLane{laneA})
		c.Forget(laneA, []relay.ID{1, 2, 3, 8})
		got, err = c.Unsettled(laneA, 0, 10)
		c.equal("settled", []any{len(got), err}, []any{0, error(nil)})
		c.equal("lanes", len(c.Lanes()), 0)
	},
	"full": func(c *cacheCase) {
		c.put(laneB, 1000, 1000)
		var ids []relay.ID
		for err := error(nil); err == nil; {
			if len(ids) > 200 {
				c.t.Fatal("200 are taken, there should be room for 20")
			}
			part := []relay.ID{relay.ID(len(ids) + 1), relay.ID(len(ids) + 2), relay.ID(len(ids) + 3)}
			var n int
			if n, err = c.Put(cacheLease, laneA, cacheMessages(1000, part...)); err != nil && (!errors.Is(err, relay.ErrCacheFull) || n == len(part)) {
				c.t.Fatalf("%d of %d, %v", n, len(part), err)
			}
			ids = append(ids, part[:n]...)
		}
		c.equal("the first of them", c.next(laneA, 1000), ids)
		c.equal("what was there", c.next(laneB, 10), []relay.ID{1000})
	},
	"status": func(c *cacheCase) {
		c.put(laneA, 10, 5, 6)
		c.put(laneB, 10, 4)
		if err := c.Acked(cacheLease, laneA, []relay.CachedAck{{ID: 5, AckedAt: ackedAt}}); err != nil {
			c.t.Fatal(err)
		}
		st := c.Status()
		if len(st.Destinations) != 1 || st.Closed != nil {
			c.t.Fatalf("%+v", st)
		}
		d := st.Destinations[0]
		c.equal("what it holds", []any{d.Name, d.Messages, d.Acks, d.Oldest, d.Bytes > 0}, []any{"kafka", 2, 1, relay.ID(4), true})
	},
}
