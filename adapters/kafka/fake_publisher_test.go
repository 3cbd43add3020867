package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/relay"
)

// TestColdStart: all brokers down is ErrUnavailable, never "no such topic"; once they are there the same publisher opens.
func TestColdStart(t *testing.T) {
	addr := unusedAddr(t)
	p := newPublisher(t, []string{addr}, nil)
	if p.ClusterID() != "" {
		t.Error("a cluster id before Open")
	}
	want(t, publish(t, p, ids("t", "k", 1)), "unavailable 1")
	if err := p.Open(within(t, patience), 1); !errors.Is(err, relay.ErrUnavailable) {
		t.Fatalf("open: %v", err)
	}
	if _, err := p.Check(within(t, patience)); !errors.Is(err, relay.ErrUnavailable) {
		t.Fatalf("check: %v", err)
	}
	var port int
	fmt.Sscanf(addr[bytes.LastIndexByte([]byte(addr), ':')+1:], "%d", &port)
	c := fake(t, kfake.Ports(port), kfake.SeedTopics(3, "t"), kfake.ClusterID("cluster-a"))
	if err := p.Open(within(t, patience), 1); err != nil {
		t.Fatal(err)
	}
	want(t, publish(t, p, ids("t", "k", 1)), "acked 1")
	if err := p.Open(within(t, patience), 2); err != nil || p.ClusterID() != "cluster-a" {
		t.Fatalf("open again: %v, cluster %q", err, p.ClusterID())
	}
	_ = c
}

// TestOpenRefused (E16): what a person must change is a ConfigError.
func TestOpenRefused(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.ClusterAuthorizationFailed, kerr.UnsupportedVersion, kerr.TransactionalIDAuthorizationFailed} {
		c := fake(t, kfake.SeedTopics(1, "t"))
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: e, Count: -1})
		p := newPublisher(t, c.ListenAddrs(), nil)
		var refusal *relay.ConfigError
		if err := p.Open(within(t, patience), 1); !errors.As(err, &refusal) || refusal.Class == "" {
			t.Errorf("%s: %v", e.Message, err)
		}
		bare := open(t, c.ListenAddrs(), func(cfg *Config) { cfg.Idempotence = false })
		want(t, publish(t, bare, ids("t", "k", 1)), "acked 1")
	}
}

// TestOpenWhileCoordinatorLoads: a young cluster has no producer ids for a moment. One Open waits for them; it is unavailable when they do not come in time,
// and says why.
func TestOpenWhileCoordinatorLoads(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.ConcurrentTransactions} {
		answer := func(t *testing.T, count int) *kfake.Cluster {
			c := fake(t, kfake.SeedTopics(1, "t"))
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: e, Count: count})
			return c
		}
		t.Run(e.Message+" three times", func(t *testing.T) {
			p := newPublisher(t, answer(t, 3).ListenAddrs(), nil)
			if err := p.Open(within(t, patience), 1); err != nil {
				t.Fatal(err)
			}
			want(t, publish(t, p, ids("t", "k", 1)), "acked 1")
		})
		t.Run(e.Message+" when asked for a check", func(t *testing.T) {
			wantLevel(t, check(t, newPublisher(t, answer(t, 3).ListenAddrs(), nil)), "kafka.producer_id", "cluster", relay.LevelOK)
		})
		t.Run(e.Message+" without end", func(t *testing.T) {
			p := newPublisher(t, answer(t, -1).ListenAddrs(), func(cfg *Config) { cfg.Timeouts.Connect = time.Second })
			if err := p.Open(within(t, patience), 1); !errors.Is(err, relay.ErrUnavailable) {
				t.Error(err)
			}
		})
		t.Run(e.Message+" until the caller's time is over", func(t *testing.T) {
			p := newPublisher(t, answer(t, -1).ListenAddrs(), func(cfg *Config) { cfg.Timeouts.Connect = patience })
			begun := time.Now()
			if err := p.Open(within(t, 500*time.Millisecond), 1); !errors.Is(err, relay.ErrUnavailable) || time.Since(begun) > patience/2 {
				t.Errorf("%v after %v", err, time.Since(begun))
			}
		})
	}
}

