package rabbitmq

import (
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// TestReturnedIsNeverSent: in one window most pass and some have no queue. The returned ones, and only they, are unavailable by themselves alone, what follows
// them in their key is not sent, and they pass as soon as there is a queue.
func TestReturnedIsNeverSent(t *testing.T) {
	hosts := testservices.RabbitMQ(t).Addrs
	exchange, queue, late := newName(t), newName(t), newName(t)
	admin(t, hosts, func(ch *amqp.Channel) error {
		if err := ch.ExchangeDeclare(exchange, amqp.ExchangeDirect, true, false, false, false, nil); err != nil {
			return err
		}
		if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
			return err
		}
		return ch.QueueBind(queue, "good", exchange, false, nil)
	})
	p := open(t, hosts, func(cfg *Config) { cfg.Channels = 1 })
	var batch []*relay.Message
	for id := 1; id <= 500; id++ {
		key := "good"
		if id%7 == 0 {
			key = fmt.Sprint("bad", id%3)
		}
		batch = append(batch, ids(exchange, key, id)...)
	}
	out := publish(t, p, batch)
	var passed, rest []int
	returned := 0
	for i, o := range out {
		id := int(batch[i].ID)
		switch {
		case o.Kind == relay.Acked && id%7 != 0:
			passed = append(passed, id)
		case o.Kind == relay.Unavailable && id%7 == 0 && o.Scope == relay.ScopeKey:
			rest = append(rest, id)
			if o.Class == relay.ClassUnroutable && o.Alive {
				returned++
			}
		default:
			t.Fatalf("message %d: %+v", id, o)
		}
	}
	if returned != 3 || p.Counters().Returned != 3 {
		t.Errorf("%d returned of 3 keys; %+v", returned, p.Counters())
	}
	wantStored(t, hosts, queue, passed...)
	admin(t, hosts, func(ch *amqp.Channel) error {
		if _, err := ch.QueueDeclare(late, true, false, false, false, nil); err != nil {
			return err
		}
		for i := range 3 {
			if err := ch.QueueBind(late, fmt.Sprint("bad", i), exchange, false, nil); err != nil {
				return err
			}
		}
		return nil
	})
	var again []*relay.Message
	for i := range batch {
		if out[i].Kind != relay.Acked {
			again = append(again, batch[i])
		}
	}
	untilAcked(t, p, again)
	if got := stored(t, hosts, late); len(got) != len(rest) {
		t.Errorf("%d messages in the late queue, want %d", len(got), len(rest))
	}
}

// TestReturnsOfAWholeWindow: every message of full windows is returned; none is called sent.
func TestReturnsOfAWholeWindow(t *testing.T) {
	hosts := testservices.RabbitMQ(t).Addrs
	exchange := newName(t)
	admin(t, hosts, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(exchange, amqp.ExchangeTopic, true, false, false, false, nil)
	})
	p := open(t, hosts, nil)
	batch := ids(exchange, "", span(1, 400)...)
	for range 3 {
		want(t, publish(t, p, batch), "unavailable 400")
	}
	if n := p.Counters().Returned; n != 1200 {
		t.Errorf("%d returns", n)
	}
}

// TestQueueBehindTheDefaultExchange: there the queue is the lane's topic; a missing one is a wait, then a finding, and heals.
func TestQueueBehindTheDefaultExchange(t *testing.T) {
	hosts := testservices.RabbitMQ(t).Addrs
	queue := newName(t)
	p := newPublisher(t, hosts, nil)
	p.missingAfter = 200 * time.Millisecond
	opened(t, p)
	batch := ids("", queue, 1, 2)
	if l := p.Lane(batch[0]); l.Topic != queue {
		t.Errorf("lane %v", l)
	}
	out := publish(t, p, batch)
	if want(t, out, "unavailable 2"); out[0].Scope != relay.ScopeLane || out[0].Class != relay.ClassUnroutable {
		t.Errorf("%+v", out[0])
	}
	eventually(t, "a finding", func() bool {
		out = publish(t, p, batch)
		return out[0].Kind == relay.Config && out[0].Scope == relay.ScopeTopic
	})
	if err := Declare(within(t, patience), configFor(t, hosts), []string{queue}); err != nil {
		t.Fatal(err)
	}
	untilAcked(t, p, batch)
	wantStored(t, hosts, queue, 1, 2)
	admin(t, hosts, func(ch *amqp.Channel) error { _, err := ch.QueueDelete(queue, false, false, false); return err })
	eventually(t, "unavailable again", func() bool { return publish(t, p, ids("", queue, 3))[0].Kind == relay.Unavailable })
}

// TestExchangeDeleted: what is outstanding is unknown, then a person is told, and it heals; lanes of another exchange do not notice.
func TestExchangeDeleted(t *testing.T) {
	hosts := testservices.RabbitMQ(t).Addrs
	gone, other := newName(t), newName(t)
	makeTopic(t, hosts, gone, "quorum", nil)
	makeTopic(t, hosts, other, "quorum", nil)
	p := open(t, hosts, nil)
	want(t, publish(t, p, ids(gone, "k", 1)), "acked 1")
	want(t, publish(t, p, ids(other, "k", 1)), "acked 1")
	admin(t, hosts, func(ch *amqp.Channel) error { return ch.ExchangeDelete(gone, false, false) })
	batch := ids(gone, "", 2, 3, 4)
	out := publish(t, p, batch)
	if out[0].Kind == relay.Acked || out[1].Kind == relay.Acked || out[2].Kind == relay.Acked {
		t.Fatalf("%+v", out)
	}
	out = publish(t, p, batch)
	if want(t, out, "config 3"); out[0].Scope != relay.ScopeTopic || out[0].Class != relay.ClassUnknownTopic {
		t.Errorf("%+v", out[0])
	}
	want(t, publish(t, p, ids(other, "k", 2)), "acked 1")
	if n := p.Counters().Connections; n != 1 {
		t.Errorf("%d connections", n)
	}
	makeTopic(t, hosts, gone, "quorum", nil)
	untilAcked(t, p, batch)
	wantStored(t, hosts, gone, 1, 2, 3, 4)
	wantStored(t, hosts, other, 1, 2)
}

// TestDeclare: with declare, and only then, a missing exchange is made, durable.
func TestDeclare(t *testing.T) {
	r := testservices.RabbitMQ(t)
	exchange := newName(t)
	want(t, publish(t, open(t, r.Addrs, nil), ids(exchange, "k", 1)), "config 1")
	p := open(t, r.Addrs, func(cfg *Config) { cfg.Declare = true })
	out := publish(t, p, ids(exchange, "k", 1))
	if want(t, out, "unavailable 1"); out[0].Class != relay.ClassUnroutable {
		t.Errorf("%+v", out[0])
	}
	admin(t, r.Addrs, func(ch *amqp.Channel) error { // as what it was made, or this fails
		return ch.ExchangeDeclare(exchange, amqp.ExchangeTopic, true, false, false, false, nil)
	})
}
