package kafka

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// TestTopicDeleted (E16): unavailable, after a while config of that topic only; created again it heals by itself.
func TestTopicDeleted(t *testing.T) {
	c := testservices.Kafka(t)
	topic, other := topicName(t), topicName(t)
	for _, name := range []string{topic, other} {
		if err := c.CreateTopic(name, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	p := newPublisher(t, c.Brokers, func(cfg *Config) { cfg.Topics = []string{topic, other} })
	p.missingAfter = time.Second
	opened(t, p)
	want(t, publish(t, p, ids(topic, "k", 1, 2)), "acked 2")
	if err := c.DeleteTopic(topic); err != nil {
		t.Fatal(err)
	}
	batch := ids(topic, "k", 3, 4)
	var kinds []string
	eventually(t, "config", func() bool {
		o := publish(t, p, batch)[1]
		if k := fmt.Sprint(o.Kind, " ", o.Scope); len(kinds) == 0 || kinds[len(kinds)-1] != k {
			kinds = append(kinds, k)
		}
		return o.Kind == relay.Config
	})
	if !slices.Equal(kinds, []string{"unavailable lane", "config topic"}) {
		t.Errorf("outcomes %v", kinds)
	}
	want(t, publish(t, p, ids(other, "k", 1)), "acked 1")
	if err := c.CreateTopic(topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	untilAcked(t, p, batch)
	wantStored(t, c.Brokers, topic, 3, 4)
}

// TestPartitionsRaisedOnKafka: new partitions are not used, and the owner is told.
func TestPartitionsRaisedOnKafka(t *testing.T) {
	c := testservices.Kafka(t)
	topic := topicName(t)
	if err := c.CreateTopic(topic, 2, nil); err != nil {
		t.Fatal(err)
	}
	var told hook
	p := newPublisher(t, c.Brokers, func(cfg *Config) { cfg.Topics, cfg.OnLanesChanged = []string{topic}, told.told })
	p.watchEvery = 50 * time.Millisecond
	opened(t, p)
	raisePartitions(t, c.Brokers, topic, 5)
	eventually(t, "told", func() bool { return slices.Equal(told.list(), []string{topic}) })
	for i := 1; i <= 50; i++ {
		want(t, publish(t, p, ids(topic, fmt.Sprint("k", i), i)), "acked 1")
	}
	if all := seqs(t, c.Brokers, topic); len(all) > 2 {
		t.Errorf("%d partitions are in use", len(all))
	}
	wantLevel(t, check(t, p), "kafka.partitions", topic, relay.LevelWarn)
}

// TestPartitionsRaisedWithABatchOpen: an answer was lost when the partitions are raised. The lane stays where it is, and the batch is resolved there, once; only
// a new publisher uses the new partitions.
func TestPartitionsRaisedWithABatchOpen(t *testing.T) {
	c := testservices.Kafka(t)
	g := newTarget(t, c.Brokers, func(topic string, n int) error { return c.CreateTopic(topic, n, nil) })
	topic := g.Topic(1)
	var told hook
	p := g.via(func(cfg *Config) { cfg.Topics, cfg.OnLanesChanged = []string{topic}, told.told })
	defer p.Close(within(t, patience))
	opened(t, p)
	want(t, publish(t, p, ids(topic, "k", 1)), "acked 1")
	batch := ids(topic, "k", 2, 3, 4)
	g.LoseAnswer()
	want(t, publish(t, p, batch), "unknown 3")
	if err := c.AddPartitions(topic, 7); err != nil {
		t.Fatal(err)
	}
	p.compass.doubt()
	p.kick()
	eventually(t, "told", func() bool { return slices.Equal(told.list(), []string{topic}) })
	untilAcked(t, p, batch)
	if n := p.Counters().SessionsLapsed; n != 0 {
		t.Errorf("%d sessions lapsed", n)
	}
	g.wantStored(topic, 1, 2, 3, 4)
	lanes := map[relay.Lane]bool{}
	next := open(t, c.Brokers, nil)
	for i := range 100 {
		lanes[next.Lane(ids(topic, fmt.Sprint("key ", i), 1)[0])] = true
	}
	if len(lanes) != 7 {
		t.Errorf("a new publisher uses %d of 7 partitions", len(lanes))
	}
}
