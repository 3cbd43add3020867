package kafka

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// exchanger keeps the newest answer to a batch for each of some topics, and can put another one in the place of the next.
type exchanger struct {
	topics []string

	mu     sync.Mutex
	newest map[string][]byte // whole answers: size, number of the request, body
	swap   func(topic string, answer []byte) []byte
}

func (x *exchanger) connection() func([]byte) []byte {
	var in []byte
	return func(piece []byte) (out []byte) {
		in = append(in, piece...)
		for len(in) >= 4 {
			end := 4 + int(binary.BigEndian.Uint32(in))
			if len(in) < end {
				break
			}
			out = append(out, x.answer(slices.Clone(in[:end]))...)
			in = in[end:]
		}
		return out
	}
}

func (x *exchanger) answer(a []byte) []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	i := slices.IndexFunc(x.topics, func(topic string) bool { return bytes.Contains(a, []byte(topic)) })
	if i < 0 {
		return a
	}
	x.newest[x.topics[i]] = a
	if swap := x.swap; swap != nil {
		x.swap = nil
		return swap(x.topics[i], a)
	}
	return a
}

// E19: an answer comes that is another's: of the request before, of a request that nobody made, or under the right number that of another topic. The batch is not taken
// for stored, and when it is presented again the broker knows it.
func TestAnswersOfOthers_E19(t *testing.T) {
	c := testservices.Kafka(t)
	g := newTarget(t, c.Brokers, func(topic string, n int) error { return c.CreateTopic(topic, n, nil) })
	x := &exchanger{newest: map[string][]byte{}}
	g.proxy.Rewrite(x.connection)
	topic, other := g.Topic(1), g.Topic(1)
	p := g.via(nil)
	defer p.Close(within(t, patience))
	opened(t, p)
	want(t, publish(t, p, ids(other, "k", 1)), "acked 1")
	want(t, publish(t, p, ids(topic, "k", 1)), "acked 1") // there is a connection, and nobody speaks on it but batches
	x.mu.Lock()
	x.topics = []string{topic, other}
	x.mu.Unlock()
	want(t, publish(t, p, ids(other, "k", 2)), "acked 1")
	want(t, publish(t, p, ids(topic, "k", 2)), "acked 1")
	stored := []int{1, 2}
	for name, swap := range map[string]func(topic string, a []byte) []byte{
		"of another request": func(string, []byte) []byte { return x.newest[other] },
		"of a request that nobody made": func(_ string, a []byte) []byte {
			binary.BigEndian.PutUint32(a[4:], binary.BigEndian.Uint32(a[4:])+1)
			return a
		},
		"of another topic": func(_ string, a []byte) []byte {
			b := slices.Clone(x.newest[other])
			copy(b[4:8], a[4:8])
			return b
		},
	} {
		x.mu.Lock()
		x.swap = swap
		x.mu.Unlock()
		id := len(stored) + 1
		stored = append(stored, id)
		batch := ids(topic, "k", id)
		if out := publish(t, p, batch); out[0].Kind != relay.Unknown || out[0].Detail == "" {
			t.Errorf("the answer %s: %+v", name, out[0])
		}
		_, out := untilAcked(t, p, batch)
		wantOffsets(t, c.Brokers, batch, out, p.Lane(batch[0]))
	}
	wantStored(t, c.Brokers, topic, stored...)
}
