package kafka

import (
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// TestHundredThousandThroughRestarts (E21): the only broker is killed, or stopped, again and again while 100,000 messages are on their way, half of them over TLS
// with a login and compressed: nothing lost, nothing twice, order kept, counted by reading back.
func TestHundredThousandThroughRestarts(t *testing.T) {
	const messages, lanes, size, restarts = 100_000, 3, 100, 5
	c := testservices.KafkaCluster(t, 1, testservices.Secure())
	s := c.Secure()
	var all [2]*traffic
	for i, way := range []struct {
		brokers []string
		change  func(*Config)
	}{{c.Brokers, nil}, {s.SASL, func(cfg *Config) {
		over(s.Roots, MechanismPlain, &credentials{user: s.PlainUser, password: s.PlainPassword})(cfg)
		cfg.Compression = CompressionLZ4
	}}} {
		topic := topicName(t)
		if err := c.CreateTopic(topic, lanes, nil); err != nil {
			t.Fatal(err)
		}
		all[i] = drive(t, open(t, way.brokers, way.change), topic, lanes, size)
	}
	more := func() {
		for _, f := range all {
			f.more(int64(messages/len(all)/size/(restarts+1)) + 1)
		}
	}
	for i := range restarts {
		more()
		for _, f := range all {
			eventually(t, "something is in flight", func() bool { return f.busy.Load() > 0 })
		}
		end := c.Kill
		if i%3 == 2 {
			end = c.Stop
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
	}
	more()
	total := 0
	for _, f := range all {
		f.more(1)
		total += f.verdict(c.Brokers)
		if err := f.p.Close(within(t, patience)); err != nil { // both, before one of them is looked at for leftovers
			t.Error(err)
		}
		if f.count(relay.Unknown)+f.count(relay.Unavailable) == 0 {
			t.Error("the restarts were not noticed: the run proves nothing")
		}
	}
	if total < messages {
		t.Errorf("%d messages, want %d", total, messages)
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
	// SIGSTOP for 20 s, with the time-outs of the default: what was at the leader is unknown, and goes on under another one before the leader is back.
	t.Run("leader paused", func(t *testing.T) {
		const pause = 20 * time.Second
		topic := topicName(t)
		if err := c.CreateTopic(topic, 6, nil); err != nil {
			t.Fatal(err)
		}
		p := open(t, c.Brokers, nil)
		f := drive(t, p, topic, 6, 50)
		f.more(50)
		eventually(t, "something is in flight", func() bool { return f.busy.Load() > 0 })
		if err := c.Pause(1); err != nil {
			t.Fatal(err)
		}
		over := time.After(pause)
		begun := time.Now()
		before := f.lengths()
		eventually(t, "every lane goes on under another leader", func() bool {
			for i, n := range f.lengths() {
				if n <= before[i]+2*f.size { // one batch may have been answered already
					return false
				}
			}
			return true
		})
		took := time.Since(begun)
		<-over // it stays away for the whole time: this is the fault, not a wait for a state
		if err := c.Resume(1); err != nil {
			t.Fatal(err)
		}
		f.more(100)
		f.verdict(c.Brokers)
		t.Logf("all lanes went on after %v", took)
		if f.count(relay.Unknown) == 0 {
			t.Error("no batch was in doubt: the run proves nothing")
		}
		if most := p.cfg.Timeouts.Publish + 5*time.Second; f.worst[relay.Unknown] > most {
			t.Errorf("an answer took %v, more than %v", f.worst[relay.Unknown], most)
		}
	})
	t.Run("leadership moved", func(t *testing.T) {
		const moves, lanes = 20, 6
		topic := topicName(t)
		if err := c.CreateTopic(topic, lanes, nil); err != nil {
			t.Fatal(err)
		}
		f := drive(t, open(t, c.Brokers, nil), topic, lanes, 20)
		f.more(50)
		for i := range moves { // all partitions at once: each move is six
			if err := c.MoveLeaders(topic, lanes, 1+i%3); err != nil {
				t.Fatal(err)
			}
			f.more(lanes)
		}
		f.more(50)
		f.verdict(c.Brokers)
		t.Logf("half of the batches that met a move were acked within %v", f.recovery(0.5))
		if moved := f.codes["kafka/NOT_LEADER_OR_FOLLOWER"]; moved < moves {
			t.Errorf("%d batches met %d moves of %d lanes: the run proves little", moved, moves, lanes)
		}
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
