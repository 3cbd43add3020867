package rocketmq

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestKilledAndRestarted (E21): kill -9 of the only master under load, again and again: nothing lost, order kept, copies only for ambiguous answers.
func TestKilledAndRestarted(t *testing.T) {
	r := testservices.RocketMQCluster(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 6))
	p := open(t, r.NameServers, nil)
	f := drive(t, p, topic, 6, 100)
	f.outlives(r, 4, 30)
}

// TestPausedMaster: SIGSTOP and CONT. What is in flight is unknown after 3.5 s at the latest; a lane sends nothing more until that is over.
func TestPausedMaster(t *testing.T) {
	r := testservices.RocketMQCluster(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 4))
	p := open(t, r.NameServers, nil)
	f := drive(t, p, topic, 4, 100)
	f.more(30)
	must(t, r.Pause(testservices.Master))
	eventually(t, "unknown in each lane", func() bool { return f.count(relay.Unknown) >= 4 })
	must(t, r.Resume(testservices.Master))
	f.more(30)
	f.verdict(readConfig(r.NameServers))
	if worst := f.worst[relay.Unknown]; worst > 2*sendWait {
		t.Errorf("an answer took %v", worst)
	}
}

// TestMasterAndSlave is what the two show together.
func TestMasterAndSlave(t *testing.T) {
	r := testservices.RocketMQCluster(t, testservices.WithSlave())
	t.Run("each status", func(t *testing.T) { eachStatus(t, r) })
	t.Run("master killed beside its slave", func(t *testing.T) { masterKilledBesideItsSlave(t, r) })
}

// eachStatus: the four statuses of a real master, each on demand; only one is an ack.
func eachStatus(t *testing.T, r *testservices.Rocket) {
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 1))
	p := open(t, r.NameServers, nil)
	next := 0
	batch := func() []*relay.Message {
		next += 3
		return ids(topic, "k", numbers(next-2, next)...)
	}
	status := func(code string, begin, end func() error) {
		t.Helper()
		untilAcked(t, p, batch())
		must(t, begin())
		b := batch()
		eventually(t, code, func() bool {
			out := publish(t, p, b)
			if out[0].Kind == relay.Acked {
				b = batch() // what was begun does not show yet
				return false
			}
			want(t, out, "unknown 3")
			return out[2].Code == "rocketmq/"+code && out[2].Class == relay.ClassNotReplicated && out[2].Alive
		})
		must(t, end())
		untilAcked(t, p, b)
	}
	wantLevel(t, check(t, p), "rocketmq.slave", "b1", relay.LevelOK)
	wantLevel(t, check(t, p), "rocketmq.durability", "b1", relay.LevelOK)
	status("FLUSH_DISK_TIMEOUT", func() error { return r.SlowFlush(1500 * time.Millisecond) }, func() error { return r.SlowFlush(0) })
	status("FLUSH_SLAVE_TIMEOUT", func() error { return r.Pause(testservices.Slave) }, func() error { return r.Resume(testservices.Slave) })
	status("SLAVE_NOT_AVAILABLE", func() error { return r.Kill(testservices.Slave) }, func() error {
		eventually(t, "the slave is missed", func() bool {
			for _, f := range check(t, p).Items {
				if f.ID == "rocketmq.slave" && f.Level == relay.LevelFail {
					return true
				}
			}
			return false
		})
		return r.Start(testservices.Slave)
	})
	stored := map[string]bool{}
	for _, seq := range seqs(t, readConfig(r.NameServers), topic)[0] {
		stored[seq] = true
	}
	if len(stored) != next {
		t.Errorf("%d of %d messages are stored", len(stored), next)
	}
}

// masterKilledBesideItsSlave: the route shrinks to a slave, to which nothing is sent; when the master is back, its lanes go on without the library's 30 s.
func masterKilledBesideItsSlave(t *testing.T, r *testservices.Rocket) {
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 2))
	warned := make(warnings, 10)
	p := open(t, r.NameServers, func(c *Config) { c.Log = slog.New(warned) })
	f := drive(t, p, topic, 2, 50)
	f.more(20)
	for range 2 {
		f.kill(r)
		before := f.failed()
		eventually(t, "each lane notices, and finds no way", func() bool { return f.failed() >= before+8 })
		must(t, r.Start(testservices.Master))
		begun := time.Now()
		f.more(20)
		t.Logf("went on after %v", time.Since(begun))
	}
	must(t, r.Kill(testservices.Slave))
	eventually(t, "no slave", func() bool { return f.code("rocketmq/SLAVE_NOT_AVAILABLE") > 0 })
	for range 2 { // for each queue
		select {
		case text := <-warned:
			if !strings.Contains(text, "broker=b1 topic="+topic) {
				t.Errorf("a person reads %s", text)
			}
		case <-within(t, patience).Done():
			t.Fatal("nobody is told")
		}
	}
	must(t, r.Start(testservices.Slave))
	f.more(20)
	f.verdict(readConfig(r.NameServers))
}

