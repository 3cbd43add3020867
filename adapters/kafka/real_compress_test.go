package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

var codecs = map[Compression]uint16{CompressionGzip: 1, CompressionSnappy: 2, CompressionLZ4: 3, CompressionZstd: 4}

// alike makes messages whose payloads of size bytes compress well; unlike makes one that does not.
func alike(topic string, size int, list ...int) []*relay.Message {
	batch := ids(topic, "", list...)
	for _, m := range batch {
		m.Payload = bytes.Repeat([]byte(fmt.Sprintf("message %d ", m.ID)), size/10)[:size]
		m.Size = size
	}
	return batch
}

func unlike(topic string, size, id int) *relay.Message {
	m := ids(topic, "", id)[0]
	m.Payload, m.Size = make([]byte, size), size
	_, _ = rand.NewChaCha8([32]byte{byte(id)}).Read(m.Payload)
	return m
}

// TestCompressedOnceAndSentAgain: what goes out is compressed as its head says, and a repeat is the same bytes; what cannot be made smaller goes as it is.
func TestCompressedOnceAndSentAgain(t *testing.T) {
	c := testservices.Kafka(t)
	for codec, number := range codecs {
		t.Run(string(codec), func(t *testing.T) {
			g := newTarget(t, c.Brokers, func(topic string, n int) error { return c.CreateTopic(topic, n, nil) })
			g.change = func(cfg *Config) { cfg.Compression = codec }
			topic := g.Topic(1)
			p := g.via(nil)
			defer p.Close(within(t, patience))
			opened(t, p)
			want(t, publish(t, p, ids(topic, "k", 1)), "acked 1")
			l := (*p.pins.Load())[topic].lanes[0]
			attributes := func() uint16 { return binary.BigEndian.Uint16(l.open.buf[record.SizePrefix+21:]) }

			batch := alike(topic, 2000, span(2, 50)...)
			g.LoseAnswer()
			want(t, publish(t, p, batch), "unknown 49")
			before := bytes.Clone(l.open.buf)
			if attributes() != number || len(before) > 49*2000/2 {
				t.Errorf("codec %d, %d bytes of %d", attributes(), len(before), 49*2000)
			}
			g.LoseAnswer() // the repeat is lost too, and still there is one copy
			want(t, publish(t, p, batch), "unknown 49")
			if !bytes.Equal(before, l.open.buf) {
				t.Error("the repeat has other bytes")
			}
			untilAcked(t, p, batch)

			g.LoseAnswer()
			lone := []*relay.Message{unlike(topic, 5000, 51)}
			want(t, publish(t, p, lone), "unknown 1")
			if attributes() != 0 {
				t.Errorf("%d random bytes were compressed to %d", 5000, len(l.open.buf))
			}
			untilAcked(t, p, lone)
			g.wantStored(topic, span(1, 51)...)
			if n := p.Counters().SessionsLapsed; n != 0 {
				t.Errorf("%d sessions lapsed", n)
			}
		})
	}
}

// TestLimitsCountCompressedBytes (E17): batches are cut by what is sent, also where messages hardly compress; a message may be larger than the topic's limit
// as long as it is sent as fewer bytes.
func TestLimitsCountCompressedBytes(t *testing.T) {
	const limit = 20_000
	c := testservices.Kafka(t)
	for codec := range codecs {
		t.Run(string(codec), func(t *testing.T) {
			topic := topicName(t)
			if err := c.CreateTopic(topic, 1, map[string]string{"max.message.bytes": strconv.Itoa(limit)}); err != nil {
				t.Fatal(err)
			}
			p := open(t, c.Brokers, func(cfg *Config) { cfg.Topics, cfg.Compression = []string{topic}, codec })
			batch := alike(topic, 500, span(1, 200)...)
			batch = append(batch, alike(topic, 3*limit, 201)...) // larger than the limit, and sent as less
			for id := 202; id <= 260; id++ {
				batch = append(batch, unlike(topic, 1500, id))
			}
			batch = append(batch, unlike(topic, limit, 261)) // with its head over the limit, alone too
			batch = append(batch, alike(topic, 100, 262)...)
			out := publish(t, p, batch[:260])
			want(t, out, "acked 260")
			if n := p.Counters().TooLarge; n != 0 {
				t.Errorf("the broker refused %d batches: they were not cut by what is sent", n)
			}
			out = publish(t, p, batch[260:])
			want(t, out, "rejected 1 acked 1")
			if out[0].Class != relay.ClassTooLarge {
				t.Errorf("%+v", out[0])
			}
			var stored int
			err := ReadAll(within(t, patience), c.Brokers, topic, func(r Record) error {
				id, _ := strconv.Atoi(seqOf(r))
				if !bytes.Equal(r.Value, batch[id-1].Payload) {
					t.Errorf("message %d came back with %d bytes", id, len(r.Value))
				}
				stored++
				return nil
			})
			if err != nil || stored != 261 {
				t.Errorf("%d stored, %v", stored, err)
			}
			if n := p.Counters().SessionsLapsed; n != 0 {
				t.Errorf("%d sessions lapsed", n)
			}
		})
	}
}

func seqOf(r Record) string {
	seq, _ := r.Header(record.HeaderSeq)
	return seq
}

// TestLimitChangedAtRunTime: a lower limit is noticed by the first batch that meets it, a higher one by the next look; −1, 0 and +1 under each.
func TestLimitChangedAtRunTime(t *testing.T) {
	c := testservices.Kafka(t)
	topic := topicName(t)
	limit := func(n int) {
		t.Helper()
		if err := c.AlterTopicConfig(topic, map[string]string{"max.message.bytes": strconv.Itoa(n)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CreateTopic(topic, 1, map[string]string{"max.message.bytes": "50000"}); err != nil {
		t.Fatal(err)
	}
	p := newPublisher(t, c.Brokers, func(cfg *Config) { cfg.Topics = []string{topic} })
	p.watchEvery, p.limitsEvery = 50*time.Millisecond, 200*time.Millisecond
	opened(t, p)
	pinned := (*p.pins.Load())[topic]
	believed := func(n int64) {
		t.Helper()
		eventually(t, fmt.Sprint("the limit is known to be ", n), func() bool { return pinned.limit.Load() == n })
	}
	next := 1
	var stored []int
	edge := func(n int) {
		t.Helper()
		out := publish(t, p, []*relay.Message{sized(topic, next, n-1), sized(topic, next+1, n), sized(topic, next+2, n+1)})
		want(t, out, "acked 2 rejected 1")
		stored = append(stored, next, next+1)
		next += 3
	}
	believed(50_000)
	edge(50_000)
	for _, n := range []int{10_000, 80_000} {
		limit(n)
		believed(int64(n))
		edge(n)
	}
	wantStored(t, c.Brokers, topic, stored...)

	// Without the look every ten minutes, what does not fit is noticed at once: the first batch is halved until it does, the next one is cut right.
	slow := open(t, c.Brokers, func(cfg *Config) { cfg.Topics = []string{topic} })
	pinned = (*slow.pins.Load())[topic]
	limit(5_000)
	batch := func() (b []*relay.Message) {
		for range 40 {
			b = append(b, unlike(topic, 1000, next))
			stored = append(stored, next)
			next++
		}
		return b
	}
	want(t, publish(t, slow, batch()), "acked 40")
	believed(5_000)
	met := slow.Counters().TooLarge
	want(t, publish(t, slow, batch()), "acked 40")
	if n := slow.Counters().TooLarge; met == 0 || n != met {
		t.Errorf("%d batches met the new limit before it was known, %d afterwards", met, n-met)
	}
	wantStored(t, c.Brokers, topic, stored...)
}
