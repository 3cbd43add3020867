package rocketmq

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
	"github.com/waybillmq/waybill/relay"
)

// table stands for the receipts of an outbox.
type table struct {
	mu   sync.Mutex
	rows map[string][]relay.Position // by message id
	down bool                        // it does not answer
}

func newTable() *table { return &table{rows: map[string][]relay.Position{}} }

func (a *table) put(m *relay.Message, at relay.Position) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rows[m.MessageID] = append(a.rows[m.MessageID], at)
}

func (a *table) freeze(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
}

func (a *table) of(ctx context.Context, id relay.ID, messageID string) ([]relay.Position, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down {
		a.mu.Unlock()
		<-ctx.Done()
		a.mu.Lock()
		return nil, ctx.Err()
	}
	if messageID != fmt.Sprintf("gen-%d", id) {
		return nil, fmt.Errorf("asked for id %d and message id %s", id, messageID)
	}
	return slices.Clone(a.rows[messageID]), nil
}

// halves configures a publisher of half messages whose receipts are in the table.
func (a *table) halves(topic string) func(*Config) {
	return func(c *Config) { c.Topics, c.Transactional, c.Receipts = []string{topic}, true, a.of }
}

// leave sends a half as a publisher does that dies before it commits, and returns its number, and where SEND_OK says that it lies among the broker's halves.
func leave(t *testing.T, p *Publisher, m *relay.Message) (number relay.Position, place int64) {
	t.Helper()
	l := p.lane(p.Lane(m))
	e, _, why := encode(m, TombstoneReject, p.clusterLength())
	if why != "" {
		t.Fatal(why)
	}
	number = relay.Position{Offset: rand.Int64(), HasOffset: true}
	e.asHalf(p.halves(), number.Offset)
	cl, a := p.borrow(t.Context())
	if cl == nil {
		t.Fatalf("%+v", a)
	}
	f := cl.launch(l.at.Topic, l.queue, []encoded{e}, []relay.ID{m.ID}, nil, func() { p.giveBack(cl) })
	<-f.done
	if f.answer.sig != 0 {
		t.Fatalf("the half: %s", f.answer.words())
	}
	return number, f.answer.offset
}

// sent presents a message until it is acked, as the engine does, and writes its receipt.
func (a *table) sent(t *testing.T, p *Publisher, m *relay.Message) {
	t.Helper()
	eventually(t, "acked", func() bool {
		o := publish(t, p, []*relay.Message{m})[0]
		if o.Kind == relay.Acked {
			a.put(m, o.At)
		}
		return o.Kind == relay.Acked
	})
}

// settled waits until the broker has nothing to ask any more.
func settled(t *testing.T, r *testservices.Rocket) {
	t.Helper()
	eventually(t, "every half is ended", func() bool {
		n, err := Halves(within(t, patience), readConfig(r.NameServers))
		return err == nil && n == 0
	})
}

// TestCheckBackFollowsTheTable: a relay dies between half and commit; what the next one finds in the table is what becomes of the topic.
func TestCheckBackFollowsTheTable(t *testing.T) {
	for _, slave := range []bool{false, true} {
		t.Run(fmt.Sprint("slave ", slave), func(t *testing.T) {
			// Longer than an answer may take, as everywhere but in tests: a question is not asked again while it is answered.
			opts := []testservices.RocketOption{testservices.BrokerSetting("transactionCheckInterval", "3000")}
			if slave {
				opts = append(opts, testservices.WithSlave())
			}
			r := testservices.RocketMQCluster(t, opts...)
			topic := topicName(t)
			must(t, r.CreateTopic(topic, 1))
			receipts := newTable()
			died := unchecked(t, r.NameServers, receipts.halves(topic))
			opened(t, died)
			m := ids(topic, "", 1, 2, 3, 4)
			mine, other, none := m[0], m[1], m[2]
			number, _ := leave(t, died, mine)
			receipts.put(mine, number)
			leave(t, died, other)
			receipts.put(other, relay.Position{Offset: 1, HasOffset: true})
			leave(t, died, none)
			receipts.freeze(true)
			must(t, died.Close(within(t, patience)))

			p := open(t, r.NameServers, receipts.halves(topic))
			eventually(t, "questions while the database is away", func() bool { return p.Counters().Undecided >= 3 })
			if c := p.Counters(); c.Committed+c.RolledBack > 0 {
				t.Errorf("decided without the database: %+v", c)
			}
			wantStored(t, r.NameServers, topic)
			receipts.freeze(false)
			before := p.Counters().Undecided
			eventually(t, "answers", func() bool { c := p.Counters(); return c.Committed >= 1 && c.RolledBack >= 1 && c.Undecided > before })
			eventually(t, "the half of the receipt", func() bool { return len(seqs(t, readConfig(r.NameServers), topic)[0]) > 0 })
			wantStored(t, r.NameServers, topic, 1)
			receipts.sent(t, p, none) // the relay itself sends it; the half that was left is another copy now
			receipts.sent(t, p, m[3])
			settled(t, r)
			wantStored(t, r.NameServers, topic, 1, 3, 4)
			t.Logf("%+v", p.Counters())
		})
	}
}

