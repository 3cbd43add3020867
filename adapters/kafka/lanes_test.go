package kafka

import (
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/waybillmq/waybill/relay"
)

func answerOf(topics ...metadata.ResponseTopic) *metadata.Response {
	return &metadata.Response{Topics: topics}
}

func topicOf(name string, code int16, leaders ...int32) metadata.ResponseTopic {
	t := metadata.ResponseTopic{Name: name, ErrorCode: code}
	for i, l := range leaders {
		t.Partitions = append(t.Partitions, metadata.ResponsePartition{PartitionIndex: int32(i), LeaderID: l})
	}
	return t
}

func TestLayoutFindsLeaders(t *testing.T) {
	t0 := time.Unix(1000, 0)
	hole := topicOf("hole", 0, 1, 2, 3)
	hole.Partitions = append(hole.Partitions[:1], hole.Partitions[2])
	internal := topicOf("__x", 0, 1)
	internal.IsInternal = true
	var none *layout
	l := none.next(answerOf(topicOf("a", 0, 1, -1, 3), topicOf("gone", 3), topicOf("denied", 29), topicOf("electing", 5), hole, internal), []string{"a", "silent"}, t0)
	for _, c := range []struct {
		at     relay.Lane
		after  time.Duration
		leader int32
		sig    signal
	}{
		{relay.Lane{Topic: "a", Index: 0}, 0, 1, 0},
		{relay.Lane{Topic: "a", Index: 1}, 0, 0, sigNoLeader},
		{relay.Lane{Topic: "a", Index: 2}, 0, 3, 0},
		{relay.Lane{Topic: "a", Index: 3}, 0, 0, sigNoPart},
		{relay.Lane{Topic: "a", Index: -1}, 0, 0, sigNoPart},
		{relay.Lane{Topic: "hole", Index: 1}, 0, 0, sigNoPart},
		{relay.Lane{Topic: "hole", Index: 2}, 0, 3, 0},
		{relay.Lane{Topic: "gone"}, 59 * time.Second, 0, sigNoTopic},
		{relay.Lane{Topic: "gone"}, 60 * time.Second, 0, sigGone},
		{relay.Lane{Topic: "silent"}, 0, 0, sigNoTopic},
		{relay.Lane{Topic: "silent"}, time.Minute, 0, sigGone},
		{relay.Lane{Topic: "denied"}, 0, 0, 29},
		{relay.Lane{Topic: "electing"}, time.Hour, 0, sigNoLeader},
		{relay.Lane{Topic: "never heard"}, 0, 0, sigNoTopic},
		{relay.Lane{Topic: "__x"}, 0, 0, sigNoTopic},
	} {
		leader, sig := l.leader(c.at, t0.Add(c.after), time.Minute)
		if leader != c.leader || sig != c.sig {
			t.Errorf("%v after %v: %d %s, want %d %s", c.at, c.after, leader, sig.name(), c.leader, c.sig.name())
		}
	}
	if l.count("a") != 3 || l.count("gone") != 0 || l.count("nothing") != 0 {
		t.Error("counts")
	}
}

// TestMissingSince: the clock of a missing topic runs from the first answer that did not know it, and starts anew after it was seen.
func TestMissingSince(t *testing.T) {
	t0 := time.Unix(1000, 0)
	var l *layout
	l = l.next(answerOf(), []string{"a"}, t0)
	l = l.next(answerOf(topicOf("a", 3)), []string{"a"}, t0.Add(30*time.Second))
	if _, sig := l.leader(relay.Lane{Topic: "a"}, t0.Add(time.Minute), time.Minute); sig != sigGone {
		t.Errorf("after a minute: %s", sig.name())
	}
	l = l.next(answerOf(topicOf("a", 0, 1)), []string{"a"}, t0.Add(61*time.Second))
	l = l.next(answerOf(topicOf("a", 3)), []string{"a"}, t0.Add(62*time.Second))
	if _, sig := l.leader(relay.Lane{Topic: "a"}, t0.Add(2*time.Minute), time.Minute); sig != sigNoTopic {
		t.Errorf("seen in between: %s", sig.name())
	}
	if l.turn != 3 {
		t.Errorf("turn %d", l.turn)
	}
}
