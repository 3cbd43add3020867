package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/relay"
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

// recordsOf gives the payloads of a partition's batch.
func recordsOf(t testing.TB, raw []byte) (values []string) {
	var b kmsg.RecordBatch
	if err := b.ReadFrom(raw); err != nil {
		t.Error(err)
	}
	for rest := b.Records; len(rest) > 0; {
		size, n := binary.Varint(rest)
		var r kmsg.Record
		if err := r.ReadFrom(rest[:n+int(size)]); err != nil {
			t.Error(err)
			return values
		}
		values = append(values, string(r.Value))
		rest = rest[n+int(size):]
	}
	return values
}

// refusePoison makes the broker refuse batches that hold the payload "poison": by index, or as a whole.
func refusePoison(t testing.TB, c *kfake.Cluster, code int16, byIndex bool) {
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req := r.(*kmsg.ProduceRequest)
		res := req.ResponseKind().(*kmsg.ProduceResponse)
		bad := false
		for _, rt := range req.Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition = rp.Partition
				for i, v := range recordsOf(t, rp.Records) {
					if v != "poison" {
						continue
					}
					sp.ErrorCode, bad = code, true
					if byIndex {
						e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
						e.RelativeOffset = int32(i)
						text := "no key"
						e.ErrorMessage = &text
						sp.ErrorRecords = append(sp.ErrorRecords, e)
					}
				}
				st.Partitions = append(st.Partitions, sp)
			}
			res.Topics = append(res.Topics, st)
		}
		if bad {
			c.KeepControl()
			return res, nil, true
		}
		return nil, nil, false
	})
}

// TestPoison: one message of a hundred is refused; the others are stored in order, but nothing of its key behind it.
func TestPoison(t *testing.T) {
	for _, code := range []int16{10, 18, 43, 87} {
		for _, byIndex := range []bool{false, true} {
			for _, at := range []int{0, 1, 50, 99} {
				t.Run(fmt.Sprintf("code %d index %v at %d", code, byIndex, at), func(t *testing.T) {
					c := fake(t, kfake.SeedTopics(1, "t"))
					refusePoison(t, c, code, byIndex)
					p := open(t, c.ListenAddrs(), nil)
					batch := ids("t", "", span(1, 100)...)
					batch[at].Payload = []byte("poison")
					for i := range batch {
						batch[i].Key = fmt.Sprintf("k%d", i)
					}
					keyed := (at + 7) % 100
					batch[keyed].Key = batch[at].Key
					var stored []int
					out := publish(t, p, batch)
					for i, o := range out {
						switch {
						case i == at:
							if o.Kind != relay.Rejected || o.Detail == "" {
								t.Errorf("the culprit: %+v", o)
							}
						case i == keyed && keyed > at:
							if o.Kind != relay.Unavailable || o.Scope != relay.ScopeKey {
								t.Errorf("behind the culprit: %+v", o)
							}
						case o.Kind != relay.Acked:
							t.Errorf("message %d: %+v", i, o)
						default:
							stored = append(stored, i+1)
						}
					}
					wantStored(t, c.ListenAddrs(), "t", stored...)
					wantOffsets(t, c.ListenAddrs(), batch, out, relay.Lane{Topic: "t"})
					if n := p.Counters().SessionsLapsed; n != 0 {
						t.Errorf("%d sessions lapsed after definite refusals", n)
					}
				})
			}
		}
	}
}

// TestTwoPoisonsByBisection: halving finds several culprits.
func TestTwoPoisonsByBisection(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	refusePoison(t, c, 87, false)
	p := open(t, c.ListenAddrs(), nil)
	batch := ids("t", "", span(1, 500)...)
	batch[17].Payload, batch[18].Payload, batch[499].Payload = []byte("poison"), []byte("poison"), []byte("poison")
	want(t, publish(t, p, batch), "acked 17 rejected 2 acked 480 rejected 1")
	wantStored(t, c.ListenAddrs(), "t", append(span(1, 17), span(20, 499)...)...)
}

// silence makes the broker swallow n produce requests: no answer, nothing stored. seen counts all of them.
func silence(c *kfake.Cluster, n int32) (seen *atomic.Int32) {
	seen = &atomic.Int32{}
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return nil, nil, seen.Add(1) <= n
	})
	return seen
}