// TestNoFreshSession: the session lapsed and no producer id can be had: nothing is sent.
func TestNoFreshSession(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), func(cfg *Config) { cfg.Timeouts.Connect = time.Second })
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.UnknownProducerID})
	want(t, publish(t, p, ids("t", "k", 1, 2)), "unknown 2")
	h := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.CoordinatorNotAvailable, Count: -1})
	want(t, publish(t, p, ids("t", "k", 1, 2)), "unavailable 2")
	h.Remove()
	want(t, publish(t, p, ids("t", "k", 1, 2)), "acked 2")
	wantStored(t, c.ListenAddrs(), "t", 1, 2)
}

// TestCloseInEveryState (goroutines and sockets are checked by newPublisher).
func TestCloseInEveryState(t *testing.T) {
	c := fake(t, kfake.SeedTopics(4, "t"))
	t.Run("never opened", func(t *testing.T) { newPublisher(t, c.ListenAddrs(), nil) })
	t.Run("open failed", func(t *testing.T) {
		p := newPublisher(t, []string{unusedAddr(t)}, nil)
		_ = p.Open(within(t, patience), 1)
	})
	t.Run("twice and afterwards", func(t *testing.T) {
		p := open(t, c.ListenAddrs(), nil)
		want(t, publish(t, p, ids("t", "k", 1)), "acked 1")
		for range 2 {
			if err := p.Close(within(t, patience)); err != nil {
				t.Error(err)
			}
		}
		want(t, publish(t, p, ids("t", "k", 2)), "unavailable 1")
		if err := p.Open(within(t, patience), 1); !errors.Is(err, relay.ErrClosed) {
			t.Errorf("open: %v", err)
		}
		if _, err := p.Check(within(t, patience)); !errors.Is(err, relay.ErrClosed) {
			t.Errorf("check: %v", err)
		}
	})
	t.Run("with a request out", func(t *testing.T) {
		p := open(t, c.ListenAddrs(), nil)
		arrived := make(chan struct{})
		c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			close(arrived)
			c.DropControl()
			return nil, nil, true
		})
		done := make(chan []relay.Outcome)
		go func() { done <- p.Publish(within(t, patience), relay.Lane{Topic: "t"}, ids("t", "k", 1)) }()
		<-arrived
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		want(t, <-done, "unknown 1")
		want(t, publish(t, p, ids("t", "k", 2)), "unavailable 1")
		want(t, publish(t, p, ids("t", "k", 1, 2)), "unknown 1 unavailable 1")
	})
	t.Run("while open waits for a silent broker", func(t *testing.T) {
		arrived := make(chan struct{})
		c.ControlKey(int16(kmsg.InitProducerID), func(kmsg.Request) (kmsg.Response, error, bool) { close(arrived); return nil, nil, true })
		p := newPublisher(t, c.ListenAddrs(), nil)
		done := make(chan error)
		go func() { done <- p.Open(within(t, patience), 1) }()
		<-arrived
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err == nil {
			t.Error("opened")
		}
	})
}

// TestBrokenInvariantsStop: an engine that breaks the rules of a lane must not go on.
func TestBrokenInvariantsStop(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), nil)
	for name, f := range map[string]func(){
		"empty batch":  func() { p.Publish(within(t, patience), relay.Lane{Topic: "t"}, nil) },
		"foreign lane": func() { p.Publish(within(t, patience), relay.Lane{Topic: "t", Index: 1}, ids("t", "k", 1)) },
		"two at once": func() {
			l := (*p.pins.Load())["t"].lanes[0]
			l.enter()
			defer l.leave()
			p.Publish(within(t, patience), relay.Lane{Topic: "t"}, ids("t", "k", 1))
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			f()
		}()
	}
}
