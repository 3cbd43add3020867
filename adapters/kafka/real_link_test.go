package kafka

import (
	"math"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
	"github.com/waybillmq/waybill/relay"
)

// TestCutAtEachByte (E1): the connection is cut before byte n of the request, and then before byte n of its answer, for every n; then the same batch is
// presented again. Each cut leaves the batch unknown, and it is there once.
func TestCutAtEachByte(t *testing.T) {
	c := testservices.Kafka(t)
	g := newTarget(t, c.Brokers, func(topic string, n int) error { return c.CreateTopic(topic, n, nil) })
	topic := g.Topic(1)
	p := g.via(nil)
	defer p.Close(within(t, patience))
	opened(t, p)
	want(t, publish(t, p, ids(topic, "k", 1)), "acked 1") // there is a connection, and nobody speaks on it but batches
	stored := []int{1}
	for _, d := range []struct {
		direction   tcpproxy.Direction
		least, most int64 // how long what is cut is, about
	}{{tcpproxy.Request, produceBytes, 500}, {tcpproxy.Answer, 40, 300}} {
		n := int64(0)
		for whole := false; !whole; {
			if n > d.most {
				t.Fatalf("direction %d is not over after %d bytes", d.direction, n)
			}
			batch := ids(topic, "k", len(stored)+1)
			stored = append(stored, len(stored)+1)
			cut := g.proxy.Cut(d.direction, n)
			out := publish(t, p, batch)
			if out[0].Kind == relay.Acked {
				whole = true
				continue
			}
			select {
			case <-cut:
			case <-within(t, patience).Done():
				t.Fatalf("%+v, and nothing was cut before byte %d of direction %d", out[0], n, d.direction)
			}
			switch { // the library may have had the connection of the batch before not at hand again, and made another one
			case out[0].Kind == relay.Unknown:
				n++
			case out[0].Code != "kafka/dial":
				t.Fatalf("cut before byte %d of direction %d: %+v", n, d.direction, out[0])
			}
			untilAcked(t, p, batch)
		}
		g.proxy.Cut(d.direction, math.MaxInt64)
		if n < d.least {
			t.Errorf("direction %d was over after %d bytes", d.direction, n)
		}
		t.Logf("direction %d: cut before each of %d bytes", d.direction, n)
	}
	wantStored(t, c.Brokers, topic, stored...)
	if n := p.Counters().SessionsLapsed; n != 0 {
		t.Errorf("%d sessions lapsed", n)
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
