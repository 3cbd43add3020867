package rabbitmq

import (
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// streamRestarted: a queue of type stream confirms like the others. Its only node is stopped and started under load: nothing lost, order kept per key, and no more
// copies than ambiguous answers, read back from its first message. A kill -9 of a stream's only node may lose what it confirmed (docs/brokers.md); with three
// nodes it is TestLeaderKilled.
func streamRestarted(t *testing.T, r *testservices.Rabbit) {
	topic := newName(t)
	makeTopic(t, r.Addrs, topic, "stream", nil)
	if err := r.Sync(); err != nil {
		t.Fatal(err)
	}
	p := open(t, r.Addrs, nil)
	f := drive(t, p, topic, 50, 0)
	for range 2 {
		f.more(2000)
		eventually(t, "something is in flight", func() bool { return f.busy.Load() > 0 })
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := r.Start(); err != nil {
			t.Fatal(err)
		}
	}
	f.more(2000)
	f.end()
	f.judge(readStream(t, p, r.Addrs, topic))
	if f.count(relay.Unknown)+f.count(relay.Unavailable) == 0 {
		t.Error("the stops were not noticed: the run proves nothing")
	}
}

// readStream reads a stream from its first message up to one that it publishes itself, behind everything else.
func readStream(t *testing.T, p *Publisher, hosts []string, stream string) (all []Record) {
	t.Helper()
	const end = 1 << 30
	untilAcked(t, p, ids(stream, "end", end))
	admin(t, hosts, func(ch *amqp.Channel) error {
		if err := ch.Qos(1000, 0, false); err != nil { // a stream is read with acknowledgements only
			return err
		}
		deliveries, err := ch.Consume(stream, "", false, false, false, false, amqp.Table{"x-stream-offset": "first"})
		if err != nil {
			return err
		}
		for idle := time.After(patience); ; {
			select {
			case d, ok := <-deliveries:
				if !ok {
					return fmt.Errorf("the connection ended after %d messages", len(all))
				}
				if err := d.Ack(false); err != nil {
					return err
				}
				r := recordOf(&d)
				if r.RoutingKey == "end" {
					return nil
				}
				all = append(all, r)
			case <-idle:
				return fmt.Errorf("%d messages came, and not the last one", len(all))
			}
		}
	})
	return all
}