// TestQuestionAboutAHalf: the broker stores a half anew before it asks about it, so that its place tells nothing, and its number does. One that is as large as it may
// be is asked about again and again, with what the broker adds; a larger one is rejected.
func TestQuestionAboutAHalf(t *testing.T) {
	r := testservices.RocketMQCluster(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 1))
	p := open(t, r.NameServers, func(c *Config) { c.Topics = []string{topic} }) // it answers no questions
	sized := func(id, spare int) *relay.Message {
		m := ids(topic, "", id)[0]
		e, _, _ := encode(m, TombstoneReject, p.clusterLength())
		e.asHalf(p.halves(), 1<<63-1)
		m.Headers = []relay.Header{{Name: "h", Value: strings.Repeat("x", maxProperties-clusterSpare-p.clusterLength()-halfSpare-len(propUnique)-2-len(e.properties)-3-spare)}}
		m.Payload = make([]byte, defaultLimit-maxProperties)
		return m
	}
	large := sized(1, 0)
	number, place := leave(t, p, large)
	_, second := leave(t, p, ids(topic, "", 2)[0])
	if second != place+1 {
		t.Errorf("halves at %d and %d", place, second)
	}
	must(t, p.probe.broker(t.Context(), r.Broker, func(l *link) error {
		if err := p.beat(l); err != nil {
			return err
		}
		_ = l.SetReadDeadline(time.Now().Add(patience))
		places := []int64{place}
		for len(places) < 4 {
			frame, err := readFrame(l)
			if err != nil {
				return err
			}
			c, err := decode(frame)
			if err != nil || c.Code != reqCheckBack {
				continue
			}
			q, err := readQuestion(c)
			if err != nil {
				return err
			}
			if q.id != 1 {
				continue
			}
			if q.number != number.Offset || q.messageID != "gen-1" || slices.Contains(places, q.half.queueOffset) {
				t.Errorf("half %d of message gen-1, at %v before: asked about %+v", number.Offset, places, q)
			}
			places = append(places, q.half.queueOffset)
		}
		t.Logf("its places: %v", places)
		return nil
	}))
	receipts := newTable()
	receipts.put(large, number)
	receipts.put(ids(topic, "", 2)[0], relay.Position{})
	halves := open(t, r.NameServers, receipts.halves(topic))
	if o := publish(t, halves, []*relay.Message{sized(3, -20)})[0]; o.Kind != relay.Rejected || o.Class != relay.ClassTooLarge || !strings.Contains(o.Detail, "half") {
		t.Errorf("%+v", o)
	}
	settled(t, r)
	wantStored(t, r.NameServers, topic, 1)
}

// second calls f at each second call: of Trust, which a publisher asks before it writes a half, and before it commits.
func second(f func() bool) func() bool {
	var n atomic.Int64
	return func() bool { return n.Add(1)%2 == 1 || f() }
}

