package kafka

import (
	"math"
	"strconv"
	"testing"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// sized makes a message that is a batch of so many bytes when it is alone.
func sized(topic string, id, bytes int) *relay.Message {
	m := ids(topic, "", id)[0]
	for n := bytes - 300; ; n++ {
		m.Payload = make([]byte, n)
		if buf := encodeAll([]*relay.Message{m}); len(buf)-record.SizePrefix == bytes {
			return m
		}
	}
}

// TestSizeLimits (E17): one byte under the limit and the limit itself pass, one over is rejected, alone.
func TestSizeLimits(t *testing.T) {
	const limit = 20_000
	c := testservices.Kafka(t)
	topic := topicName(t)
	if err := c.CreateTopic(topic, 1, map[string]string{"max.message.bytes": strconv.Itoa(limit)}); err != nil {
		t.Fatal(err)
	}
	p := open(t, c.Brokers, func(cfg *Config) { cfg.Topics = []string{topic} })
	batch := append(ids(topic, "", 1, 2), sized(topic, 3, limit-1), sized(topic, 4, limit), sized(topic, 5, limit+1))
	batch = append(batch, ids(topic, "", 6, 7)...)
	out := publish(t, p, batch)
	want(t, out, "acked 4 rejected 1 acked 2")
	if out[4].Class != relay.ClassTooLarge {
		t.Errorf("%+v", out[4])
	}
	wantStored(t, c.Brokers, topic, 1, 2, 3, 4, 6, 7)
	wantOffsets(t, c.Brokers, batch, out, relay.Lane{Topic: topic})
	findings := check(t, p)
	if got := findings.Limits[topic]; got <= 0 || got >= limit {
		t.Errorf("limit of the topic: %d", got)
	}
	if err := c.AlterTopicConfig(topic, map[string]string{"max.message.bytes": "3000"}); err != nil { // lower than what we believe
		t.Fatal(err)
	}
	more := ids(topic, "", span(10, 40)...)
	eventually(t, "halved until it fits", func() bool { return publish(t, p, more)[0].Kind == relay.Acked })
	wantStored(t, c.Brokers, topic, append([]int{1, 2, 3, 4, 6, 7}, span(10, 40)...)...)
}

// TestClockTooFarOff: code 32 pauses the topic and heals with it.
func TestClockTooFarOff(t *testing.T) {
	c := testservices.Kafka(t)
	topic := topicName(t)
	if err := c.CreateTopic(topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.AlterTopicConfig(topic, map[string]string{"message.timestamp.before.max.ms": "0"}); err != nil {
		t.Fatal(err)
	}
	p := open(t, c.Brokers, func(cfg *Config) { cfg.Topics = []string{topic} })
	next := 1
	var out []relay.Outcome
	eventually(t, "refused", func() bool { // a batch that arrives within its millisecond is taken
		if out = publish(t, p, ids(topic, "k", next)); out[0].Kind == relay.Acked {
			next++
			return false
		}
		return true
	})
	if want(t, out, "config 1"); out[0].Scope != relay.ScopeTopic || out[0].Code != "kafka/INVALID_TIMESTAMP" {
		t.Errorf("%+v", out[0])
	}
	wantLevel(t, check(t, p), "kafka.timestamps", topic, relay.LevelWarn)
	if err := c.AlterTopicConfig(topic, map[string]string{"message.timestamp.before.max.ms": "9223372036854775807"}); err != nil {
		t.Fatal(err)
	}
	untilAcked(t, p, ids(topic, "k", next))
	wantStored(t, c.Brokers, topic, span(1, next)...)
	if n := p.Counters().SessionsLapsed; n != 0 {
		t.Errorf("%d sessions lapsed", n)
	}
}

// TestCompactedTopicRefusesNoKey: RecordErrors of a real broker name the culprits.
func TestCompactedTopicRefusesNoKey(t *testing.T) {
	c := testservices.Kafka(t)
	topic := topicName(t)
	if err := c.CreateTopic(topic, 1, map[string]string{"cleanup.policy": "compact", "retention.ms": "3600000"}); err != nil {
		t.Fatal(err)
	}
	p := open(t, c.Brokers, func(cfg *Config) { cfg.Topics = []string{topic} })
	batch := ids(topic, "k", span(1, 20)...)
	batch[3].Key, batch[4].Key, batch[19].Key = "", "", ""
	out := publish(t, p, batch)
	want(t, out, "acked 3 rejected 2 acked 14 rejected 1")
	wantStored(t, c.Brokers, topic, append(span(1, 3), span(6, 19)...)...)
	r := p.cfg.NewReader(topic)
	defer r.Close()
	if compacted, err := r.Compacted(t.Context()); !compacted || err != nil {
		t.Errorf("compacted %t, %v", compacted, err)
	}
	if first, next, err := r.Range(t.Context(), 0, 4, 9, func(Record) error { return nil }); first != 4 || next != 9 || err != nil {
		t.Errorf("%d to %d, %v", first, next, err)
	}
	findings := check(t, p)
	wantLevel(t, findings, "kafka.cleanup_policy", topic, relay.LevelWarn)
	wantLevel(t, findings, "kafka.retention", topic, relay.LevelWarn)
	wantLevel(t, findings, "kafka.replication_factor", topic, relay.LevelFail)
	wantLevel(t, findings, "kafka.min_insync_replicas", topic, relay.LevelFail)
	wantLevel(t, findings, "kafka.unclean_leader_election", topic, relay.LevelOK)
	wantLevel(t, findings, "kafka.producer_id", "cluster", relay.LevelOK)
	wantLevel(t, findings, "kafka.max_message_bytes", topic, relay.LevelOK)
	if findings.Cluster == "" || findings.Cluster != p.ClusterID() {
		t.Errorf("cluster %q and %q", findings.Cluster, p.ClusterID())
	}
}

// TestSequenceWrapsOnKafka (E6): the real broker counts as we do behind 2^31-1, repeats included.
func TestSequenceWrapsOnKafka(t *testing.T) {
	c := testservices.Kafka(t)
	g := newTarget(t, c.Brokers, func(topic string, n int) error { return c.CreateTopic(topic, n, nil) })
	topic := g.Topic(1)
	p := g.via(nil)
	defer p.Close(within(t, patience))
	opened(t, p)
	(*p.pins.Load())[topic].lanes[0].session.next = math.MaxInt32 - 6
	want(t, publish(t, p, ids(topic, "k", 100)), "acked 1")
	stored := []int{100}
	for id := 1; id < 30; id += 3 {
		batch := ids(topic, "k", span(id, id+2)...)
		stored = append(stored, span(id, id+2)...)
		g.LoseAnswer()
		want(t, publish(t, p, batch), "unknown 3")
		untilAcked(t, p, batch)
	}
	if next := (*p.pins.Load())[topic].lanes[0].session.next; next != 31-7 {
		t.Errorf("next sequence %d", next)
	}
	wantStored(t, c.Brokers, topic, stored...)
	if n := p.Counters().SessionsLapsed; n != 0 {
		t.Errorf("%d sessions lapsed", n)
	}
}

// TestWeakSettingsAreFound_E3_E4: what can lose or repeat records is a finding that fails: idempotence that is off, and a topic whose partitions may be led by a
// replica that lacks acked records.
func TestWeakSettingsAreFound_E3_E4(t *testing.T) {
	c := testservices.Kafka(t)
	topic := topicName(t)
	if err := c.CreateTopic(topic, 1, map[string]string{"unclean.leader.election.enable": "true"}); err != nil {
		t.Fatal(err)
	}
	p := newPublisher(t, c.Brokers, func(cfg *Config) { cfg.Topics, cfg.Idempotence = []string{topic}, false })
	findings := check(t, p)
	wantLevel(t, findings, "kafka.producer_id", "idempotence", relay.LevelFail)
	for _, id := range []string{"kafka.unclean_leader_election", "kafka.replication_factor", "kafka.min_insync_replicas"} {
		wantLevel(t, findings, id, topic, relay.LevelFail)
	}
}
