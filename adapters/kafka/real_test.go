package kafka

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
	"github.com/waybillmq/waybill/relay"
)

// traffic publishes to every lane of a topic as the engine does: one batch in flight per lane, each presented unchanged until it is acked.
type traffic struct {
	t     *testing.T
	p     *Publisher
	topic string
	lanes int
	size  int // messages of a batch

	stop  chan struct{}
	tasks sync.WaitGroup
	acks  atomic.Int64 // batches
	busy  atomic.Int64 // Publish calls that run

	mu    sync.Mutex
	acked [][]string         // by lane, waybill-seq in order
	where map[string]int64   // offset said
	kinds map[relay.Kind]int // outcomes of batches
	codes map[string]int     // of what was not acked
	worst map[relay.Kind]time.Duration
}

func drive(t *testing.T, p *Publisher, topic string, lanes, size int) *traffic {
	f := &traffic{t: t, p: p, topic: topic, lanes: lanes, size: size, stop: make(chan struct{}), acked: make([][]string, lanes),
		where: map[string]int64{}, kinds: map[relay.Kind]int{}, codes: map[string]int{}, worst: map[relay.Kind]time.Duration{}}
	for i := range lanes {
		f.tasks.Go(func() { f.lane(i) })
	}
	return f
}

func (f *traffic) lane(i int) {
	lane := relay.Lane{Topic: f.topic, Index: int32(i)}
	for id := 1; ; id += f.size {
		batch := ids(f.topic, fmt.Sprint("key of lane ", i), span(id, id+f.size-1)...)
		for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
			begun := time.Now()
			f.busy.Add(1)
			out := f.p.Publish(within(f.t, 2*patience), lane, batch)
			f.busy.Add(-1)
			if f.note(i, batch, out, time.Since(begun)) {
				break
			}
			<-time.After(pause) // the engine's back-off
		}
		select {
		case <-f.stop:
			return
		default:
		}
	}
}

func (f *traffic) note(i int, batch []*relay.Message, out []relay.Outcome, took time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kinds[out[0].Kind]++
	f.worst[out[0].Kind] = max(f.worst[out[0].Kind], took)
	if out[0].Kind != relay.Acked {
		f.codes[out[0].Code]++
		return false
	}
	f.acks.Add(1)
	for k, m := range batch {
		seq := strconv.Itoa(int(m.ID))
		f.acked[i] = append(f.acked[i], seq)
		if out[k].At.HasOffset {
			f.where[fmt.Sprint(i, "/", seq)] = out[k].At.Offset
		}
	}
	return true
}

// more waits until more batches were acked.
func (f *traffic) more(n int64) {
	f.t.Helper()
	before := f.acks.Load()
	eventually(f.t, fmt.Sprintf("%d more batches acked", n), func() bool { return f.acks.Load() >= before+n })
}

