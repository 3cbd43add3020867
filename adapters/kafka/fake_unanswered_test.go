package kafka

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/relay"
)

// silence makes the broker swallow n produce requests: no answer, nothing stored. seen counts all of them.
func silence(c *kfake.Cluster, n int32) (seen *atomic.Int32) {
	seen = &atomic.Int32{}
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return nil, nil, seen.Add(1) <= n
	})
	return seen
}

func quick(c *Config) {
	c.Timeouts = Timeouts{Connect: time.Second, Broker: 100 * time.Millisecond, Publish: 300 * time.Millisecond}
}

// TestNoAnswer: a request that is never answered is unknown after the deadline; the same bytes go again. Before the first of them has left, a deadline that
// is over (on a busy machine) means unavailable; afterwards it never does.
func TestNoAnswer(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), quick)
	seen := silence(c, 2)
	batch := ids("t", "k", 1, 2, 3)
	var out []relay.Outcome
	eventually(t, "a request is swallowed", func() bool {
		before := seen.Load()
		if out = publish(t, p, batch); out[0].Kind == relay.Unavailable && before != 0 {
			t.Fatalf("%d requests are out: %+v", before, out[0])
		}
		return out[0].Kind != relay.Unavailable
	})
	want(t, out, "unknown 3")
	if out[0].Class != relay.ClassTimeout {
		t.Errorf("%+v", out[0])
	}
	before, _ := untilAcked(t, p, batch)
	if before[relay.Unknown] == 0 || len(before) != 1 {
		t.Errorf("outcomes before the ack: %v", before)
	}
	if n := seen.Load(); n < 3 {
		t.Errorf("%d requests, want 3", n)
	}
	wantStored(t, c.ListenAddrs(), "t", 1, 2, 3)
}

// TestAppendedThenOtherBatch (never use a sequence number for other bytes): a batch is stored and its answer lost; the engine presents something else.
// With the old sequence number the broker would take it for the repeat, and it would be lost.
func TestAppendedThenOtherBatch(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), nil)
	want(t, publish(t, p, ids("t", "k", 1, 2)), "acked 2")
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut}) // answered so, and stored
	want(t, publish(t, p, ids("t", "k", 3, 4)), "unknown 2")
	want(t, publish(t, p, ids("t", "k", 5, 6)), "acked 2")
	want(t, publish(t, p, ids("t", "k", 7)), "acked 1")
	wantStored(t, c.ListenAddrs(), "t", 1, 2, 3, 4, 5, 6, 7)
	if n := p.Counters().SessionsLapsed; n != 1 {
		t.Errorf("%d sessions lapsed, want 1", n)
	}
}

// TestOpenBatchLeadsALongerOne: the open bytes go first, unchanged, and the rest after them; no session is given up.
func TestOpenBatchLeadsALongerOne(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), nil)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend})
	want(t, publish(t, p, ids("t", "k", 1, 2)), "unknown 2")
	batch := ids("t", "k", 1, 2, 3, 4)
	out := publish(t, p, batch)
	want(t, out, "acked 4")
	wantOffsets(t, c.ListenAddrs(), batch, out, relay.Lane{Topic: "t"})
	wantStored(t, c.ListenAddrs(), "t", 1, 2, 3, 4)
	if n := p.Counters().SessionsLapsed; n != 0 {
		t.Errorf("%d sessions lapsed", n)
	}
}

// TestGivenUpAndTakenUpAgain (E2): the caller's time is over while the request is out. Nothing is cancelled: the next call waits for the same request.
func TestGivenUpAndTakenUpAgain(t *testing.T) {
	for name, next := range map[string][]*relay.Message{"the same": ids("t", "k", 1, 2), "another": ids("t", "k", 3)} {
		t.Run(name, func(t *testing.T) {
			c := fake(t, kfake.SeedTopics(1, "t"))
			p := open(t, c.ListenAddrs(), nil)
			requests := atomic.Int32{}
			arrived, release := make(chan struct{}), make(chan struct{})
			c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if requests.Add(1) == 1 {
					close(arrived)
					c.SleepControl(func() { <-release })
				}
				return nil, nil, false
			})
			ctx, cancel := context.WithCancel(context.Background())
			first := ids("t", "k", 1, 2)
			done := make(chan []relay.Outcome)
			go func() { done <- p.Publish(ctx, relay.Lane{Topic: "t"}, first) }()
			<-arrived
			cancel()
			want(t, <-done, "unknown 2")
			expired, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer stop()
			kinds := "unknown 2"
			if name == "another" {
				kinds = "unavailable 1" // not sent: the request before it is still out
			}
			want(t, p.Publish(expired, relay.Lane{Topic: "t"}, next), kinds)
			close(release)
			_, out := untilAcked(t, p, next)
			stored := []int{1, 2}
			wantRequests := int32(1)
			if name == "another" {
				stored, wantRequests = []int{1, 2, 3}, 2
			}
			wantOffsets(t, c.ListenAddrs(), next, out, relay.Lane{Topic: "t"})
			wantStored(t, c.ListenAddrs(), "t", stored...)
			if n := requests.Load(); n != wantRequests {
				t.Errorf("%d requests, want %d", n, wantRequests)
			}
			if n := p.Counters().SessionsLapsed; n != 0 {
				t.Errorf("%d sessions lapsed", n)
			}
		})
	}
}

func TestExpiredContextSendsNothing(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	want(t, p.Publish(ctx, relay.Lane{Topic: "t"}, ids("t", "k", 1)), "unavailable 1")
	wantStored(t, c.ListenAddrs(), "t")
}