func quick(c *Config) {
	c.Timeouts = Timeouts{Connect: time.Second, Broker: 100 * time.Millisecond, Publish: 300 * time.Millisecond}
}

// TestNoAnswer: a request that is never answered is unknown after the deadline; the same bytes go again. Before the first of them has left, a deadline that
// is over (on a busy machine) means unavailable; afterwards it never does.
func TestNoAnswer(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), quick)
	seen := silence(c, 2)
	batch := ids("t", "k", 1, 2, 3)
	var out []relay.Outcome
	eventually(t, "a request is swallowed", func() bool {
		before := seen.Load()
		if out = publish(t, p, batch); out[0].Kind == relay.Unavailable && before != 0 {
			t.Fatalf("%d requests are out: %+v", before, out[0])
		}
		return out[0].Kind != relay.Unavailable
	})
	want(t, out, "unknown 3")
	if out[0].Class != relay.ClassTimeout {
		t.Errorf("%+v", out[0])
	}
	before, _ := untilAcked(t, p, batch)
	if before[relay.Unknown] == 0 || len(before) != 1 {
		t.Errorf("outcomes before the ack: %v", before)
	}
	if n := seen.Load(); n < 3 {
		t.Errorf("%d requests, want 3", n)
	}
	wantStored(t, c.ListenAddrs(), "t", 1, 2, 3)
}

// TestAppendedThenOtherBatch (never use a sequence number for other bytes): a batch is stored and its answer lost; the engine presents something else.
// With the old sequence number the broker would take it for the repeat, and it would be lost.
func TestAppendedThenOtherBatch(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), nil)
	want(t, publish(t, p, ids("t", "k", 1, 2)), "acked 2")
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut}) // answered so, and stored
	want(t, publish(t, p, ids("t", "k", 3, 4)), "unknown 2")
	want(t, publish(t, p, ids("t", "k", 5, 6)), "acked 2")
	want(t, publish(t, p, ids("t", "k", 7)), "acked 1")
	wantStored(t, c.ListenAddrs(), "t", 1, 2, 3, 4, 5, 6, 7)
	if n := p.Counters().SessionsLapsed; n != 1 {
		t.Errorf("%d sessions lapsed, want 1", n)
	}
}

// TestOpenBatchLeadsALongerOne: the open bytes go first, unchanged, and the rest after them; no session is given up.
func TestOpenBatchLeadsALongerOne(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), nil)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend})
	want(t, publish(t, p, ids("t", "k", 1, 2)), "unknown 2")
	batch := ids("t", "k", 1, 2, 3, 4)
	out := publish(t, p, batch)
	want(t, out, "acked 4")
	wantOffsets(t, c.ListenAddrs(), batch, out, relay.Lane{Topic: "t"})
	wantStored(t, c.ListenAddrs(), "t", 1, 2, 3, 4)
	if n := p.Counters().SessionsLapsed; n != 0 {
		t.Errorf("%d sessions lapsed", n)
	}
}

// TestGivenUpAndTakenUpAgain (E2): the caller's time is over while the request is out. Nothing is cancelled: the next call waits for the same request.
func TestGivenUpAndTakenUpAgain(t *testing.T) {
	for name, next := range map[string][]*relay.Message{"the same": ids("t", "k", 1, 2), "another": ids("t", "k", 3)} {
		t.Run(name, func(t *testing.T) {
			c := fake(t, kfake.SeedTopics(1, "t"))
			p := open(t, c.ListenAddrs(), nil)
			requests := atomic.Int32{}
			arrived, release := make(chan struct{}), make(chan struct{})
			c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if requests.Add(1) == 1 {
					close(arrived)
					c.SleepControl(func() { <-release })
				}
				return nil, nil, false
			})
			ctx, cancel := context.WithCancel(context.Background())
			first := ids("t", "k", 1, 2)
			done := make(chan []relay.Outcome)
			go func() { done <- p.Publish(ctx, relay.Lane{Topic: "t"}, first) }()
			<-arrived
			cancel()
			want(t, <-done, "unknown 2")
			expired, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer stop()
			kinds := "unknown 2"
			if name == "another" {
				kinds = "unavailable 1" // not sent: the request before it is still out
			}
			want(t, p.Publish(expired, relay.Lane{Topic: "t"}, next), kinds)
			close(release)
			_, out := untilAcked(t, p, next)
			stored := []int{1, 2}
			wantRequests := int32(1)
			if name == "another" {
				stored, wantRequests = []int{1, 2, 3}, 2
			}
			wantOffsets(t, c.ListenAddrs(), next, out, relay.Lane{Topic: "t"})
			wantStored(t, c.ListenAddrs(), "t", stored...)
			if n := requests.Load(); n != wantRequests {
				t.Errorf("%d requests, want %d", n, wantRequests)
			}
			if n := p.Counters().SessionsLapsed; n != 0 {
				t.Errorf("%d sessions lapsed", n)
			}
		})
	}
}

