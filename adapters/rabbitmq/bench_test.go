package rabbitmq

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

const (
	benchMessages = 20_000 // of one measurement
	benchRounds   = 5
	benchKeys     = 10_000
)

// BenchmarkAgainstTheLibrary gives figures A6 and A7: messages a second into a quorum queue, strict and pipelined, and those of the library's own best loop, eight
// channels with a sliding window of 200 each. The three take turns; the medians count. Run it with -benchtime 1x.
func BenchmarkAgainstTheLibrary(b *testing.B) {
	for _, size := range []int{200, 1024} {
		b.Run(fmt.Sprint(size, " B"), func(b *testing.B) {
			r, err := testservices.NewRabbitMQ(b.Context(), 1, testservices.RabbitSetting("vm_memory_high_watermark.absolute", "4GiB"))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := r.Close(); err != nil {
					b.Error(err)
				}
			})
			for b.Loop() {
				compare(b, r.Addrs, size)
			}
		})
	}
}

func compare(b *testing.B, hosts []string, size int) {
	cfg := DefaultConfig()
	cfg.Hosts = hosts
	loops := []struct {
		name string
		run  func(queue string)
	}{
		{"strict", func(queue string) { benchPublisher(b, cfg, queue, size, nil) }},
		{"pipelined", func(queue string) { benchPublisher(b, cfg, queue, size, func(string) bool { return true }) }},
		{"library", func(queue string) { benchLibrary(b, hosts[0], queue, size) }},
	}
	rates := make([][]float64, len(loops))
	for round := range benchRounds + 1 {
		for i, l := range loops {
			queue := fmt.Sprint(l.name, round)
			if err := Declare(b.Context(), cfg, []string{queue}); err != nil {
				b.Fatal(err)
			}
			begun := time.Now()
			l.run(queue)
			if took := time.Since(begun).Seconds(); round > 0 { // the first warms up
				rates[i] = append(rates[i], benchMessages/took)
			}
			_ = session(b.Context(), cfg, func(conn *amqp.Connection) error {
				return throwAway(conn, func(ch *amqp.Channel) error { _, err := ch.QueueDelete(queue, false, false, false); return err })
			}, "delete")
		}
	}
	medians := make([]float64, len(loops))
	for i := range loops {
		slices.Sort(rates[i])
		medians[i] = rates[i][benchRounds/2]
		b.ReportMetric(medians[i], loops[i].name+"-msg/s")
	}
	b.ReportMetric(medians[0]/medians[2], "A6-strict/library")
	b.ReportMetric(medians[0]/medians[1], "A7-strict/pipelined")
}

// benchBatches are the messages of one measurement as the engine makes batches: one message of a key in each.
func benchBatches(p *Publisher, queue string, size int) map[relay.Lane][][]*relay.Message {
	lanes := map[relay.Lane][][]*relay.Message{}
	for i := range benchMessages {
		m := &relay.Message{ID: relay.ID(i + 1), MessageID: fmt.Sprint("8c0b7e5e-6a3f-4e0e-9f0e-0d8d1c9a1b2c-", i), Topic: queue, Target: DefaultExchange, RoutingKey: queue, Key: queue,
			Type: "order.paid", CreatedAt: time.Unix(1_700_000_000, 0), Payload: make([]byte, size), Size: size,
			Headers: []relay.Header{{Name: "tenant", Value: "t-1"}, {Name: "region", Value: "eu"}}}
		at := relay.Lane{Topic: queue, Index: channelOf(&relay.Message{Key: fmt.Sprint("key ", i%benchKeys)}, p.cfg.Channels)}
		m.Topic = fmt.Sprint("key ", i%benchKeys) // the order's key is topic and key; the routing key is the queue
		b := lanes[at]
		if len(b) == 0 || len(b[len(b)-1]) == p.cfg.Batch.MaxMessages {
			b = append(b, nil)
		}
		b[len(b)-1] = append(b[len(b)-1], m)
		lanes[at] = b
	}
	return lanes
}

func benchPublisher(b *testing.B, cfg Config, queue string, size int, pipelined func(string) bool) {
	cfg.Pipelined = pipelined
	p, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close(context.Background())
	if err := p.Open(b.Context(), 1); err != nil {
		b.Fatal(err)
	}
	var lanes sync.WaitGroup
	for at, batches := range benchBatches(p, queue, size) {
		lanes.Go(func() {
			for _, batch := range batches {
				for _, o := range p.Publish(context.Background(), at, batch) {
					if o.Kind != relay.Acked {
						b.Errorf("%+v", o)
						return
					}
				}
			}
		})
	}
	lanes.Wait()
}

// benchLibrary is the loop that the library's documentation leads to, with the same properties.
func benchLibrary(b *testing.B, host, queue string, size int) {
	conn, err := amqp.Dial("amqp://guest:guest@" + host + "/")
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	const channels, window = 8, 200
	var loops sync.WaitGroup
	for c := range channels {
		ch, err := conn.Channel()
		if err == nil {
			err = ch.Confirm(false)
		}
		if err != nil {
			b.Fatal(err)
		}
		loops.Go(func() {
			var open []*amqp.DeferredConfirmation
			oldest := func() {
				if !open[0].Wait() {
					b.Error("refused")
				}
				open = open[1:]
			}
			for i := c; i < benchMessages; i += channels {
				m := ids(queue, fmt.Sprint("key ", i%benchKeys), i)[0]
				m.MessageID, m.Type = fmt.Sprint("8c0b7e5e-6a3f-4e0e-9f0e-0d8d1c9a1b2c-", i), "order.paid"
				m.Payload, m.Headers = make([]byte, size), []relay.Header{{Name: "tenant", Value: "t-1"}, {Name: "region", Value: "eu"}}
				confirm, err := ch.PublishWithDeferredConfirm("", queue, true, false, publishing(m))
				if err != nil {
					b.Error(err)
					return
				}
				if open = append(open, confirm); len(open) == window {
					oldest()
				}
			}
			for len(open) > 0 {
				oldest()
			}
		})
	}
	loops.Wait()
}
