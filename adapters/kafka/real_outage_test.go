package kafka

import (
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// TestKilledAndRestarted (E21): kill -9 of the only broker under load, again and again: nothing lost, nothing twice, order kept.
func TestKilledAndRestarted(t *testing.T) {
	c := testservices.KafkaCluster(t, 1)
	topic := topicName(t)
	if err := c.CreateTopic(topic, 6, nil); err != nil {
		t.Fatal(err)
	}
	f := drive(t, open(t, c.Brokers, nil), topic, 6, 100)
	for range 4 {
		f.more(50)
		eventually(t, "something is in flight", func() bool { return f.busy.Load() > 0 })
		if err := c.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
	}
	f.more(50)
	f.verdict(c.Brokers)
	if f.count(relay.Unknown)+f.count(relay.Unavailable) == 0 {
		t.Error("the kills were not noticed: the run proves nothing")
	}
}

// TestPausedBroker: SIGSTOP and CONT. The requests in flight are unknown after the deadline; what the broker had taken in is recognised afterwards.
func TestPausedBroker(t *testing.T) {
	c := testservices.KafkaCluster(t, 1)
	topic := topicName(t)
	if err := c.CreateTopic(topic, 4, nil); err != nil {
		t.Fatal(err)
	}
	f := drive(t, open(t, c.Brokers, func(cfg *Config) {
		cfg.Timeouts = Timeouts{Connect: time.Second, Broker: 2 * time.Second, Publish: 3 * time.Second}
	}), topic, 4, 100)
	f.more(50)
	if err := c.Pause(1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "unknown in each lane", func() bool { return f.count(relay.Unknown) >= 4 })
	if err := c.Resume(1); err != nil {
		t.Fatal(err)
	}
	f.more(50)
	f.verdict(c.Brokers)
}

// TestThreeNodes: a paused leader, a killed node, too few replicas, on one cluster.
func TestThreeNodes(t *testing.T) {
	c := testservices.KafkaCluster(t, 3)
	t.Run("leader paused", func(t *testing.T) {
		topic := topicName(t)
		if err := c.CreateTopic(topic, 6, nil); err != nil {
			t.Fatal(err)
		}
		f := drive(t, open(t, c.Brokers, func(cfg *Config) {
			cfg.Timeouts = Timeouts{Connect: 2 * time.Second, Broker: 3 * time.Second, Publish: 5 * time.Second}
		}), topic, 6, 50)
		f.more(50)
		if err := c.Pause(1); err != nil {
			t.Fatal(err)
		}
		f.more(1)
		begun := time.Now()
		eventually(t, "every lane goes on under another leader", func() bool {
			before := f.lengths()
			f.more(200)
			for i, n := range f.lengths() {
				if n == before[i] {
					return false
				}
			}
			return true
		})
		t.Logf("all lanes went on after %v", time.Since(begun))
		if err := c.Resume(1); err != nil {
			t.Fatal(err)
		}
		f.more(100)
		f.verdict(c.Brokers)
	})
	t.Run("node killed", func(t *testing.T) {
		topic := topicName(t)
		if err := c.CreateTopic(topic, 6, nil); err != nil {
			t.Fatal(err)
		}
		f := drive(t, open(t, c.Brokers, nil), topic, 6, 50)
		for n := 1; n <= 2; n++ {
			f.more(50)
			if err := c.Kill(n); err != nil {
				t.Fatal(err)
			}
			f.more(50)
			if err := c.Start(n); err != nil {
				t.Fatal(err)
			}
		}
		f.more(50)
		f.verdict(c.Brokers)
	})
	t.Run("too few replicas", func(t *testing.T) {
		topic := topicName(t)
		if err := c.CreateTopic(topic, 1, map[string]string{"min.insync.replicas": "3"}); err != nil {
			t.Fatal(err)
		}
		p := open(t, c.Brokers, nil)
		want(t, publish(t, p, ids(topic, "k", 1)), "acked 1")
		if err := c.Stop(3); err != nil {
			t.Fatal(err)
		}
		batch := ids(topic, "k", 2, 3)
		seen := map[string]relay.Outcome{}
		eventually(t, "refused before the append", func() bool {
			o := publish(t, p, batch)[0]
			seen[o.Code] = o
			_, ok := seen["kafka/NOT_ENOUGH_REPLICAS"]
			return ok
		})
		for code, o := range seen {
			if o.Kind == relay.Acked || code == "kafka/NOT_ENOUGH_REPLICAS" && o.Kind == relay.Unavailable && o.Scope != relay.ScopeLane {
				t.Errorf("%s: %+v", code, o)
			}
		}
		if err := c.Start(3); err != nil {
			t.Fatal(err)
		}
		untilAcked(t, p, batch)
		wantStored(t, c.Brokers, topic, 1, 2, 3)
		findings := check(t, p)
		wantLevel(t, findings, "kafka.replication_factor", topic, relay.LevelOK)
		wantLevel(t, findings, "kafka.min_insync_replicas", topic, relay.LevelOK)
		wantLevel(t, findings, "kafka.in_sync", topic, relay.LevelWarn) // 3 of 3 are needed
	})
}
