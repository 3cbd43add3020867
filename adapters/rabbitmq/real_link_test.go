package rabbitmq

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
	"github.com/waybillmq/waybill/relay"
)

// smallPublish is more than one batch of the next test has in bytes, in each direction: the request without, the answer with the confirms.
var smallPublish = map[tcpproxy.Direction]int64{tcpproxy.Request: 900, tcpproxy.Answer: 80}

// TestCutAtEachByte: the connection is cut at byte n of the request and of the answer, for every n of a small publish; then the batch is presented again.
// Nothing is lost, the order holds, and a copy more needs an ambiguous answer.
func TestCutAtEachByte(t *testing.T) {
	r := testservices.RabbitMQ(t)
	b := newBroker(t, r.Addrs)
	b.kind = "classic"
	topic := b.Topic(1)
	p := b.via(nil)
	defer p.Close(within(t, patience))
	opened(t, p)
	var sent []int
	kinds := map[relay.Kind]int{}
	fired, unknown, id := 0, 0, 1
	for direction, most := range smallPublish {
		for n := int64(0); n < most; n++ {
			before := ids(topic, "k", id) // a connection and a channel are there
			untilAcked(t, p, before)
			batch := append(ids(topic, "k", id+1), ids(topic, "l", id+2)...)
			sent = append(sent, id, id+1, id+2)
			id += 3
			cut := b.proxy.Cut(direction, n)
			for k, c := range untilAcked(t, p, batch) {
				kinds[k] += c
				if k == relay.Unknown {
					unknown += c
				}
			}
			select {
			case <-cut:
				fired++
			default:
			}
		}
	}
	b.proxy.Cut(tcpproxy.Request, 1<<40)
	b.proxy.Cut(tcpproxy.Answer, 1<<40)
	seen, copies := map[string]bool{}, 0
	perKey := map[string][]int{}
	for _, rec := range drain(t, r.Addrs, topic) {
		m, err := rec.Message(topic)
		if err != nil {
			t.Fatal(err)
		}
		if seen[m.MessageID] {
			copies++
			continue
		}
		seen[m.MessageID] = true
		perKey[m.Key] = append(perKey[m.Key], int(m.ID))
	}
	if len(seen) != len(sent) || !slices.IsSorted(perKey["k"]) || !slices.IsSorted(perKey["l"]) {
		t.Errorf("%d of %d messages are there; in order: %v %v", len(seen), len(sent), slices.IsSorted(perKey["k"]), slices.IsSorted(perKey["l"]))
	}
	if copies > 2*unknown || unknown < 100 || fired < 300 {
		t.Errorf("%d copies, %d unknown answers, %d cuts", copies, unknown, fired)
	}
	t.Logf("%d cuts fell on a batch; answers before the ack: %v; %d copies", fired, kinds, copies)
}

// TestHalfOpen: bytes go into a black hole. Unknown after the confirm's time, and the connection is given up.
func TestHalfOpen(t *testing.T) {
	r := testservices.RabbitMQ(t)
	b := newBroker(t, r.Addrs)
	topic := b.Topic(1)
	p := b.via(func(cfg *Config) { cfg.Timeouts = Timeouts{Connect: time.Second, Confirm: 2 * time.Second} })
	defer p.Close(within(t, patience))
	opened(t, p)
	want(t, publish(t, p, ids(topic, "k", 1)), "acked 1")
	b.proxy.Hold(tcpproxy.Answer)
	batch := append(ids(topic, "k", 2), ids(topic, "l", 3)...)
	begun := time.Now()
	want(t, publish(t, p, batch), "unknown 2")
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	want(t, publish(t, p, batch), "unavailable 2") // nobody answers the next connection either
	b.proxy.Release(tcpproxy.Answer)
	untilAcked(t, p, batch)
}

// TestShortTimeOfACall: what a call had no time to see confirmed is awaited, not sent again, when it is presented again.
func TestShortTimeOfACall(t *testing.T) {
	r := testservices.RabbitMQ(t)
	b := newBroker(t, r.Addrs)
	topic := b.Topic(1)
	p := b.via(nil)
	defer p.Close(within(t, patience))
	opened(t, p)
	want(t, publish(t, p, ids(topic, "k", 1)), "acked 1")
	batch := append(ids(topic, "k", 2), ids(topic, "l", 3)...)
	b.proxy.Hold(tcpproxy.Answer)
	for range 3 {
		want(t, p.Publish(within(t, 200*time.Millisecond), p.Lane(batch[0]), batch), "unknown 2")
	}
	b.proxy.Release(tcpproxy.Answer)
	want(t, publish(t, p, batch), "acked 2")
	wantStored(t, r.Addrs, topic, 1, 2, 3)
	if n := p.Counters().Connections; n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestTrustEnds: without trust no byte leaves, and nothing is stored.
func TestTrustEnds(t *testing.T) {
	r := testservices.RabbitMQ(t)
	topic := newName(t)
	makeTopic(t, r.Addrs, topic, "quorum", nil)
	var trusted atomic.Bool
	trusted.Store(true)
	p := open(t, r.Addrs, func(cfg *Config) { cfg.Trust = trusted.Load })
	want(t, publish(t, p, ids(topic, "k", 1)), "acked 1")
	trusted.Store(false)
	out := publish(t, p, ids(topic, "k", 2))
	if want(t, out, "unavailable 1"); out[0].Code != "rabbitmq/untrusted" {
		t.Errorf("%+v", out[0])
	}
	g := p.gen
	if n, err := g.socket.Write([]byte("x")); n != 0 || err == nil {
		t.Error("the socket wrote without trust")
	}
	trusted.Store(true)
	untilAcked(t, p, ids(topic, "k", 3))
	wantStored(t, r.Addrs, topic, 1, 3)
}
