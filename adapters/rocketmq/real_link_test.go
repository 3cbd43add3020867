package rocketmq

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
	"github.com/waybillmq/waybill/relay"
)

// TestCutAtEachByte (E1): the connection is cut at every byte of the request and of the answer of a small publish, then the same message is presented again: nothing
// is lost, order is kept, and each ambiguous answer leaves one copy at most. Many publishers at once, because the library finds out about a cut after 3 s only.
func TestCutAtEachByte(t *testing.T) {
	const publishers, request, answer = 90, 640, 260 // bytes: a little more than there are
	r := testservices.RocketMQ(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 8))
	leaks := ignored()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks...) }) // after those of the proxies
	var fired, doubts, presented atomic.Int64
	acked := make([][]string, publishers)
	var workers sync.WaitGroup
	for w := range publishers {
		proxy, err := tcpproxy.New(r.Broker)
		must(t, err)
		t.Cleanup(func() { _ = proxy.Close() })
		p := unchecked(t, []string{renaming(t, r.NameServers[0], r.Broker, proxy.Addr())}, func(c *Config) { c.Topics = []string{topic} })
		opened(t, p)
		workers.Go(func() {
			for n := w; n < request+answer; n += publishers {
				cut := proxy.Cut(tcpproxy.Request, int64(n))
				if n >= request {
					cut = proxy.Cut(tcpproxy.Answer, int64(n-request))
				}
				m := ids(topic, fmt.Sprint("publisher ", w), n+1)
				acked[w] = append(acked[w], fmt.Sprint(n+1))
				eventually(t, "acked", func() bool {
					presented.Add(1)
					o := publish(t, p, m)[0]
					if o.Kind == relay.Unknown && !o.Earlier {
						doubts.Add(1)
					}
					return o.Kind == relay.Acked
				})
				select {
				case <-cut:
					fired.Add(1)
				default:
				}
			}
			if err := p.Close(within(t, patience)); err != nil {
				t.Error(err)
			}
		})
	}
	workers.Wait()
	first := map[string][]string{}
	copies := int64(0)
	must(t, ReadAll(within(t, patience), readConfig(r.NameServers), topic, func(r Record) error {
		m, err := r.Message(topic)
		if id := m.ID.String(); slices.Contains(first[m.Key], id) {
			copies++
		} else {
			first[m.Key] = append(first[m.Key], id)
		}
		return err
	}))
	for w := range publishers {
		if got := first[fmt.Sprint("publisher ", w)]; !slices.Equal(got, acked[w]) {
			t.Errorf("publisher %d: stored %v, want %v", w, got, acked[w])
		}
	}
	if copies > doubts.Load() {
		t.Errorf("%d copies, %d ambiguous answers", copies, doubts.Load())
	}
	t.Logf("%d of %d cuts fired, %d ambiguous answers in %d presentations, %d copies", fired.Load(), request+answer, doubts.Load(), presented.Load(), copies)
	if fired.Load() < (request+answer)/2 || doubts.Load() < fired.Load()/2 {
		t.Error("too few cuts were noticed: the run proves nothing")
	}
}

// TestHalfOpen (E20): bytes go into a black hole: unknown after 3.5 s, and so again; the lane waits for the send that is out, and takes its late ack for what it is.
func TestHalfOpen(t *testing.T) {
	r := testservices.RocketMQCluster(t, testservices.AdvertisedHost(proxyHost))
	g := newTarget(t, r)
	topic := g.Topic(1)
	p := open(t, r.NameServers, func(c *Config) { c.Topics = []string{topic} })
	untilAcked(t, p, ids(topic, "k", 1))
	batch := ids(topic, "k", 2, 3)
	g.proxy.Hold(tcpproxy.Answer)
	for range 2 {
		begun := time.Now()
		out := publish(t, p, batch)
		if took := time.Since(begun); took > 2*sendWait {
			t.Errorf("it took %v", took)
		}
		want(t, out, "unknown 2")
	}
	g.proxy.Release(tcpproxy.Answer)
	untilAcked(t, p, batch)
	all := seqs(t, readConfig(r.NameServers), topic)[0]
	if first := slices.Compact(slices.Clone(all[:3])); !slices.Equal(first, []string{"1", "2", "3"}) || len(all) > 1+3*2 {
		t.Errorf("stored %v", all)
	}
}

// TestSendThatDoesNotReturn: the broker stops reading, so the library's write blocks. The answer comes all the same, the lane is busy until the write is given up, and
// other calls of the publisher go on.
func TestSendThatDoesNotReturn(t *testing.T) {
	r := testservices.RocketMQCluster(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 2))
	p := open(t, r.NameServers, func(c *Config) { c.Topics = []string{topic} })
	untilAcked(t, p, ids(topic, "k", 1))
	must(t, r.Pause(testservices.Master))
	large := ids(topic, "k", 2, 3, 4)
	for _, m := range large {
		m.Payload = make([]byte, 1<<20)
	}
	lane := p.Lane(large[0])
	send := func() ([]relay.Outcome, time.Duration) {
		begun := time.Now()
		out := p.Publish(within(t, patience), lane, large)
		return out, time.Since(begun)
	}
	// The kernel takes some megabytes before a write blocks.
	eventually(t, "a lane that is busy", func() bool {
		out, took := send()
		if want(t, out, "unknown 3"); took > 2*sendWait {
			t.Errorf("an answer took %v", took)
		}
		return out[0].Code == "rocketmq/busy" || p.lane(lane).flight != nil
	})
	must(t, r.Resume(testservices.Master))
	eventually(t, "acked", func() bool { out, _ := send(); return out[0].Kind == relay.Acked })
}

// renaming is a name server that answers as server does, with another address in place of a broker's: so each publisher has a proxy of its own. Both are of one
// length, so that frames stay whole.
func renaming(t *testing.T, server, broker, proxy string) string {
	t.Helper()
	if len(broker) != len(proxy) {
		t.Fatalf("%s and %s are not of one length", broker, proxy)
	}
	return forward(t, "127.0.0.1:0", func() (net.Conn, error) { return net.Dial("tcp", server) }, func(client io.Writer, up io.Reader) {
		for {
			frame, err := readFrame(up)
			if err != nil {
				return
			}
			frame = bytes.ReplaceAll(frame, []byte(broker), []byte(proxy))
			if _, err := client.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
				return
			}
		}
	})
}
