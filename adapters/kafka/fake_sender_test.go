package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/adapters/internal/socket"
	"github.com/waybillmq/waybill/relay"
)

// TestLanesTravelTogether: what waits while two requests are out leaves as one request; never two of one partition, never more than two requests.
func TestLanesTravelTogether(t *testing.T) {
	const lanes = 20
	c := fake(t, kfake.SeedTopics(lanes, "t"))
	p := open(t, c.ListenAddrs(), nil)
	var sizes []int
	arrived, release := make(chan struct{}, lanes), make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		n := 0
		for _, t := range r.(*kmsg.ProduceRequest).Topics {
			n += len(t.Partitions)
		}
		sizes = append(sizes, n)
		arrived <- struct{}{}
		if len(sizes) <= 2 {
			c.SleepControl(func() { <-release })
		}
		return nil, nil, false
	})
	results := make(chan []relay.Outcome, lanes)
	send := func(i int) {
		go func() {
			results <- p.Publish(within(t, patience), relay.Lane{Topic: "t", Index: int32(i)}, ids("t", "", i*500))
		}()
	}
	send(0)
	<-arrived
	send(1)
	<-arrived
	for i := 2; i < lanes; i++ {
		send(i)
	}
	s := p.sender(c.LeaderFor("t", 0))
	eventually(t, "the others wait", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.fast) == lanes-2 && s.requests == 2 })
	close(release)
	for range lanes {
		want(t, <-results, "acked 1")
	}
	if !slices.Equal(sizes, []int{1, 1, lanes - 2}) {
		t.Errorf("partitions of the requests: %v", sizes)
	}
}

// TestLanesLeaveTogether: lanes that submit before the first request has left are in it.
func TestLanesLeaveTogether(t *testing.T) {
	const lanes = 3
	c := fake(t, kfake.SeedTopics(lanes, "t"))
	p := open(t, c.ListenAddrs(), nil)
	sizes := make(chan int, lanes)
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		n := 0
		for _, t := range r.(*kmsg.ProduceRequest).Topics {
			n += len(t.Partitions)
		}
		sizes <- n
		return nil, nil, false
	})
	s := p.sender(c.LeaderFor("t", 0))
	s.gathering = true // as if the first were about to leave
	results := make(chan []relay.Outcome, lanes)
	for i := range int32(lanes) {
		go func() {
			results <- p.Publish(within(t, patience), relay.Lane{Topic: "t", Index: i}, ids("t", "", int(i)*500))
		}()
	}
	eventually(t, "all wait", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.fast) == lanes })
	s.leave()
	for range lanes {
		want(t, <-results, "acked 1")
	}
	if n := <-sizes; n != lanes {
		t.Errorf("the first request has %d partitions, want %d", n, lanes)
	}
}

// TestSlowLaneTravelsAlone (I13): a lane whose last answer took long does not hold up the others.
func TestSlowLaneTravelsAlone(t *testing.T) {
	s := &sender{p: &Publisher{}}
	at := func(i int32, slow bool) *flight {
		l := &lane{at: relay.Lane{Topic: "t", Index: i}}
		l.slow.Store(slow)
		return &flight{lane: l, buf: make([]byte, 8)}
	}
	s.requests, s.slowCount = maxRequests, maxSlowRequests // nothing may leave yet
	for i := range int32(6) {
		s.submit(at(i, i >= 3))
	}
	if s.mayLeave() {
		t.Fatal("more requests than allowed")
	}
	s.requests, s.slowCount = 0, 0
	var got []string
	for s.mayLeave() {
		l := s.next()
		text := fmt.Sprint(l.slow)
		for _, f := range l.flights {
			text += fmt.Sprint(" ", f.lane.at.Index)
		}
		got = append(got, text)
	}
	if want := []string{"false 0 1 2", "true 3", "true 4"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if f := s.slow[0]; !s.withdraw(f) || s.withdraw(f) {
		t.Error("a waiting flight can be taken back once")
	}
}

func TestRequestIsBounded(t *testing.T) {
	s := &sender{p: &Publisher{}, requests: maxRequests}
	for i := range int32(5) {
		buf := make([]byte, 4)
		binary.BigEndian.PutUint32(buf, 700<<10)
		s.submit(&flight{lane: &lane{at: relay.Lane{Index: i}}, buf: buf})
	}
	s.requests = 0
	var counts []int
	for s.mayLeave() {
		counts = append(counts, len(s.next().flights))
	}
	if !slices.Equal(counts, []int{2, 2}) || len(s.fast) != 1 {
		t.Errorf("%v flights in requests of at most 2 MiB, %d wait", counts, len(s.fast))
	}
}

// TestTrustEnds: the write gate and the look before it.
func TestTrustEnds(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	var trusted atomic.Bool
	trusted.Store(true)
	p := open(t, c.ListenAddrs(), func(cfg *Config) { cfg.Trust = trusted.Load })
	want(t, publish(t, p, ids("t", "k", 1)), "acked 1")
	trusted.Store(false)
	out := publish(t, p, ids("t", "k", 2))
	want(t, out, "unavailable 1")
	conn, err := p.dialer.gated(within(t, patience), "tcp", c.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Write([]byte("late")); n != 0 || !errors.Is(err, socket.ErrUntrusted) {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	if _, err := p.Check(within(t, patience)); err != nil {
		t.Errorf("a check needs no trust: %v", err)
	}
	wantStored(t, c.ListenAddrs(), "t", 1)
}
