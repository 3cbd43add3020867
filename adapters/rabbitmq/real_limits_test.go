package rabbitmq

import (
	"fmt"
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// serverLimit is the largest payload that the node of TestOneNode takes.
const serverLimit = 3000

// sizeLimits: our limit rejects one byte over it, alone. The server's own limit ends the channel: what was outstanding is unknown, and then the culprit is
// found and rejected, and the others pass.
func sizeLimits(t *testing.T, r *testservices.Rabbit) {
	const limit = 5000
	topic := newName(t)
	makeTopic(t, r.Addrs, topic, "quorum", nil)
	p := open(t, r.Addrs, func(cfg *Config) { cfg.MaxMessageBytes, cfg.Channels = limit, 1 })
	sized := func(id, bytes int) *relay.Message {
		m := ids(topic, "", id)[0]
		m.Payload = make([]byte, bytes)
		m.Size = bytes
		return m
	}
	out := publish(t, p, append(ids(topic, "", 1), sized(2, limit+1), sized(3, serverLimit), sized(4, serverLimit-1)))
	if want(t, out, "acked 1 rejected 1 acked 2"); out[1].Class != relay.ClassTooLarge {
		t.Errorf("%+v", out[1])
	}
	batch := append(ids(topic, "", span(5, 30)...), sized(31, serverLimit+1))
	batch = append(batch, ids(topic, "", span(32, 50)...)...)
	rejected := 0
	eventually(t, "only the culprit is rejected", func() bool {
		out := publish(t, p, batch)
		var rest []*relay.Message
		for i, o := range out {
			switch o.Kind {
			case relay.Acked:
			case relay.Rejected:
				if rejected++; batch[i].ID != 31 || o.Class != relay.ClassRefused {
					t.Fatalf("message %d: %+v", batch[i].ID, o)
				}
			default:
				rest = append(rest, batch[i])
			}
		}
		batch = rest
		return len(batch) == 0
	})
	if rejected != 1 {
		t.Errorf("%d rejected", rejected)
	}
	got := map[string]bool{}
	for _, seq := range stored(t, r.Addrs, topic) {
		got[seq] = true
	}
	for _, id := range slices.Concat([]int{1, 3, 4}, span(5, 30), span(32, 50)) {
		if !got[fmt.Sprint(id)] {
			t.Errorf("message %d is lost", id)
		}
	}
	if got["2"] || got["31"] {
		t.Error("a message that was rejected is stored")
	}
	want(t, publish(t, p, ids(topic, "", span(60, 90)...)), "acked 31") // no longer careful
	if got := check(t, p).Limits[topic]; got != serverLimit {
		t.Errorf("limit %d", got)
	}
	// A header that RabbitMQ reads itself and cannot: one alone is rejected at once.
	cc := ids(topic, "", 100)
	cc[0].Headers = []relay.Header{{Name: "CC", Value: "secret"}}
	want(t, publish(t, p, cc), "rejected 1")
}

// TestFullQueue: max-length with reject-publish. Without management nobody knows why and it is unknown; with it the queue is known to be full. Nothing is lost,
// and it goes on when there is room.
func TestFullQueue(t *testing.T) {
	r := testservices.RabbitMQ(t)
	topic := newName(t)
	makeTopic(t, r.Addrs, topic, "classic", amqp.Table{"x-max-length": int32(3), "x-overflow": "reject-publish"})
	p := open(t, r.Addrs, func(cfg *Config) {
		cfg.ManagementURL, cfg.Exchanges, cfg.Channels = r.Management[0], []string{topic}, 1
	})
	want(t, publish(t, p, ids(topic, "", 1, 2, 3)), "acked 3")
	var out []relay.Outcome
	eventually(t, "refused", func() bool { out = publish(t, p, ids(topic, "", 4)); return out[0].Kind != relay.Acked })
	if out[0].Kind != relay.Unknown || out[0].Code != "rabbitmq/nack" {
		t.Errorf("%+v", out[0])
	}
	findings := check(t, p)
	wantLevel(t, findings, "rabbitmq.overflow", topic, relay.LevelOK)
	wantLevel(t, findings, "rabbitmq.queue_type", topic, relay.LevelOK)
	out = publish(t, p, ids(topic, "", 4))
	if want(t, out, "unavailable 1"); out[0].Scope != relay.ScopeTopic || out[0].Class != relay.ClassThrottled || !out[0].Alive {
		t.Errorf("%+v", out[0])
	}
	before := p.Counters().Reopened
	for range deafWindows {
		publish(t, p, ids(topic, "", 4))
	}
	if now := p.Counters().Reopened; now == before {
		t.Error("a channel that only refuses is kept")
	}
	drain(t, r.Addrs, topic)
	untilAcked(t, p, ids(topic, "", 4))
	wantStored(t, r.Addrs, topic, 4)
}

// TestCheckNamesWhatCanLose: what only the management API tells, and what is said without it.
func TestCheckNamesWhatCanLose(t *testing.T) {
	r := testservices.RabbitMQ(t)
	name := func(s string) string { return newName(t) + "." + s }
	empty, hidden, risky, missing := name("empty"), name("hidden"), name("risky"), name("missing")
	dropping, fading, kept, stream := name("dropping"), name("fading"), name("kept"), name("stream")
	admin(t, r.Addrs, func(ch *amqp.Channel) error {
		for _, x := range []struct {
			name    string
			durable bool
			args    amqp.Table
		}{{empty, true, nil}, {hidden, true, amqp.Table{"alternate-exchange": empty}}, {risky, false, nil}} {
			if err := ch.ExchangeDeclare(x.name, amqp.ExchangeTopic, x.durable, false, false, false, x.args); err != nil {
				return err
			}
		}
		for _, q := range []struct {
			name    string
			durable bool
			args    amqp.Table
			to      string
		}{{dropping, true, amqp.Table{"x-max-length": int32(5)}, risky}, {fading, false, amqp.Table{"x-message-ttl": int32(1000)}, risky},
			{kept, true, amqp.Table{"x-queue-type": "quorum"}, hidden}, {stream, true, amqp.Table{"x-queue-type": "stream"}, risky}} {
			if _, err := ch.QueueDeclare(q.name, q.durable, false, false, false, q.args); err != nil {
				return err
			}
			if err := ch.QueueBind(q.name, "#", q.to, false, nil); err != nil {
				return err
			}
		}
		return nil
	})
	configure := func(cfg *Config) {
		cfg.Exchanges, cfg.Queues = []string{empty, hidden, risky, missing}, []string{kept, missing + ".queue"}
	}
	f := check(t, newPublisher(t, r.Addrs, func(cfg *Config) { configure(cfg); cfg.ManagementURL = r.Management[0] }))
	for _, x := range []struct {
		id, subject string
		level       relay.Level
	}{
		{"rabbitmq.exchange", missing, relay.LevelFail}, {"rabbitmq.queue", missing + ".queue", relay.LevelFail}, {"rabbitmq.exchange", hidden, relay.LevelOK},
		{"rabbitmq.bindings", empty, relay.LevelFail}, {"rabbitmq.bindings", hidden, relay.LevelOK}, {"rabbitmq.alternate_exchange", hidden, relay.LevelWarn},
		{"rabbitmq.exchange_durable", risky, relay.LevelWarn}, {"rabbitmq.overflow", dropping, relay.LevelFail}, {"rabbitmq.queue_durable", fading, relay.LevelFail},
		{"rabbitmq.ttl", fading, relay.LevelWarn}, {"rabbitmq.queue_durable", kept, relay.LevelOK}, {"rabbitmq.queue_type", kept, relay.LevelOK},
		{"rabbitmq.queue_type", stream, relay.LevelWarn},
		{"rabbitmq.tls", "connection", relay.LevelWarn},
	} {
		wantLevel(t, f, x.id, x.subject, x.level)
	}
	blind := newPublisher(t, r.Addrs, configure)
	wantLevel(t, check(t, blind), "rabbitmq.settings", "management", relay.LevelUnseen)
	refused := newPublisher(t, r.Addrs, func(cfg *Config) { configure(cfg); cfg.ManagementURL = "http://" + unusedAddr(t) })
	wantLevel(t, check(t, refused), "rabbitmq.settings", "management", relay.LevelUnseen)
}
