package app

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/waybillmq/waybill/adapters/rabbitmq"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// demoRabbitMQ is a RabbitMQ that runs already. Its queues, one for each topic, are reached through the default exchange.
type demoRabbitMQ struct {
	elsewhere
	host, vhost    string
	user, password string
}

// parseRabbitMQ reads amqp://user:password@host:port/vhost; what is missing is the broker's default.
func parseRabbitMQ(text, prefix string) (*demoRabbitMQ, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "amqp" || u.Hostname() == "" {
		return nil, fmt.Errorf("--rabbitmq is no amqp://user:password@host:port/vhost")
	}
	d := &demoRabbitMQ{elsewhere: elsewhere{prefix: prefix}, host: u.Host, vhost: strings.TrimPrefix(u.Path, "/"), user: "guest", password: "guest"}
	if u.Port() == "" {
		d.host = net.JoinHostPort(u.Hostname(), "5672")
	}
	if d.vhost == "" {
		d.vhost = "/"
	}
	if u.User != nil {
		d.user = u.User.Username()
		d.password, _ = u.User.Password()
	}
	return d, nil
}

func (d *demoRabbitMQ) config() rabbitmq.Config {
	c := rabbitmq.DefaultConfig()
	c.Hosts, c.Vhost = []string{d.host}, d.vhost
	c.Login = func() (string, string, error) { return d.user, d.password, nil }
	return c
}

func (d *demoRabbitMQ) start(ctx context.Context, topics []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	d.topics = topics
	var queues []string
	for _, t := range topics {
		queues = append(queues, d.prefix+t)
	}
	if err := rabbitmq.Declare(ctx, d.config(), queues); err != nil {
		return "", fmt.Errorf("make queues at %s: %w; start a RabbitMQ or correct --rabbitmq", d.host, err)
	}
	return fmt.Sprintf("rabbitmq, %d quorum queues %s…", len(topics), d.prefix), nil
}

func (d *demoRabbitMQ) destination() config.Destination {
	to := config.NewDestination("rabbitmq", config.KindRabbitMQ)
	to.RabbitMQ.Hosts, to.RabbitMQ.VHost = []string{d.host}, d.vhost
	to.RabbitMQ.Credentials = config.RabbitLogin{Username: config.SecretText(d.user), Password: config.SecretText(d.password)}
	return to
}

func (d *demoRabbitMQ) route(r *config.Route) { r.To.RoutingKey = d.prefix + "{topic}" }

func (d *demoRabbitMQ) name() string { return d.host }

func (d *demoRabbitMQ) read(ctx context.Context) (stored []audit.Stored, err error) {
	for _, topic := range d.topics {
		queue := d.prefix + topic
		err := rabbitmq.ReadAll(ctx, d.config(), queue, func(r rabbitmq.Record) error {
			m, err := r.Message(queue)
			stored = append(stored, storedAt(relay.Lane{Topic: queue}, -1, m.MessageID, m.ID.String(), topic, []byte(m.Key), m.Payload))
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return stored, nil
}