// verdict ends the traffic and demands that the broker has exactly what was acked, in order, where it was said to lie.
func (f *traffic) verdict(brokers []string) {
	f.t.Helper()
	close(f.stop)
	f.tasks.Wait()
	stored := make([][]string, f.lanes)
	misplaced := 0
	err := ReadAll(within(f.t, 2*patience), brokers, f.topic, func(r Record) error {
		seq, _ := r.Header(record.HeaderSeq)
		stored[r.Partition] = append(stored[r.Partition], seq)
		if at, said := f.where[fmt.Sprint(r.Partition, "/", seq)]; said && at != r.Offset {
			misplaced++
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	total := 0
	for i := range f.lanes {
		total += len(stored[i])
		if !slices.Equal(stored[i], f.acked[i]) {
			f.t.Errorf("lane %d: %d acked, %d stored, or another order", i, len(f.acked[i]), len(stored[i]))
		}
	}
	if misplaced > 0 {
		f.t.Errorf("%d messages are not where their outcome says", misplaced)
	}
	if n := f.p.Counters().SessionsLapsed; n != 0 {
		f.t.Errorf("%d sessions lapsed", n)
	}
	f.t.Logf("%d messages; batches %v, %v; longest %v; %+v", total, f.kinds, f.codes, f.worst, f.p.Counters())
}

func (f *traffic) count(k relay.Kind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kinds[k]
}

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

func (f *traffic) lengths() (n []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, list := range f.acked {
		n = append(n, len(list))
	}
	return n
}

// TestCutAtEachByte (E1): the connection is cut at byte n of the request or of the answer, then the same batch is presented again.
func TestCutAtEachByte(t *testing.T) {
	c := testservices.Kafka(t)
	g := newTarget(t, c.Brokers, func(topic string, n int) error { return c.CreateTopic(topic, n, nil) })
	topic := g.Topic(1)
	p := g.via(nil)
	defer p.Close(within(t, patience))
	opened(t, p)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var stored []int
	kinds := map[relay.Kind]int{}
	const cuts = 400
	fired := 0
	for id := 1; id < 3*cuts; id += 3 {
		batch := ids(topic, "k", span(id, id+2)...)
		stored = append(stored, span(id, id+2)...)
		direction, most := tcpproxy.Request, 650 // the request has about 600 bytes, the answer about 70
		if r.IntN(2) == 0 {
			direction, most = tcpproxy.Answer, 80
		}
		cut := g.proxy.Cut(direction, int64(r.IntN(most)))
		before, _ := untilAcked(t, p, batch)
		for k, n := range before {
			kinds[k] += n
		}
		select {
		case <-cut:
			fired++
		default:
		}
	}
	wantStored(t, c.Brokers, topic, stored...)
	if n := p.Counters().SessionsLapsed; n != 0 {
		t.Errorf("%d sessions lapsed", n)
	}
	t.Logf("%d of %d cuts fell on a batch; outcomes before the ack: %v", fired, cuts, kinds)
	if kinds[relay.Unknown] < cuts/3 {
		t.Error("too few cuts were noticed: the run proves nothing")
	}
}

// TestHalfOpen (E20): bytes go into a black hole. On a busy machine the time of a batch can be over before its first byte left, and then it is unavailable
// for a good reason: the link dies anew until a request has passed the proxy, and from then on nothing but unknown is right.
func TestHalfOpen(t *testing.T) {
	c := testservices.Kafka(t)
	g := newTarget(t, c.Brokers, func(topic string, n int) error { return c.CreateTopic(topic, n, nil) })
	topic := g.Topic(1)
	p := g.via(quick)
	defer p.Close(within(t, patience))
	opened(t, p)
	batch := ids(topic, "k", 1, 2)
	var stored []int
	eventually(t, "a request into the black hole", func() bool {
		before := ids(topic, "k", 100+len(stored))
		untilAcked(t, p, before) // a connection is there
		stored = append(stored, int(before[0].ID))
		passed := g.proxy.Passed(produceBytes)
		g.proxy.Hold(tcpproxy.Answer)
		begun := time.Now()
		out := publish(t, p, batch)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if out[0].Kind == relay.Unknown {
			want(t, out, "unknown 2")
			return true
		}
		want(t, out, "unavailable 2")
		select {
		case <-passed:
			t.Fatalf("a request has left: %+v", out[0])
		default:
		}
		g.proxy.Release(tcpproxy.Answer)
		return false
	})
	want(t, publish(t, p, batch), "unknown 2") // nobody answers a question for the leader either
	g.proxy.Release(tcpproxy.Answer)
	untilAcked(t, p, batch)
	wantStored(t, c.Brokers, topic, append(stored, 1, 2)...)
}

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

// TestSizeLimits (E17): one byte under the limit and the limit itself pass, one over is rejected, alone.
func TestSizeLimits(t *testing.T) {
	const limit = 20_000
	c := testservices.Kafka(t)
	topic := topicName(t)
	if err := c.CreateTopic(topic, 1, map[string]string{"max.message.bytes": strconv.Itoa(limit)}); err != nil {
		t.Fatal(err)
	}
	p := open(t, c.Brokers, func(cfg *Config) { cfg.Topics = []string{topic} })
	sized := func(id, bytes int) *relay.Message {
		m := ids(topic, "", id)[0]
		for n := bytes - 300; ; n++ {
			m.Payload = make([]byte, n)
			if buf := encodeAll([]*relay.Message{m}); len(buf)-record.SizePrefix == bytes {
				return m
			}
		}
	}
	batch := append(ids(topic, "", 1, 2), sized(3, limit-1), sized(4, limit), sized(5, limit+1))
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

func check(t *testing.T, p *Publisher) relay.Findings {
	t.Helper()
	f, err := p.Check(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func wantLevel(t *testing.T, f relay.Findings, id, subject string, level relay.Level) {
	t.Helper()
	for _, x := range f.Items {
		if x.ID == id && x.Subject == subject {
			if x.Level != level || x.Text == "" || (level == relay.LevelFail || level == relay.LevelWarn) && x.Fix == "" {
				t.Errorf("%+v, want %s", x, level)
			}
			return
		}
	}
	t.Errorf("no finding %s about %s", id, subject)
}