func TestExpiredContextSendsNothing(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	want(t, p.Publish(ctx, relay.Lane{Topic: "t"}, ids("t", "k", 1)), "unavailable 1")
	wantStored(t, c.ListenAddrs(), "t")
}

// TestLanesTravelTogether: what waits while two requests are out leaves as one request; never two of one partition, never more than two requests.
func TestLanesTravelTogether(t *testing.T) {
	const lanes = 20
	c := fake(t, kfake.SeedTopics(lanes, "t"))
	p := open(t, c.ListenAddrs(), nil)
	var sizes []int
	arrived, release := make(chan struct{}, lanes), make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		n := 0
		for _, t := range r.(*kmsg.ProduceRequest).Topics {
			n += len(t.Partitions)
		}
		sizes = append(sizes, n)
		arrived <- struct{}{}
		if len(sizes) <= 2 {
			c.SleepControl(func() { <-release })
		}
		return nil, nil, false
	})
	results := make(chan []relay.Outcome, lanes)
	send := func(i int) {
		go func() {
			results <- p.Publish(within(t, patience), relay.Lane{Topic: "t", Index: int32(i)}, ids("t", "", i*500))
		}()
	}
	send(0)
	<-arrived
	send(1)
	<-arrived
	for i := 2; i < lanes; i++ {
		send(i)
	}
	s := p.sender(c.LeaderFor("t", 0))
	eventually(t, "the others wait", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.fast) == lanes-2 && s.requests == 2 })
	close(release)
	for range lanes {
		want(t, <-results, "acked 1")
	}
	if !slices.Equal(sizes, []int{1, 1, lanes - 2}) {
		t.Errorf("partitions of the requests: %v", sizes)
	}
}

