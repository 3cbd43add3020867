package kafka

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
	"github.com/waybillmq/waybill/relay"
)

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
