package rabbitmq

import (
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// TestOneNode is what a node shows that is killed, paused, starved and administered: one for all, because each start takes 6 s of processor time. Each part has
// names and users of its own, and leaves the node serving.
func TestOneNode(t *testing.T) {
	r := testservices.RabbitMQCluster(t, 1, testservices.Plugins("rabbitmq_management"), testservices.WithTLS(),
		testservices.RabbitSetting("max_message_size", fmt.Sprint(serverLimit)))
	for _, part := range []struct {
		name string
		run  func(*testing.T, *testservices.Rabbit)
	}{
		{"size limits", sizeLimits}, {"size is found", sizeIsFound}, {"alarms", alarms}, {"paused", pausedBroker}, {"credentials", credentialsRevokedAndRenewed},
		{"100,000 while restarted", hundredThousandWhileRestarted}, {"stream restarted", streamRestarted}, {"another cluster", otherCluster},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, r) })
	}
}

// hundredThousandWhileRestarted: 100,000 messages while the broker is killed with -9 and started again: nothing lost, order kept per key, and no more
// duplicates than ambiguous answers.
func hundredThousandWhileRestarted(t *testing.T, r *testservices.Rabbit) {
	topic := newName(t)
	makeTopic(t, r.Addrs, topic, "quorum", nil)
	if err := r.Sync(); err != nil {
		t.Fatal(err)
	}
	p := open(t, r.Addrs, nil)
	f := drive(t, p, topic, 125, 100_000/p.cfg.Channels)
	kills := 0
	for f.acks.Load() < 90_000 {
		before := f.acks.Load()
		eventually(t, "some thousand more", func() bool { return f.acks.Load() >= min(before+12_000, 100_000) })
		if f.acks.Load() >= 95_000 {
			break
		}
		eventually(t, "something is in flight", func() bool { return f.busy.Load() > 0 })
		if err := r.Kill(); err != nil {
			t.Fatal(err)
		}
		kills++
		if err := r.Start(); err != nil {
			t.Fatal(err)
		}
	}
	f.verdict(r.Addrs)
	if n := f.acks.Load(); n != 100_000 || kills < 4 || f.count(relay.Unknown) == 0 {
		t.Errorf("%d messages, %d kills, %d unknown: the run proves nothing", n, kills, f.count(relay.Unknown))
	}
	t.Logf("%d kills", kills)
}

// pausedBroker: SIGSTOP and CONT. What is in flight is unknown after the deadline.
func pausedBroker(t *testing.T, r *testservices.Rabbit) {
	topic := newName(t)
	makeTopic(t, r.Addrs, topic, "quorum", nil)
	p := open(t, r.Addrs, func(cfg *Config) {
		cfg.Timeouts = Timeouts{Connect: time.Second, Confirm: 2 * time.Second}
	})
	f := drive(t, p, topic, 50, 0)
	f.more(2000)
	if err := r.Pause(1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "unknown in the lanes", func() bool { return f.count(relay.Unknown) >= 8 })
	eventually(t, "then unavailable", func() bool { return f.count(relay.Unavailable) >= 8 })
	if err := r.Resume(1); err != nil {
		t.Fatal(err)
	}
	f.more(2000)
	f.verdict(r.Addrs)
}

// alarms: memory and disk. Unavailable within a second, no reconnect, no duplicate, and it goes on by itself.
func alarms(t *testing.T, r *testservices.Rabbit) {
	topic, other := newName(t), newName(t)
	makeTopic(t, r.Addrs, topic, "quorum", nil)
	makeTopic(t, r.Addrs, other, "quorum", nil)
	p := open(t, r.Addrs, func(cfg *Config) { cfg.ManagementURL, cfg.Exchanges = r.Management[0], []string{topic} })
	f := drive(t, p, topic, 20, 0)
	f.more(500)
	for name, alarm := range map[string]func(bool) error{"memory": r.MemoryAlarm, "disk": r.DiskAlarm} {
		if err := alarm(true); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+": every lane is told", func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.codes["rabbitmq/"+string(sigBlocked)]+f.codes["rabbitmq/"+string(sigAlarmed)] >= 8*20 // what was sent already may still be confirmed
		})
		begun := time.Now()
		out := publish(t, p, ids(other, "k", 1)) // a lane of its own: the others are busy
		if took := time.Since(begun); took > time.Second || out[0].Kind != relay.Unavailable || out[0].Scope != relay.ScopeDestination {
			t.Errorf("%s: %+v after %v", name, out[0], took)
		}
		eventually(t, "the check sees the alarm", func() bool {
			for _, x := range check(t, p).Items {
				if x.ID == "rabbitmq.alarms" && x.Level == relay.LevelFail {
					return true
				}
			}
			return false
		})
		if err := alarm(false); err != nil {
			t.Fatal(err)
		}
		f.more(500)
		f.mu.Lock()
		clear(f.codes)
		f.mu.Unlock()
	}
	f.verdict(r.Addrs)
	if c := p.Counters(); c.Connections != 1 || f.worst > 5*time.Second {
		t.Errorf("%+v, longest call %v", c, f.worst)
	}
}

// TestLeaderKilled: the node that leads the queue is killed while we are connected to another: slower confirms, and nobody is refused for long.
func TestLeaderKilled(t *testing.T) {
	r := testservices.RabbitMQCluster(t, 3)
	// Lanes whose first message falls into the election take a new channel.
	t.Run("quorum", func(t *testing.T) {
		topic := newName(t)
		makeTopic(t, r.Addrs[2:], topic, "quorum", amqp.Table{"x-queue-leader-locator": "client-local"}) // led by node 3
		if err := r.Sync(); err != nil {
			t.Fatal(err)
		}
		p := open(t, r.Addrs[:1], nil)
		want(t, publish(t, p, ids(topic, "first", 5_000_000)), "acked 1")
		for range 3 {
			if err := r.Kill(3); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			f := drive(t, p, topic, 20, 0) // its lanes open their channels during the election
			f.more(2000)
			took := time.Since(begun)
			if err := r.Start(3); err != nil {
				t.Fatal(err)
			}
			f.more(1000)
			f.verdict(r.Addrs[:1])
			t.Logf("2,000 messages %v after the kill", took)
			if took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			if _, err := r.Ctl("eval", `[rabbit_quorum_queue:transfer_leadership(Q, 'w3@localhost') || Q <- rabbit_amqqueue:list()].`); err != nil {
				t.Log(err) // then the next kill is one of a follower
			}
			p = open(t, r.Addrs[:1], nil) // new channels
		}
	})
	t.Run("stream", func(t *testing.T) {
		topic := newName(t)
		makeTopic(t, r.Addrs[2:], topic, "stream", amqp.Table{"x-queue-leader-locator": "client-local"})
		p := open(t, r.Addrs[:1], nil)
		f := drive(t, p, topic, 20, 0)
		f.more(1000)
		if err := r.Kill(3); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		f.more(2000)
		t.Logf("2,000 messages %v after the kill", time.Since(begun))
		if err := r.Start(3); err != nil {
			t.Fatal(err)
		}
		f.more(1000)
		f.end()
		f.judge(readStream(t, p, r.Addrs[:1], topic))
	})
}
