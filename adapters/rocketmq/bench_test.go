package rocketmq

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

const (
	benchLanes = 8
	benchBatch = 200
)

// benchMessages are n messages of 200 bytes with 2 headers and one of 10,000 keys.
func benchMessages(topic string, n int) []*relay.Message {
	msgs := make([]*relay.Message, n)
	for i := range msgs {
		msgs[i] = &relay.Message{ID: relay.ID(i + 1), MessageID: fmt.Sprint("8c0b7e5e-6a3f-4e0e-9f0e-0d8d1c9a1b2c-", i), Topic: topic, Target: topic,
			Key: fmt.Sprint("key-", i%10_000), Type: "order.paid", CreatedAt: time.Unix(1_700_000_000, int64(i)*1000), Payload: make([]byte, 200), Size: 200,
			Headers: []relay.Header{{Name: "tenant", Value: "t-1"}, {Name: "region", Value: "eu"}}}
	}
	return msgs
}

// bare are the same messages as the library's own user would make them.
func bare(topic string, msgs []*relay.Message, q *primitive.MessageQueue) []*primitive.Message {
	all := make([]*primitive.Message, len(msgs))
	for i, m := range msgs {
		p := primitive.NewMessage(topic, m.Payload)
		p.WithProperty("KEYS", m.MessageID)
		p.WithProperty("TAGS", m.Type)
		p.WithProperty("SHARDING_KEY", m.Key)
		p.WithProperty("UNIQ_KEY", fmt.Sprintf("%032d", m.ID))
		p.WithProperty("waybill-seq", strconv.Itoa(int(m.ID)))
		p.WithProperty("waybill-time", "2023-11-14T22:13:20.000001Z")
		for _, h := range m.Headers {
			p.WithProperty(h.Name, h.Value)
		}
		p.Queue = q
		all[i] = p
	}
	return all
}

// BenchmarkLibrary measures figures A4 and A5 against a real broker: the adapter, the library's best loop (batches of 200, one in flight per queue), and single
// sends from 64 goroutines, interleaved, 5 rounds; it reports the medians and their ratios. One op is all of it.
func BenchmarkLibrary(b *testing.B) {
	r, err := testservices.NewRocketMQ(context.Background(), testservices.RoomyRocket(), testservices.BrokerSetting("flushDiskType", "ASYNC_FLUSH"))
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	const topic = "bench"
	if err := r.CreateTopic(topic, benchLanes); err != nil {
		b.Fatal(err)
	}
	cfg := readConfig(r.NameServers)
	cfg.Topics = []string{topic}
	p, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Open(context.Background(), 1); err != nil {
		b.Fatal(err)
	}
	defer p.Close(context.Background())
	lib, err := producer.NewDefaultProducer(producer.WithNsResolver(primitive.NewPassthroughResolver(r.NameServers)), producer.WithInstanceName("bench"),
		producer.WithGroupName("bench"), producer.WithRetry(0), producer.WithQueueSelector(producer.NewManualQueueSelector()))
	if err != nil {
		b.Fatal(err)
	}
	if err := lib.Start(); err != nil {
		b.Fatal(err)
	}
	defer lib.Shutdown()
	msgs := benchMessages(topic, benchBatch)
	const span = 3 * time.Second
	rate := func(workers int, send func(worker int) int) float64 {
		var n atomic.Int64
		var group sync.WaitGroup
		begun := time.Now()
		for w := range workers {
			group.Go(func() {
				for time.Since(begun) < span {
					n.Add(int64(send(w)))
				}
			})
		}
		group.Wait()
		return float64(n.Load()) / time.Since(begun).Seconds()
	}
	sent := func(res *primitive.SendResult, err error, n int) int {
		if err != nil || res.Status != primitive.SendOK {
			b.Errorf("%v %v", res, err)
		}
		return n
	}
	ways := []func() float64{
		func() float64 {
			return rate(benchLanes, func(w int) int {
				for _, o := range p.Publish(context.Background(), relay.Lane{Topic: topic, Index: int32(w)}, msgs) {
					if o.Kind != relay.Acked {
						b.Errorf("%+v", o)
					}
				}
				return len(msgs)
			})
		},
		func() float64 {
			return rate(benchLanes, func(w int) int {
				res, err := lib.SendSync(context.Background(), bare(topic, msgs, &primitive.MessageQueue{Topic: topic, BrokerName: "b1", QueueId: w})...)
				return sent(res, err, len(msgs))
			})
		},
		func() float64 {
			return rate(64, func(w int) int {
				res, err := lib.SendSync(context.Background(), bare(topic, msgs[:1], &primitive.MessageQueue{Topic: topic, BrokerName: "b1", QueueId: w % benchLanes})...)
				return sent(res, err, 1)
			})
		},
	}
	b.ResetTimer()
	for b.Loop() {
		rates := make([][]float64, len(ways))
		for round := range 6 {
			for i, way := range ways {
				if got := way(); round > 0 { // the first one warms up
					rates[i] = append(rates[i], got)
				}
			}
		}
		var median [3]float64
		for i := range rates {
			slices.Sort(rates[i])
			median[i] = rates[i][len(rates[i])/2]
		}
		b.ReportMetric(median[0], "adapter-msg/s")
		b.ReportMetric(median[1], "batched-msg/s")
		b.ReportMetric(median[2], "single-msg/s")
		b.ReportMetric(median[0]/median[1], "A4")
		b.ReportMetric(median[0]/median[2], "A5")
	}
}
