package rocketmq

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// TestSizeLimits (E17): one byte under the limit and the limit itself pass, one over is rejected, alone; in a batch and by itself.
func TestSizeLimits(t *testing.T) {
	const limit = 65_536
	r := testservices.RocketMQCluster(t, testservices.BrokerSetting("maxMessageSize", fmt.Sprint(limit)))
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 1))
	p := open(t, r.NameServers, func(c *Config) { c.Topics = []string{topic} })
	sized := func(id, bytes int) *relay.Message {
		m := ids(topic, "", id)[0]
		m.Payload = make([]byte, bytes)
		return m
	}
	batch := append(ids(topic, "", 1, 2), sized(3, limit-1), sized(4, limit), sized(5, limit+1))
	batch = append(batch, ids(topic, "", 6, 7)...)
	out := publish(t, p, batch)
	want(t, out, "acked 4 rejected 1 acked 2")
	if out[4].Class != relay.ClassTooLarge || out[4].Code != "rocketmq/MESSAGE_ILLEGAL" {
		t.Errorf("%+v", out[4])
	}
	want(t, publish(t, p, []*relay.Message{sized(8, limit+1)}), "rejected 1")
	want(t, publish(t, p, []*relay.Message{sized(9, 17<<20)}), "rejected 1") // more than the protocol takes: the broker would cut the connection
	wantStored(t, r.NameServers, topic, 1, 2, 3, 4, 6, 7)
	findings := check(t, p)
	if got := findings.Limits[topic]; got != limit {
		t.Errorf("limit of the topic: %d", got)
	}
	wantLevel(t, findings, "rocketmq.max_message_size", "b1", relay.LevelWarn)
	must(t, r.Set(map[string]string{"maxMessageSize": "4194304"}))
	(*p.pins.Load())[topic].limit.Store(1 << 20) // more than the broker takes in one batch, as after somebody lowered it
	must(t, r.Set(map[string]string{"maxMessageSize": "3000"}))
	want(t, publish(t, p, ids(topic, "", numbers(20, 50)...)), "acked 31")
}

// TestPropertiesUpToTheLimit: the most that we let pass is taken by the broker, alone and in a batch; one more byte is rejected without asking it.
func TestPropertiesUpToTheLimit(t *testing.T) {
	r := testservices.RocketMQ(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 1))
	p := open(t, r.NameServers, func(c *Config) { c.Topics = []string{topic} })
	sized := func(id, spare int) *relay.Message {
		m := ids(topic, "k", id)[0]
		e, _, _ := encode(m, TombstoneReject, len("waybill"))
		have := len(propUnique) + 2 + len(e.properties) + len("\x02h\x01")
		m.Headers = []relay.Header{{Name: "h", Value: strings.Repeat("x", maxProperties-clusterSpare-len("waybill")-have-spare)}}
		return m
	}
	want(t, publish(t, p, []*relay.Message{sized(1, 0)}), "acked 1")
	want(t, publish(t, p, []*relay.Message{sized(2, 1), sized(3, 0), ids(topic, "l", 4)[0]}), "acked 3")
	if out := publish(t, p, []*relay.Message{sized(5, -1)}); out[0].Kind != relay.Rejected || out[0].Class != relay.ClassTooLarge {
		t.Errorf("%+v", out[0])
	}
	wantStored(t, r.NameServers, topic, 1, 2, 3, 4)
}

// TestHeadersThatWouldSteer: a header with the name of a RocketMQ property neither delays, hides nor redirects its message, and comes back under its name.
func TestHeadersThatWouldSteer(t *testing.T) {
	r := testservices.RocketMQ(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 1))
	p := open(t, r.NameServers, func(c *Config) { c.Topics = []string{topic} })
	m := ids(topic, "k", 1)[0]
	for name := range reserved {
		m.Headers = append(m.Headers, relay.Header{Name: name, Value: "3"}, relay.Header{Name: headerPrefix + name, Value: "false"})
	}
	want(t, publish(t, p, []*relay.Message{m}), "acked 1")
	want(t, publish(t, p, []*relay.Message{ids(topic, "k", 2)[0], m}), "acked 2") // a batch is coded by another part of the library
	read := 0
	must(t, ReadAll(within(t, patience), readConfig(r.NameServers), topic, func(rec Record) error {
		back, err := rec.Message(topic)
		if read++; back.ID != 1 {
			return err
		}
		byName := func(a, b relay.Header) int { return strings.Compare(a.Name, b.Name) }
		if sorted := slices.SortedFunc(slices.Values(m.Headers), byName); !slices.Equal(slices.SortedFunc(slices.Values(back.Headers), byName), sorted) {
			t.Errorf("headers %v, want %v", back.Headers, sorted)
		}
		return err
	}))
	if read != 3 {
		t.Errorf("%d messages are stored, want 3", read)
	}
}