// TestSlowLaneTravelsAlone (I13): a lane whose last answer took long does not hold up the others.
func TestSlowLaneTravelsAlone(t *testing.T) {
	s := &sender{p: &Publisher{}}
	at := func(i int32, slow bool) *flight {
		l := &lane{at: relay.Lane{Topic: "t", Index: i}}
		l.slow.Store(slow)
		return &flight{lane: l, buf: make([]byte, 8)}
	}
	s.requests, s.slowCount = maxRequests, maxSlowRequests // nothing may leave yet
	for i := range int32(6) {
		s.submit(at(i, i >= 3))
	}
	if _, ok := s.next(); ok {
		t.Fatal("more requests than allowed")
	}
	s.requests, s.slowCount = 0, 0
	var got []string
	for l, ok := s.next(); ok; l, ok = s.next() {
		text := fmt.Sprint(l.slow)
		for _, f := range l.flights {
			text += fmt.Sprint(" ", f.lane.at.Index)
		}
		got = append(got, text)
	}
	if want := []string{"false 0 1 2", "true 3", "true 4"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if f := s.slow[0]; !s.withdraw(f) || s.withdraw(f) {
		t.Error("a waiting flight can be taken back once")
	}
}

func TestRequestIsBounded(t *testing.T) {
	s := &sender{p: &Publisher{}, requests: maxRequests}
	for i := range int32(5) {
		buf := make([]byte, 4)
		binary.BigEndian.PutUint32(buf, 3<<20)
		s.submit(&flight{lane: &lane{at: relay.Lane{Index: i}}, buf: buf})
	}
	s.requests = 0
	var counts []int
	for l, ok := s.next(); ok; l, ok = s.next() {
		counts = append(counts, len(l.flights))
	}
	if !slices.Equal(counts, []int{2, 2}) || len(s.fast) != 1 {
		t.Errorf("%v flights in requests of at most 8 MiB, %d wait", counts, len(s.fast))
	}
}

// TestTrustEnds: the write gate and the look before it.
func TestTrustEnds(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	var trusted atomic.Bool
	trusted.Store(true)
	p := open(t, c.ListenAddrs(), func(cfg *Config) { cfg.Trust = trusted.Load })
	want(t, publish(t, p, ids("t", "k", 1)), "acked 1")
	trusted.Store(false)
	out := publish(t, p, ids("t", "k", 2))
	want(t, out, "unavailable 1")
	conn, err := p.dialer.gated(within(t, patience), "tcp", c.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Write([]byte("late")); n != 0 || !errors.Is(err, errTrustEnded) {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	if _, err := p.Check(within(t, patience)); err != nil {
		t.Errorf("a check needs no trust: %v", err)
	}
	wantStored(t, c.ListenAddrs(), "t", 1)
}

// TestColdStart: all brokers down is ErrUnavailable, never "no such topic"; once they are there the same publisher opens.
func TestColdStart(t *testing.T) {
	addr := unusedAddr(t)
	p := newPublisher(t, []string{addr}, nil)
	if p.ClusterID() != "" {
		t.Error("a cluster id before Open")
	}
	want(t, publish(t, p, ids("t", "k", 1)), "unavailable 1")
	if err := p.Open(within(t, patience), 1); !errors.Is(err, relay.ErrUnavailable) {
		t.Fatalf("open: %v", err)
	}
	if _, err := p.Check(within(t, patience)); !errors.Is(err, relay.ErrUnavailable) {
		t.Fatalf("check: %v", err)
	}
	var port int
	fmt.Sscanf(addr[bytes.LastIndexByte([]byte(addr), ':')+1:], "%d", &port)
	c := fake(t, kfake.Ports(port), kfake.SeedTopics(3, "t"), kfake.ClusterID("cluster-a"))
	if err := p.Open(within(t, patience), 1); err != nil {
		t.Fatal(err)
	}
	want(t, publish(t, p, ids("t", "k", 1)), "acked 1")
	if err := p.Open(within(t, patience), 2); err != nil || p.ClusterID() != "cluster-a" {
		t.Fatalf("open again: %v, cluster %q", err, p.ClusterID())
	}
	_ = c
}

// TestOpenRefused (E16): what a person must change is a ConfigError.
func TestOpenRefused(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.ClusterAuthorizationFailed, kerr.UnsupportedVersion, kerr.TransactionalIDAuthorizationFailed} {
		c := fake(t, kfake.SeedTopics(1, "t"))
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: e, Count: -1})
		p := newPublisher(t, c.ListenAddrs(), nil)
		var refusal *relay.ConfigError
		if err := p.Open(within(t, patience), 1); !errors.As(err, &refusal) || refusal.Class == "" {
			t.Errorf("%s: %v", e.Message, err)
		}
		bare := open(t, c.ListenAddrs(), func(cfg *Config) { cfg.Idempotence = false })
		want(t, publish(t, bare, ids("t", "k", 1)), "acked 1")
	}
}

// TestOpenWhileCoordinatorLoads: a young cluster has no producer ids for a moment. One Open waits for them; it is unavailable when they do not come in time,
// and says why.
func TestOpenWhileCoordinatorLoads(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.ConcurrentTransactions} {
		answer := func(t *testing.T, count int) *kfake.Cluster {
			c := fake(t, kfake.SeedTopics(1, "t"))
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: e, Count: count})
			return c
		}
		t.Run(e.Message+" three times", func(t *testing.T) {
			p := newPublisher(t, answer(t, 3).ListenAddrs(), nil)
			if err := p.Open(within(t, patience), 1); err != nil {
				t.Fatal(err)
			}
			want(t, publish(t, p, ids("t", "k", 1)), "acked 1")
		})
		t.Run(e.Message+" when asked for a check", func(t *testing.T) {
			wantLevel(t, check(t, newPublisher(t, answer(t, 3).ListenAddrs(), nil)), "kafka.producer_id", "cluster", relay.LevelOK)
		})
		t.Run(e.Message+" without end", func(t *testing.T) {
			p := newPublisher(t, answer(t, -1).ListenAddrs(), func(cfg *Config) { cfg.Timeouts.Connect = time.Second })
			if err := p.Open(within(t, patience), 1); !errors.Is(err, relay.ErrUnavailable) {
				t.Error(err)
			}
		})
		t.Run(e.Message+" until the caller's time is over", func(t *testing.T) {
			p := newPublisher(t, answer(t, -1).ListenAddrs(), func(cfg *Config) { cfg.Timeouts.Connect = patience })
			begun := time.Now()
			if err := p.Open(within(t, 500*time.Millisecond), 1); !errors.Is(err, relay.ErrUnavailable) || time.Since(begun) > patience/2 {
				t.Errorf("%v after %v", err, time.Since(begun))
			}
		})
	}
}

