package kafka

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestEachCode (E5, E6): the broker answers once with each code of the map; then the same batch is presented again. Whatever the code was, nothing is lost
// and, because the repeat is recognised or the refusal was definite, nothing is there twice.
func TestEachCode(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), nil)
	id := 0
	var stored []int
	for _, row := range rows {
		if row.sig > 1000 || row.sig == 0 || row.sig == 46 {
			continue
		}
		t.Run(row.sig.name(), func(t *testing.T) {
			lapsed := p.Counters().SessionsLapsed
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TypedErrorForCode(int16(row.sig))})
			id++
			batch := ids("t", "k", id)
			stored = append(stored, id)
			out := publish(t, p, batch)
			if out[0].Kind != row.first || out[0].Scope != row.scope {
				t.Fatalf("%+v, want %v", out[0], row.first)
			}
			untilAcked(t, p, batch)
			if over := p.Counters().SessionsLapsed > lapsed; over != row.over {
				t.Errorf("session lapsed: %v, want %v", over, row.over)
			}
		})
	}
	wantStored(t, c.ListenAddrs(), "t", stored...)
	if n := p.Counters().UnlistedErrors; n != 0 {
		t.Errorf("%d unlisted errors", n)
	}
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: &kerr.Error{Message: "NEW", Code: 4711}})
	want(t, publish(t, p, ids("t", "k", id+1)), "unknown 1")
	if n := p.Counters().UnlistedErrors; n != 1 {
		t.Errorf("%d unlisted errors", n)
	}
}

// TestDamagedThreeTimes: code 2 in a row.
func TestDamagedThreeTimes(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), nil)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.CorruptMessage, Count: 3})
	batch := ids("t", "k", 1, 2)
	want(t, publish(t, p, batch), "unknown 2")
	want(t, publish(t, p, batch), "unknown 2")
	want(t, publish(t, p, batch), "unavailable 2")
	want(t, publish(t, p, batch), "acked 2")
	wantStored(t, c.ListenAddrs(), "t", 1, 2)
}

// TestLeaderMoves (E5): 6 is unknown, and the next try goes to the new leader, without waiting for anybody's refresh.
func TestLeaderMoves(t *testing.T) {
	c := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), nil)
	var stored []int
	var worst time.Duration
	for i := 1; i <= 60; i++ {
		if err := c.MoveTopicPartition("t", 0, int32(i%3)); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		untilAcked(t, p, ids("t", "k", i))
		worst = max(worst, time.Since(begun))
		stored = append(stored, i)
	}
	wantStored(t, c.ListenAddrs(), "t", stored...)
	if n := p.Counters().SessionsLapsed; n != 0 {
		t.Errorf("%d sessions lapsed", n)
	}
	t.Logf("slowest recovery %v", worst)
}