// TestTopicDeleted (E16): config of that topic only, and nothing is created; made again it heals by itself.
func TestTopicDeleted(t *testing.T) {
	r := testservices.RocketMQ(t)
	topic, other := topicName(t), topicName(t)
	must(t, r.CreateTopic(topic, 1))
	must(t, r.CreateTopic(other, 1))
	p := open(t, r.NameServers, func(c *Config) { c.Topics = []string{topic, other} })
	want(t, publish(t, p, ids(topic, "k", 1, 2)), "acked 2")
	must(t, r.DeleteTopic(topic))
	batch := ids(topic, "k", 3, 4)
	out := publish(t, p, batch)
	if want(t, out, "config 2"); out[0].Scope != relay.ScopeTopic || out[0].Class != relay.ClassUnknownTopic || !strings.Contains(out[0].Detail, "mqadmin updateTopic") {
		t.Errorf("%+v", out[0])
	}
	wantLevel(t, check(t, p), "rocketmq.topic", topic, relay.LevelFail)
	want(t, publish(t, p, ids(other, "k", 1)), "acked 1")
	must(t, r.CreateTopic(topic, 1))
	untilAcked(t, p, batch)
	wantStored(t, r.NameServers, topic, 3, 4)
}

// TestTopicThatNobodyKnows: unavailable, after a while config of that topic only, and told when it appears.
func TestTopicThatNobodyKnows(t *testing.T) {
	r := testservices.RocketMQ(t)
	topic := topicName(t)
	var told hook
	p := newPublisher(t, r.NameServers, func(c *Config) { c.Topics, c.OnLanesChanged = []string{topic}, told.told })
	p.missingAfter, p.watchEvery = 600*time.Millisecond, 50*time.Millisecond
	opened(t, p)
	var kinds []string
	eventually(t, "config", func() bool {
		o := publish(t, p, ids(topic, "k", 1))[0]
		if k := fmt.Sprint(o.Kind, " ", o.Scope); len(kinds) == 0 || kinds[len(kinds)-1] != k {
			kinds = append(kinds, k)
		}
		return o.Kind == relay.Config
	})
	if !slices.Equal(kinds, []string{"unavailable topic", "config topic"}) {
		t.Errorf("outcomes %v", kinds)
	}
	must(t, CreateTopics(t.Context(), readConfig(r.NameServers), []string{topic}, 3))
	eventually(t, "told", func() bool { return slices.Equal(told.list(), []string{topic}) })
	eventually(t, "no person has to act any more", func() bool {
		o := publish(t, p, ids(topic, "k", 1))[0]
		return o.Kind == relay.Unavailable && o.Scope == relay.ScopeTopic
	})
}

// TestQueuesRaised: new queues are not used, and the owner is told; a master that is away for a while tells nothing.
func TestQueuesRaised(t *testing.T) {
	r := testservices.RocketMQCluster(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 2))
	var told hook
	p := newPublisher(t, r.NameServers, func(c *Config) { c.Topics, c.OnLanesChanged = []string{topic}, told.told })
	p.watchEvery = 50 * time.Millisecond
	opened(t, p)
	must(t, r.Kill(testservices.Master))
	must(t, r.Start(testservices.Master))
	untilAcked(t, p, ids(topic, "k", 100))
	if got := told.list(); len(got) > 0 {
		t.Errorf("told of %v", got)
	}
	must(t, r.CreateTopic(topic, 5))
	eventually(t, "told", func() bool { return slices.Equal(told.list(), []string{topic}) })
	for i := 1; i <= 50; i++ {
		want(t, publish(t, p, ids(topic, fmt.Sprint("k", i), i)), "acked 1")
	}
	inUse := 0
	for _, lane := range seqs(t, readConfig(r.NameServers), topic) {
		if len(lane) > 0 {
			inUse++
		}
	}
	if inUse != 2 {
		t.Errorf("%d queues are in use", inUse)
	}
	wantLevel(t, check(t, p), "rocketmq.topic_queues", topic, relay.LevelWarn)
}

// TestUnsafeBrokerIsFound: what Check says of a broker that forgets.
func TestUnsafeBrokerIsFound(t *testing.T) {
	r := testservices.RocketMQCluster(t, testservices.BrokerSetting("flushDiskType", "ASYNC_FLUSH"), testservices.BrokerSetting("autoCreateTopicEnable", "true"))
	p := newPublisher(t, r.NameServers, nil)
	f := check(t, p) // before Open
	wantLevel(t, f, "rocketmq.durability", "b1", relay.LevelFail)
	wantLevel(t, f, "rocketmq.auto_create", "b1", relay.LevelFail)
	wantLevel(t, f, "rocketmq.tls", "connections", relay.LevelWarn)
	if f.Cluster != "waybill/b1" {
		t.Errorf("cluster %q", f.Cluster)
	}
	must(t, r.Set(map[string]string{"flushDiskType": "SYNC_FLUSH", "syncFlushTimeout": "5000"}))
	f = check(t, p)
	wantLevel(t, f, "rocketmq.durability", "b1", relay.LevelWarn)
	wantLevel(t, f, "rocketmq.sync_flush_timeout", "b1", relay.LevelWarn)
}

// TestUntrusted: when the lease is over nothing leaves.
func TestUntrusted(t *testing.T) {
	r := testservices.RocketMQ(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 1))
	trusted := true
	p := open(t, r.NameServers, func(c *Config) { c.Trust = func() bool { return trusted } })
	want(t, publish(t, p, ids(topic, "k", 1)), "acked 1")
	trusted = false
	out := publish(t, p, ids(topic, "k", 2))
	if want(t, out, "unavailable 1"); out[0].Scope != relay.ScopeDestination || out[0].Code != "rocketmq/untrusted" {
		t.Errorf("%+v", out[0])
	}
	wantStored(t, r.NameServers, topic, 1)
}