// TestNoFreshSession: the session lapsed and no producer id can be had: nothing is sent.
func TestNoFreshSession(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), func(cfg *Config) { cfg.Timeouts.Connect = time.Second })
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.UnknownProducerID})
	want(t, publish(t, p, ids("t", "k", 1, 2)), "unknown 2")
	h := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.CoordinatorNotAvailable, Count: -1})
	want(t, publish(t, p, ids("t", "k", 1, 2)), "unavailable 2")
	h.Remove()
	want(t, publish(t, p, ids("t", "k", 1, 2)), "acked 2")
	wantStored(t, c.ListenAddrs(), "t", 1, 2)
}

// TestFindingsConcernWhatIsUsed: of all topics of a cluster, the ones that something was presented for; before Open and for a doctor Check tells of all.
func TestFindingsConcernWhatIsUsed(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "ours", "of.others", "named"))
	p := newPublisher(t, c.ListenAddrs(), nil)
	concern := func(p *Publisher) (subjects []string) {
		for _, f := range check(t, p).Items {
			if p.Concerns(f) && !slices.Contains(subjects, f.Subject) {
				subjects = append(subjects, f.Subject)
			}
		}
		return subjects
	}
	for _, topic := range []string{"ours", "of.others"} {
		wantLevel(t, check(t, p), "kafka.replication_factor", topic, relay.LevelFail)
	}
	general := []string{c.ListenAddrs()[0], "cluster"}
	if got := concern(p); !slices.Equal(got, general) {
		t.Errorf("before Open: %q", got)
	}
	opened(t, p)
	want(t, publish(t, p, ids("ours", "k", 1)), "acked 1")
	if got := concern(p); !slices.Equal(got, append(general, "ours")) {
		t.Errorf("after a batch for one topic: %q", got)
	}
	named := open(t, c.ListenAddrs(), func(cfg *Config) { cfg.Topics = []string{"named"} })
	if got := concern(named); !slices.Equal(got, append(general, "named")) {
		t.Errorf("a topic that routes name: %q", got)
	}
}

// TestUnknownTopic (E16): unavailable, after a minute config; when the topic appears the owner of the publisher is told, and a new one delivers.
func TestUnknownTopic(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "other"))
	var told hook
	p := newPublisher(t, c.ListenAddrs(), func(cfg *Config) { cfg.OnLanesChanged = told.told })
	p.missingAfter = 300 * time.Millisecond
	opened(t, p)
	batch := ids("new", "k", 1, 2)
	if lane := p.Lane(batch[0]); lane.Index >= 0 {
		t.Fatalf("lane %v", lane)
	}
	out := publish(t, p, batch)
	if want(t, out, "unavailable 2"); out[0].Scope != relay.ScopeTopic {
		t.Errorf("%+v", out[0])
	}
	eventually(t, "config", func() bool { out = publish(t, p, batch); return out[0].Kind == relay.Config })
	if out[0].Scope != relay.ScopeTopic || out[0].Class != relay.ClassUnknownTopic {
		t.Errorf("%+v", out[0])
	}
	want(t, publish(t, p, ids("other", "k", 9)), "acked 1")
	if err := c.CreateTopic("new", 3, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "told", func() bool {
		if out = publish(t, p, batch); out[0].Kind == relay.Acked {
			t.Fatal("acked in a provisional lane")
		}
		return len(told.list()) > 0
	})
	if lane := p.Lane(batch[0]); lane.Index >= 0 {
		t.Error("a lane changed while the publisher lives")
	}
	if list := told.list(); !slices.Equal(list, []string{"new"}) {
		t.Errorf("told of %v", list)
	}
	next := open(t, c.ListenAddrs(), nil)
	want(t, publish(t, next, batch), "acked 2")
}

func TestIllegalTopicName(t *testing.T) {
	c := fake(t)
	p := open(t, c.ListenAddrs(), nil)
	out := publish(t, p, ids("not a topic", "k", 1))
	if want(t, out, "config 1"); out[0].Scope != relay.ScopeTopic {
		t.Errorf("%+v", out[0])
	}
}

