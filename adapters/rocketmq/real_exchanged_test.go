package rocketmq

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
	"github.com/waybillmq/waybill/relay"
)

var opaque = regexp.MustCompile(`"opaque":\d*(\d)`)

// E19: the answer to a send carries the number of a request that nobody made. The message is not taken for stored, and it is acked when it is presented again.
func TestAnswerOfAnotherRequest_E19(t *testing.T) {
	r := testservices.RocketMQ(t)
	topic := topicName(t)
	must(t, r.CreateTopic(topic, 1))
	proxy, err := tcpproxy.New(r.Broker)
	must(t, err)
	t.Cleanup(func() { _ = proxy.Close() })
	var next, changed atomic.Bool // of the next answer to a send
	proxy.Rewrite(func() func([]byte) []byte {
		var in []byte
		return func(piece []byte) (out []byte) {
			in = append(in, piece...)
			for len(in) >= 4 {
				end := 4 + int(binary.BigEndian.Uint32(in))
				if len(in) < end {
					break
				}
				a := in[:end]
				in = in[end:]
				if at := opaque.FindSubmatchIndex(a); at != nil && bytes.Contains(a, []byte(`"queueOffset"`)) && next.CompareAndSwap(true, false) {
					a[at[2]] = '0' + (a[at[2]]-'0'+1)%10
					changed.Store(true)
				}
				out = append(out, a...)
			}
			return out
		}
	})
	p := unchecked(t, []string{renaming(t, r.NameServers[0], r.Broker, proxy.Addr())}, func(c *Config) { c.Topics = []string{topic} })
	defer func() { must(t, p.Close(within(t, patience))) }()
	opened(t, p)
	want(t, publish(t, p, ids(topic, "k", 1)), "acked 1")
	next.Store(true)
	batch := ids(topic, "k", 2)
	if out := publish(t, p, batch); !changed.Load() || out[0].Kind != relay.Unknown {
		t.Errorf("an answer under another number, changed %v: %+v", changed.Load(), out[0])
	}
	untilAcked(t, p, batch)
	want(t, publish(t, p, ids(topic, "k", 3)), "acked 1")
	wantStored(t, r.NameServers, topic, 1, 2, 2, 3)
}