// TestNameServersFail: sends need none; an Open needs one of two; with none it is unavailable.
func TestNameServersFail(t *testing.T) {
	r := testservices.RocketMQCluster(t, testservices.WithSecondNameServer())
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 2))
	p := open(t, r.NameServers, func(c *Config) { c.Connect = time.Second })
	f := drive(t, p, topic, 2, 50)
	f.more(20)
	must(t, r.Kill(testservices.NameServer))
	f.more(20)
	q := open(t, r.NameServers, func(c *Config) { c.Connect = time.Second })
	untilAcked(t, q, ids(topic, "another relay", 1_000_001))
	must(t, r.Pause(testservices.NameServer2))
	f.more(20)
	lost := newPublisher(t, r.NameServers, func(c *Config) { c.Connect = time.Second })
	if err := lost.Open(within(t, patience), 1); err == nil {
		t.Error("opened without a name server")
	}
	must(t, r.Resume(testservices.NameServer2))
	must(t, r.Start(testservices.NameServer))
	f.more(20)
	opened(t, lost)
	if f.count(relay.Unavailable)+f.count(relay.Unknown) > 0 {
		t.Errorf("sends were disturbed: %v", f.codes)
	}
	close(f.stop)
	f.tasks.Wait()
}

// TestNameServersDiffer_D11: one may know neither brokers nor topics, as for a while when it was just started; what the other one knows counts, whichever is named first.
func TestNameServersDiffer_D11(t *testing.T) {
	r := testservices.RocketMQCluster(t, testservices.WithBlindNameServer())
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 2))
	for _, servers := range [][]string{{r.NameServers[1], r.NameServers[0]}, r.NameServers} {
		p := open(t, servers, nil)
		m := ids(topic, "k", 1)[0]
		if at := p.Lane(m); at.Index < 0 {
			t.Errorf("lane %v, although a name server knows the topic", at)
		}
		if found, _, err := p.find(within(t, patience), topic); err != nil || found == nil || len(found.queues(permWrite)) != 2 {
			t.Errorf("route %+v, %v", found, err)
		}
		if f := check(t, p); f.Cluster != "waybill/b1" {
			t.Errorf("cluster %q", f.Cluster)
		}
	}
	blind, err := newProber(readConfig(r.NameServers[1:])).brokers(within(t, patience))
	must(t, err)
	if len(blind.Brokers) > 0 {
		t.Errorf("the second name server knows %v", blind.Brokers)
	}
}

// TestNameServersMove: other addresses behind the names of the configuration, seen by the watcher, give the library a new client; what is in flight is not disturbed.
func TestNameServersMove(t *testing.T) {
	r := testservices.RocketMQ(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 2))
	p := newPublisher(t, r.NameServers, nil)
	p.watchEvery = 20 * time.Millisecond
	opened(t, p)
	f := drive(t, p, topic, 2, 50)
	f.more(10)
	p.clients.mu.Lock()
	p.clients.servers = []string{unusedAddr(t)} // as if the names had led there until now
	p.clients.mu.Unlock()
	eventually(t, "a new client", func() bool { return p.Counters().Renewed == 1 })
	f.more(10)
	f.verdict(readConfig(r.NameServers))
	if n := f.failed(); n > 0 {
		t.Errorf("%d batches were disturbed: %v", n, f.codes)
	}
}

// TestNamesAreLookedUp: the library takes addresses only.
func TestNamesAreLookedUp(t *testing.T) {
	found, err := lookUp(t.Context(), []string{"localhost:9876", "192.0.2.1:1", "192.0.2.1:1"})
	if err != nil || len(found) < 2 || found[len(found)-1] != "192.0.2.1:1" && found[0] != "192.0.2.1:1" {
		t.Errorf("%v, %v", found, err)
	}
	for _, addr := range found {
		if _, err := lookUp(t.Context(), []string{addr}); err != nil || addr == "localhost:9876" {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if found, err := lookUp(t.Context(), []string{"no-such-host.invalid:9876"}); err == nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
}

// TestPanicOfTheLibrary: it does not end the program, what was out is unknown at worst, and the next flight has a new client.
func TestPanicOfTheLibrary(t *testing.T) {
	r := testservices.RocketMQ(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 1))
	p := open(t, r.NameServers, nil)
	want(t, publish(t, p, ids(topic, "k", 1)), "acked 1")
	primitive.WithRecover(func() { panic("as in a goroutine of the library") })
	want(t, publish(t, p, ids(topic, "k", 2)), "acked 1")
	if n := p.Counters().Renewed; n != 1 {
		t.Errorf("renewed %d times", n)
	}
	wantStored(t, r.NameServers, topic, 1, 2)
}
