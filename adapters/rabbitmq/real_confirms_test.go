package rabbitmq

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// confirmer stands in for the confirms of a real server: it takes them all, and when the server has confirmed a whole batch it says what the test wants said.
type confirmer struct {
	mu   sync.Mutex
	size int // of the batch
	say  func(first uint64) []byte
}

func (c *confirmer) next(size int, say func(first uint64) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size, c.say = size, say
}

// Frames of AMQP 0-9-1: type, channel, size, payload, end; confirms are methods of class 60.
const (
	methodFrame          = 1
	basicAck, basicNack  = 80, 120
	frameHead, confirmAt = 7, 4 // bytes of a frame before its payload, of a confirm before its tag
	confirmSize          = frameHead + confirmAt + 8 + 1 + 1
)

func confirmFrame(channel uint16, method uint16, tag uint64, multiple bool) []byte {
	f := binary.BigEndian.AppendUint16([]byte{methodFrame}, channel)
	f = binary.BigEndian.AppendUint32(f, confirmAt+9)
	f = binary.BigEndian.AppendUint16(f, 60)
	f = binary.BigEndian.AppendUint16(f, method)
	f = binary.BigEndian.AppendUint64(f, tag)
	if multiple {
		return append(f, 1, 0xCE)
	}
	return append(f, 0, 0xCE)
}

// connection is the function of one connection; the lane under test is the only one of it that publishes.
func (c *confirmer) connection() func([]byte) []byte {
	var in []byte
	got := map[uint64]bool{}
	first, upTo := uint64(1), uint64(0) // first tag of the batch; the server confirmed all up to upTo
	return func(piece []byte) (out []byte) {
		in = append(in, piece...)
		for len(in) >= frameHead {
			end := frameHead + int(binary.BigEndian.Uint32(in[3:])) + 1
			if len(in) < end {
				break
			}
			frame := in[:end]
			in = in[end:]
			p := frame[frameHead:]
			if frame[0] != methodFrame || binary.BigEndian.Uint16(p) != 60 || binary.BigEndian.Uint16(p[2:]) != basicAck {
				out = append(out, frame...)
				continue
			}
			tag, multiple := binary.BigEndian.Uint64(p[confirmAt:]), p[confirmAt+8]&1 != 0
			if got[tag] = true; multiple {
				upTo = max(upTo, tag)
			}
			for got[upTo+1] {
				upTo++
			}
			c.mu.Lock()
			if size := uint64(c.size); size > 0 && upTo+1 >= first+size {
				for say := c.say(first); len(say) > 0; say = say[confirmSize:] {
					binary.BigEndian.PutUint16(say[1:], binary.BigEndian.Uint16(frame[1:])) // on its channel
					out = append(out, say[:confirmSize]...)
				}
				first += size
			}
			c.mu.Unlock()
		}
		return out
	}
}

// E11, E19: the server confirms and refuses whole runs at once, single ones out of order, and says some of it twice. Each message gets the one answer that was meant for it.
func TestConfirmsOfManyAtOnce_E11_E19(t *testing.T) {
	r := testservices.RabbitMQ(t)
	b := newBroker(t, r.Addrs)
	b.lanes = 1
	c := &confirmer{}
	b.proxy.Rewrite(c.connection)
	topic := b.Topic(1)
	p := b.via(nil)
	opened(t, p)
	defer func() {
		if err := p.Close(within(t, time.Second)); err != nil {
			t.Error(err)
		}
	}()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %#x", seed)
	rnd := rand.New(rand.NewPCG(seed, 11))
	nacks := 0
	for round := range 20 {
		batch := ids(topic, "", span(round*100+1, round*100+100)...)
		refused := make([]bool, len(batch))
		c.next(len(batch), func(first uint64) (say []byte) {
			for from := 0; from < len(batch); {
				to := min(from+1+rnd.IntN(40), len(batch)) // a run with one answer
				method := uint16(basicAck)
				if from > 0 && rnd.IntN(3) == 0 {
					method = basicNack
				}
				for i := from; i < to; i++ {
					refused[i] = method == basicNack
				}
				if rnd.IntN(2) == 0 {
					say = append(say, confirmFrame(0, method, first+uint64(to-1), true)...)
				} else {
					for _, i := range rnd.Perm(to - from) {
						say = append(say, confirmFrame(0, method, first+uint64(from+i), false)...)
					}
				}
				if rnd.IntN(4) == 0 { // again, for what is answered already, and the other way round
					say = append(say, confirmFrame(0, basicAck+basicNack-method, first+uint64(to-1), rnd.IntN(2) == 0)...)
				}
				from = to
			}
			return say
		})
		out := publish(t, p, batch)
		c.next(0, nil) // whoever writes refused has done so
		var rest []*relay.Message
		for i, o := range out {
			if refused[i] {
				nacks++
				rest = append(rest, batch[i])
			}
			if (o.Kind == relay.Acked) == refused[i] || refused[i] && o.Code != "rabbitmq/nack" {
				t.Fatalf("round %d, message %d, refused %v: %+v", round, i, refused[i], o)
			}
		}
		c.next(len(rest), func(first uint64) []byte { return confirmFrame(0, basicAck, first+uint64(len(rest)-1), true) })
		if len(rest) > 0 {
			for i, o := range publish(t, p, rest) {
				if o.Kind != relay.Acked {
					t.Fatalf("round %d, message %d presented again: %+v", round, i, o)
				}
			}
		}
	}
	if n := p.refusals.Load(); nacks == 0 || n != uint64(nacks) {
		t.Errorf("%d messages were refused, %d counted", nacks, n)
	}
}
