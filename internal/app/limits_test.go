package app

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/adapters/rabbitmq"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/outbox"
	"github.com/waybillmq/waybill/relay"
)

// Every topic that is known by name has the limit of where it goes; where nobody answered, it keeps the one that it had.
func TestLimitsByTopic(t *testing.T) {
	c := config.Default()
	c.Destinations = []config.Destination{config.NewDestination("kafka", config.KindKafka), config.NewDestination("rabbit", config.KindRabbitMQ),
		config.NewDestination("down", config.KindRabbitMQ)}
	to := func(topic string, to config.To) config.Route {
		return config.Route{Name: topic, Match: config.Match{Topic: topic}, To: to, OnDead: "block"}
	}
	c.Routes = []config.Route{to("mail", config.To{Destination: "rabbit", Topic: "{topic}"}), to("bulk.*", config.To{Destination: "rabbit", Topic: "{topic}", Exchange: "bulk"}),
		to("renamed", config.To{Destination: "kafka", Topic: "another"}), to("typed", config.To{Destination: "kafka", Topic: "x.{type}"}), to("far.*", config.To{Destination: "down", Topic: "{topic}"}),
		to("far", config.To{Destination: "down", Topic: "{topic}"}), to("*", config.To{Destination: "kafka", Topic: "{topic}"})}
	checked := map[string]relay.Findings{
		"kafka":  {Limits: map[string]int{"orders": 100, "another": 200, "mail": 1, "bulk.b": 1}},
		"rabbit": {Limits: map[string]int{"mail": 300, "orders": 1}, Limit: 400},
	}
	before := map[string]int{"bulk.old": 7, "far.old": 8, "deleted": 9}
	want := map[string]int{"orders": 100, "another": 200, "renamed": 200, "mail": 300, "bulk.a": 400, "bulk.b": 400, "bulk.old": 400, "far.old": 8}
	got, err := limitsByTopic(c, []string{"bulk.a", "far.new", "unheard"}, checked, before)
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v\nwant %v", got, err, want)
	}
}

// E17: RabbitMQ's limit is the server's, so it holds for each topic that goes there, through the default exchange or another one; outbox.publish refuses what is
// larger, and takes more than its default where the broker does.
func TestTooLargeForRabbitMQIsRefusedWhenItIsWritten_E17(t *testing.T) {
	r := sharedRig(t)
	server := testservices.RabbitMQ(t)
	const most = 1_500_000
	mail, bulk := r.prefix+"mail", r.prefix+"bulk"
	cfg := rabbitmq.DefaultConfig()
	cfg.Hosts = server.Addrs
	if err := rabbitmq.Declare(t.Context(), cfg, []string{mail}); err != nil {
		t.Fatal(err)
	}
	d := config.NewDestination("rabbit", config.KindRabbitMQ)
	d.RabbitMQ.Hosts, d.RabbitMQ.MaxMessageBytes = server.Addrs, most
	r.config.Destinations = append(r.config.Destinations, d)
	direct, named := r.route("mail", mail, "rabbit"), r.route("bulk", bulk, "rabbit")
	named.To.Exchange = "amq.topic"
	r.config.Routes = append([]config.Route{direct, named}, r.config.Routes...)
	r.start("a")
	for _, topic := range []string{mail, bulk} {
		eventually(t, "the limit of "+topic+" is known", func() bool {
			n, err := tryAsk[int](r, `SELECT max_bytes FROM outbox.limits WHERE topic = $1 AND source = 'broker'`, topic)
			return err == nil && n == most
		})
		if _, err := r.tryPublish(outbox.Message{Topic: topic, Payload: make([]byte, most+1)}); !errors.Is(err, outbox.ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", topic, err)
		}
	}
	r.publish(outbox.Message{Topic: mail, Payload: []byte(strings.Repeat("m", most))})
	r.drained()
	if n := ask[int](r, `SELECT count(*) FROM outbox.message_held`); n != 0 {
		t.Errorf("%d messages are held: what publish takes, the broker takes", n)
	}
}