// TestCommitThatFails: the half is stored, and the commit is lost, or its answer, or the lease ends, or the broker dies; the message is presented again.
func TestCommitThatFails(t *testing.T) {
	for _, row := range []struct {
		name   string
		at     func(r *testservices.Rocket, proxy *tcpproxy.Proxy) bool // right before the first commit
		stored []int
	}{
		{"request lost", func(_ *testservices.Rocket, proxy *tcpproxy.Proxy) bool {
			proxy.Lose(tcpproxy.Request, 200)
			return true
		}, []int{1, 2, 3}},
		{"answer lost", func(_ *testservices.Rocket, proxy *tcpproxy.Proxy) bool {
			proxy.Lose(tcpproxy.Answer, 200)
			return true
		}, []int{1, 2, 2, 3}},
		{"lease over", func(*testservices.Rocket, *tcpproxy.Proxy) bool { return false }, []int{1, 2, 3}},
		{"broker killed", func(r *testservices.Rocket, _ *tcpproxy.Proxy) bool { return r.Kill(testservices.Master) == nil }, []int{1, 2, 3}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := testservices.RocketMQCluster(t, testservices.AdvertisedHost(proxyHost))
			g := newTarget(t, r)
			topic := g.Topic(1)
			receipts := newTable()
			var armed atomic.Bool
			p := open(t, r.NameServers, func(c *Config) {
				receipts.halves(topic)(c)
				c.Trust = second(func() bool { return !armed.CompareAndSwap(true, false) || row.at(r, g.proxy) })
			})
			m := ids(topic, "", 1, 2, 3)
			receipts.sent(t, p, m[0])
			armed.Store(true)
			o := publish(t, p, m[1:2])[0]
			if o.Kind != relay.Unknown || o.Code != "rocketmq/half_commit" || o.Earlier {
				t.Fatalf("%+v", o)
			}
			t.Log(o.Detail)
			if row.name == "broker killed" {
				must(t, r.Start(testservices.Master))
			}
			receipts.sent(t, p, m[1])
			receipts.sent(t, p, m[2])
			settled(t, r)
			wantStored(t, r.NameServers, topic, row.stored...)
			if c := p.Counters(); c.Committed > 0 {
				t.Errorf("a half that has no receipt was committed: %+v", c)
			}
		})
	}
}

// TestHalfThatIsNotConfirmed: a half with another status than SEND_OK is unknown under that name, and never seen unless the table has it.
func TestHalfThatIsNotConfirmed(t *testing.T) {
	r := testservices.RocketMQCluster(t, testservices.WithSlave())
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 1))
	receipts := newTable()
	p := open(t, r.NameServers, receipts.halves(topic))
	m := ids(topic, "", 1, 2, 3)
	receipts.sent(t, p, m[0])
	must(t, r.SlowFlush(1500*time.Millisecond))
	eventually(t, "FLUSH_DISK_TIMEOUT", func() bool {
		o := publish(t, p, m[1:2])[0]
		if o.Kind == relay.Acked {
			t.Fatal("acked while no flush returns")
		}
		return o.Kind == relay.Unknown && o.Code == "rocketmq/FLUSH_DISK_TIMEOUT"
	})
	must(t, r.SlowFlush(0))
	receipts.sent(t, p, m[1])
	receipts.sent(t, p, m[2])
	settled(t, r)
	all := seqs(t, readConfig(r.NameServers), topic)[0]
	if first := slices.Compact(slices.Clone(all)); !slices.Equal(first, []string{"1", "2", "3"}) {
		t.Errorf("stored %v", all)
	}
	t.Logf("stored %v, %+v", all, p.Counters())
}

