package app

import (
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/adapters/rabbitmq"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// describeRabbitMQ maps a destination of kind rabbitmq.
func describeRabbitMQ(c *config.Config, d *config.Destination, h hooks) relay.Destination {
	from, r := &d.RabbitMQ, rabbitmq.DefaultConfig()
	r.Hosts, r.Vhost, r.ConnectionName = from.Hosts, from.VHost, "waybill/"+c.Name+"/"+d.Name
	r.Login = login(from.Credentials.Username, from.Credentials.Password)
	r.Exchanges, r.Queues = rabbitTargets(c, d.Name)
	r.Declare, r.Channels, r.ManagementURL = from.Declare, from.Channels, from.ManagementURL
	r.Window = from.Window.MaxMessages
	r.Batch = rabbitmq.Batch{MaxMessages: from.Window.MaxMessages, MaxBytes: int(from.Window.MaxBytes)}
	r.MaxMessageBytes = int(from.MaxMessageBytes)
	if from.Order == "pipelined" {
		r.Pipelined = func(string) bool { return true }
	}
	r.Timeouts = rabbitmq.Timeouts{Connect: from.Timeouts.Connect, Confirm: from.Timeouts.Confirm}
	r.Heartbeat = from.Timeouts.Heartbeat
	r.WriteTimeout, r.TCPUserTimeout, r.Trust = c.Relay.WriteTimeout, c.Relay.TCPUserTimeout, h.trusted
	return relay.Destination{
		Capabilities: r.Capabilities(), PublishTimeout: r.Timeouts.Confirm + 2*time.Second,
		New: func() (relay.Publisher, error) {
			var err error
			if r.TLS, err = tlsConfig(from.TLS); err != nil {
				return nil, err
			}
			return rabbitmq.New(r)
		},
	}
}

// rabbitTargets lists the exchanges that routes name at a destination, and the queues that they reach through the default exchange; computed names are left
// out.
func rabbitTargets(c *config.Config, destination string) (exchanges, queues []string) {
	for _, r := range relayRoutes(c) {
		switch {
		case r.Destination != destination || strings.Contains(r.Target, "{"):
		case r.Target != rabbitmq.DefaultExchange:
			exchanges = append(exchanges, r.Target)
		case !strings.Contains(r.RoutingKey, "{"):
			queues = append(queues, r.RoutingKey)
		case r.RoutingKey == "{topic}" && !strings.Contains(r.Topic, "*"):
			queues = append(queues, r.Topic)
		}
	}
	slices.Sort(exchanges)
	slices.Sort(queues)
	return slices.Compact(exchanges), slices.Compact(queues)
}
