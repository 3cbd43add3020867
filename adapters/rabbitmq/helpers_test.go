package rabbitmq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

const patience = 60 * time.Second

// admin runs f on a channel of the first host that lets guest in.
func admin(t *testing.T, hosts []string, f func(*amqp.Channel) error) {
	t.Helper()
	var last error
	for _, host := range hosts {
		conn, err := amqp.Dial("amqp://guest:guest@" + host + "/")
		if err != nil {
			last = err
			continue
		}
		last = throwAway(conn, f)
		_ = conn.Close()
		break
	}
	if last != nil {
		t.Fatal(last)
	}
}

// makeTopic makes a durable topic exchange, and a durable queue of the same name that gets everything.
func makeTopic(t *testing.T, hosts []string, name, kind string, args amqp.Table) {
	t.Helper()
	all := amqp.Table{"x-queue-type": kind}
	for k, v := range args {
		all[k] = v
	}
	admin(t, hosts, func(ch *amqp.Channel) error {
		if err := ch.ExchangeDeclare(name, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
			return err
		}
		if _, err := ch.QueueDeclare(name, true, false, false, false, all); err != nil {
			return err
		}
		return ch.QueueBind(name, "#", name, false, nil)
	})
}

// newPublisher makes a publisher that is closed, and checked for leftovers, at the end of the test.
func newPublisher(t *testing.T, hosts []string, change func(*Config)) *Publisher {
	t.Helper()
	leaks := []goleak.Option{goleak.IgnoreCurrent(), testservices.IgnoreServers()}
	cfg := configFor(t, hosts)
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		goleak.VerifyNone(t, leaks...)
	})
	return p
}

func open(t *testing.T, hosts []string, change func(*Config)) *Publisher {
	t.Helper()
	p := newPublisher(t, hosts, change)
	opened(t, p)
	return p
}

// opened opens a publisher as the engine does: again while the broker is not ready.
func opened(t *testing.T, p *Publisher) {
	t.Helper()
	eventually(t, "open", func() bool {
		err := p.Open(within(t, patience), 1)
		if err != nil && !errors.Is(err, relay.ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls a condition, because some states have no event.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// ids makes messages of one key with the given ids; without a key every message is on its own.
func ids(topic, key string, list ...int) (batch []*relay.Message) {
	for _, id := range list {
		payload := fmt.Sprintf("payload %d", id)
		batch = append(batch, &relay.Message{ID: relay.ID(id), MessageID: fmt.Sprintf("gen-%d", id), Topic: topic, Target: cmp.Or(topic, DefaultExchange), RoutingKey: key, Key: key,
			Payload: []byte(payload), Size: len(payload), CreatedAt: time.UnixMicro(1_700_000_000_000_000 + int64(id))})
	}
	return batch
}

func span(from, to int) (list []int) {
	for i := from; i <= to; i++ {
		list = append(list, i)
	}
	return list
}

// publish sends a batch to the lane of its first message.
func publish(t *testing.T, p *Publisher, batch []*relay.Message) []relay.Outcome {
	t.Helper()
	out := p.Publish(within(t, patience), p.Lane(batch[0]), batch)
	if len(out) != len(batch) {
		t.Fatalf("%d outcomes for %d messages", len(out), len(batch))
	}
	return out
}

// want demands the kinds of outcomes, "rejected 1 acked 99" in the order in which they come.
func want(t *testing.T, out []relay.Outcome, kinds string) {
	t.Helper()
	var runs []string
	for i := 0; i < len(out); {
		j := i
		for j < len(out) && out[j].Kind == out[i].Kind {
			j++
		}
		runs = append(runs, fmt.Sprintf("%v %d", out[i].Kind, j-i))
		i = j
	}
	if got := strings.Join(runs, " "); got != kinds {
		t.Fatalf("outcomes %q, want %q: first %+v last %+v", got, kinds, out[0], out[len(out)-1])
	}
}

// untilAcked presents a batch again as the engine does, what was acked left out, and counts what came before.
func untilAcked(t *testing.T, p *Publisher, batch []*relay.Message) (before map[relay.Kind]int) {
	t.Helper()
	before = map[relay.Kind]int{}
	eventually(t, "all acked", func() bool {
		out := publish(t, p, batch)
		var rest []*relay.Message
		for i, o := range out {
			if o.Kind != relay.Acked {
				rest = append(rest, batch[i])
			}
		}
		if batch = rest; len(rest) == 0 {
			return true
		}
		for _, o := range out {
			if o.Kind != relay.Acked {
				before[o.Kind]++
				break
			}
		}
		return false
	})
	return before
}

// stored are the ids that lie in a queue, in its order.
func stored(t *testing.T, hosts []string, queue string) (list []string) {
	t.Helper()
	err := ReadAll(within(t, patience), configFor(t, hosts), queue, func(r Record) error {
		seq, _ := r.Header(record.HeaderSeq)
		list = append(list, seq)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// wantStored demands exactly these ids in this order.
func wantStored(t *testing.T, hosts []string, queue string, list ...int) {
	t.Helper()
	var texts []string
	for _, id := range list {
		texts = append(texts, fmt.Sprint(id))
	}
	if got := stored(t, hosts, queue); !slices.Equal(got, texts) {
		t.Fatalf("stored %v, want %v", got, texts)
	}
}

// unusedAddr is a loopback address where nobody listens.
func unusedAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
