package config

import "time"

// RabbitMQ configures a destination of kind rabbitmq.
type RabbitMQ struct {
	Hosts           []string       `key:"hosts" form:"address" needed:"true" help:"host:port of the nodes; one is connected to at a time"`
	VHost           string         `key:"vhost" help:"virtual host"`
	Credentials     RabbitLogin    `key:"credentials" help:"login; never inside an address"`
	TLS             TLS            `key:"tls" help:"encryption of the connection"`
	Channels        int            `key:"channels" min:"1" max:"64" help:"lanes of an exchange, each a channel: the key decides which"`
	Window          Batch          `key:"window" help:"most that is unconfirmed in a channel: also the bound on repeats after a cut"`
	MaxMessageBytes Size           `key:"max_message_bytes" min:"1KiB" max:"128MiB" help:"largest payload that is sent; the check tries whether the server takes it, and outbox.publish refuses what it does not"`
	Order           string         `key:"order" enum:"strict|pipelined" help:"strict: one unconfirmed message of a key; pipelined: faster on hot keys, but one nack can leave a hole in a key's order"`
	Declare         bool           `key:"declare" help:"make missing exchanges, durable and of type topic; queues and bindings are yours to make"`
	ManagementURL   string         `key:"management_url" null:"true" help:"http(s)://host:port of the management plugin, through which the check reads queue types and policies, with the same login"`
	Timeouts        RabbitTimeouts `key:"timeouts" help:"of the connection and its confirms"`
	Durability      string         `key:"durability" enum:"warn|require" help:"what to do when the broker is configured so that it can lose: warn, or refuse to start"`
}

// RabbitLogin is an account of a RabbitMQ cluster.
type RabbitLogin struct {
	Username Secret `key:"username" null:"true" help:"read again at each login; null: guest, which RabbitMQ takes from its own host only"`
	Password Secret `key:"password" null:"true" help:"read again at each login"`
}

// RabbitTimeouts bound what a RabbitMQ node may take.
type RabbitTimeouts struct {
	Connect   time.Duration `key:"connect" min:"10ms" max:"5m" help:"until a connection is made"`
	Confirm   time.Duration `key:"confirm" min:"100ms" max:"10m" help:"until a missing confirm is called unknown"`
	Heartbeat time.Duration `key:"heartbeat" min:"1s" max:"5m" help:"how often both sides say that they live"`
}

// DefaultRabbitMQ returns the defaults of a destination of kind rabbitmq.
func DefaultRabbitMQ() RabbitMQ {
	return RabbitMQ{VHost: "/", Channels: 8, Window: Batch{MaxMessages: 200, MaxBytes: 4 * MiB}, MaxMessageBytes: 8 * MiB, Order: "strict", Durability: "warn",
		Timeouts: RabbitTimeouts{Connect: 5 * time.Second, Confirm: 30 * time.Second, Heartbeat: 10 * time.Second}}
}