// TestPartitionsRaised: the lanes stay as they are; the change is told once.
func TestPartitionsRaised(t *testing.T) {
	c := fake(t, kfake.SeedTopics(2, "t"))
	var told hook
	p := newPublisher(t, c.ListenAddrs(), func(cfg *Config) { cfg.OnLanesChanged = told.told })
	p.watchEvery = 20 * time.Millisecond
	if err := p.Open(within(t, patience), 1); err != nil {
		t.Fatal(err)
	}
	before := map[string]relay.Lane{}
	for i := range 100 {
		key := fmt.Sprint("k", i)
		before[key] = p.Lane(ids("t", key, 1)[0])
	}
	raisePartitions(t, c.ListenAddrs(), "t", 5)
	eventually(t, "told", func() bool { return len(told.list()) > 0 })
	for key, lane := range before {
		if got := p.Lane(ids("t", key, 1)[0]); got != lane {
			t.Fatalf("key %s moved from %v to %v", key, lane, got)
		}
	}
	turn := p.compass.now.Load().turn
	eventually(t, "more looks", func() bool { return p.compass.now.Load().turn > turn+3 })
	if list := told.list(); !slices.Equal(list, []string{"t"}) {
		t.Errorf("told of %v", list)
	}
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

// TestCloseInEveryState (goroutines and sockets are checked by newPublisher).
func TestCloseInEveryState(t *testing.T) {
	c := fake(t, kfake.SeedTopics(4, "t"))
	t.Run("never opened", func(t *testing.T) { newPublisher(t, c.ListenAddrs(), nil) })
	t.Run("open failed", func(t *testing.T) {
		p := newPublisher(t, []string{unusedAddr(t)}, nil)
		_ = p.Open(within(t, patience), 1)
	})
	t.Run("twice and afterwards", func(t *testing.T) {
		p := open(t, c.ListenAddrs(), nil)
		want(t, publish(t, p, ids("t", "k", 1)), "acked 1")
		for range 2 {
			if err := p.Close(within(t, patience)); err != nil {
				t.Error(err)
			}
		}
		want(t, publish(t, p, ids("t", "k", 2)), "unavailable 1")
		if err := p.Open(within(t, patience), 1); !errors.Is(err, relay.ErrClosed) {
			t.Errorf("open: %v", err)
		}
		if _, err := p.Check(within(t, patience)); !errors.Is(err, relay.ErrClosed) {
			t.Errorf("check: %v", err)
		}
	})
	t.Run("with a request out", func(t *testing.T) {
		p := open(t, c.ListenAddrs(), nil)
		arrived := make(chan struct{})
		c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			close(arrived)
			c.DropControl()
			return nil, nil, true
		})
		done := make(chan []relay.Outcome)
		go func() { done <- p.Publish(within(t, patience), relay.Lane{Topic: "t"}, ids("t", "k", 1)) }()
		<-arrived
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		want(t, <-done, "unknown 1")
		want(t, publish(t, p, ids("t", "k", 2)), "unavailable 1")
		want(t, publish(t, p, ids("t", "k", 1, 2)), "unknown 1 unavailable 1")
	})
	t.Run("while open waits for a silent broker", func(t *testing.T) {
		arrived := make(chan struct{})
		c.ControlKey(int16(kmsg.InitProducerID), func(kmsg.Request) (kmsg.Response, error, bool) { close(arrived); return nil, nil, true })
		p := newPublisher(t, c.ListenAddrs(), nil)
		done := make(chan error)
		go func() { done <- p.Open(within(t, patience), 1) }()
		<-arrived
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err == nil {
			t.Error("opened")
		}
	})
}

// TestBrokenInvariantsStop: an engine that breaks the rules of a lane must not go on.
func TestBrokenInvariantsStop(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	p := open(t, c.ListenAddrs(), nil)
	for name, f := range map[string]func(){
		"empty batch":  func() { p.Publish(within(t, patience), relay.Lane{Topic: "t"}, nil) },
		"foreign lane": func() { p.Publish(within(t, patience), relay.Lane{Topic: "t", Index: 1}, ids("t", "k", 1)) },
		"two at once": func() {
			l := (*p.pins.Load())["t"].lanes[0]
			l.enter()
			defer l.leave()
			p.Publish(within(t, patience), relay.Lane{Topic: "t"}, ids("t", "k", 1))
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			f()
		}()
	}
}