// TestBrokerThatTakesNoHalves: the check says so beforehand, and a message is certainly not stored.
func TestBrokerThatTakesNoHalves(t *testing.T) {
	r := testservices.RocketMQCluster(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 1))
	p := open(t, r.NameServers, newTable().halves(topic))
	wantLevel(t, check(t, p), "rocketmq.half_messages", "b1", relay.LevelOK)
	wantLevel(t, check(t, p), "rocketmq.half_timeout", "b1", relay.LevelWarn)
	must(t, r.Set(map[string]string{"rejectTransactionMessage": "true", "transactionTimeOut": "6000", "transactionCheckInterval": "6000"}))
	wantLevel(t, check(t, p), "rocketmq.half_messages", "b1", relay.LevelFail)
	wantLevel(t, check(t, p), "rocketmq.half_timeout", "b1", relay.LevelOK)
	wantLevel(t, check(t, p), "rocketmq.half_interval", "b1", relay.LevelOK)
	if o := publish(t, p, ids(topic, "", 1))[0]; o.Kind != relay.Config || o.Code != "rocketmq/NO_PERMISSION" {
		t.Errorf("%+v", o)
	}
	wantStored(t, r.NameServers, topic)
}

// TestKeyOnADestinationOfHalves: certainly not sent, and the sentence says what to change.
func TestKeyOnADestinationOfHalves(t *testing.T) {
	r := testservices.RocketMQ(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 1))
	receipts := newTable()
	p := open(t, r.NameServers, receipts.halves(topic))
	o := publish(t, p, ids(topic, "k", 1))[0]
	if o.Kind != relay.Config || o.Scope != relay.ScopeTopic || o.Class != relay.ClassInvalid || !strings.Contains(o.Detail, "transactional") {
		t.Errorf("%+v", o)
	}
	receipts.sent(t, p, ids(topic, "", 2)[0])
	wantStored(t, r.NameServers, topic, 2)
}

// TestHalvesWhileTheBrokerIsKilled: load in four lanes, kill -9 of the broker: everything that was acked is there under the number of its receipt, and there are no
// more copies than ambiguous answers and committed questions explain.
func TestHalvesWhileTheBrokerIsKilled(t *testing.T) {
	r := testservices.RocketMQCluster(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 4))
	var f *traffic
	begun := make(chan struct{})
	p := open(t, r.NameServers, func(c *Config) {
		c.Topics, c.Transactional = []string{topic}, true
		c.Receipts = func(_ context.Context, id relay.ID, _ string) (all []relay.Position, err error) {
			<-begun
			f.mu.Lock()
			defer f.mu.Unlock()
			for lane := range f.lanes { // ids are the same in each lane: its message has one receipt in each
				if n, acked := f.where[fmt.Sprint(lane, "/", strconv.Itoa(int(id)))]; acked {
					all = append(all, relay.Position{Offset: n, HasOffset: true})
				} else {
					return nil, nil
				}
			}
			return all, nil
		}
	})
	f = drive(t, p, topic, 4, 1)
	close(begun)
	f.outlives(r, 3, 200)
}

// TestHalvesWithAnAccount: the right to publish is enough for halves, their commits and the answers to a broker's questions, and all of them are signed.
func TestHalvesWithAnAccount(t *testing.T) {
	r := testservices.RocketMQCluster(t, testservices.WithACL(), testservices.BrokerSetting("transactionCheckInterval", "3000"))
	topic := topicName(t)
	admin := readConfig(r.NameServers)
	admin.Login = func() (string, string, error) { return testservices.Admin.AccessKey, testservices.Admin.SecretKey, nil }
	must(t, CreateTopics(t.Context(), admin, []string{topic}, 1))
	must(t, r.SetAccounts(testservices.Account{AccessKey: "publisher", SecretKey: "first-secret", Topics: map[string]string{topic: "PUB"}}))
	receipts := newTable()
	p := open(t, r.NameServers, func(c *Config) {
		receipts.halves(topic)(c)
		c.Login = func() (string, string, error) { return "publisher", "first-secret", nil }
	})
	m := ids(topic, "", 1, 2)
	receipts.sent(t, p, m[0])
	number, _ := leave(t, p, m[1])
	receipts.put(m[1], number)
	eventually(t, "the half of the receipt", func() bool { return slices.Contains(seqs(t, admin, topic)[0], "2") })
	if c := p.Counters(); c.Committed != 1 || c.RolledBack > 0 {
		t.Errorf("%+v", c)
	}
}
