package rabbitmq

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Limits of what may be configured.
const (
	maxBatchMessages = 10_000
	maxBatchBytes    = 64 << 20
	maxChannels      = 64
	maxMessageBytes  = 128 << 20 // the server's own before 4.0
	maxShort         = 255       // bytes of a short string: names of exchanges, routing keys, most properties (AMQP 0-9-1, 4.2.5.3)
)

// Config says how to reach one RabbitMQ cluster. Start from DefaultConfig: the zero value of a field is never "the default", except where nil is said to mean
// something.
type Config struct {
	// Hosts are the nodes, host:port; one after the other is tried in random order. All must belong to one cluster.
	Hosts []string

	// Vhost is the virtual host. Default "/".
	Vhost string

	// ConnectionName is what the server's lists of connections show: "waybill/<outbox>/<destination>".
	ConnectionName string

	// Login gives user and password. It is called at each dial, so that renewed credentials are used without a restart; it must not block for longer than a
	// few seconds. Nil = guest, guest, which a server takes from its own machine only.
	Login func() (user, password string, err error)

	// TLS is used on the way to every host; ServerName may stay empty, then it is the host's. Versions below 1.2 are never used. Nil = no TLS.
	TLS *tls.Config

	// Exchanges are the exchanges that routes name; Check asks for them. Nil = the routes compute names.
	Exchanges []string

	// Queues are the queues that routes reach through the default exchange; Check asks for them. Nil = none, or computed.
	Queues []string

	// Declare makes exchanges that do not exist: durable topic exchanges. Queues and bindings are never made.
	Declare bool

	// Channels is how many channels, which are lanes, each exchange is given: 1 to 64. Default 8. Changing it moves keys to other lanes.
	Channels int

	// Window is how many messages of a channel may be unconfirmed: 1 to 10,000. Default 200. More only adds duplicates after a cut.
	Window int

	// Pipelined says for which targets (an exchange, or a queue where the default exchange is meant) messages of one key may be unconfirmed together. It is
	// faster for hot keys; but when the broker refuses one of them, those behind it may be stored before it. It must always answer the same. Nil = none: one
	// unconfirmed message for each key, other keys pipelined.
	Pipelined func(target string) bool

	// MaxMessageBytes is the largest payload that is sent: 1 KiB to 128 MiB. Default 8 MiB; a server takes 128 MiB before 4.0 and 16 MiB from then on, unless its
	// max_message_size says otherwise. Check tries whether it takes that much.
	MaxMessageBytes int

	// Batch bounds one Publish of two messages or more.
	Batch Batch

	// Timeouts of connecting and confirming.
	Timeouts Timeouts

	// Heartbeat is the interval that is proposed to the server, 1 s to 1 h; a connection without a sign of life for 1.5 of it ends. Default 10 s.
	Heartbeat time.Duration

	// WriteTimeout is how long one write to a socket may block (W of the lease arithmetic). Default 5 s.
	WriteTimeout time.Duration

	// TCPUserTimeout is how long the kernel keeps bytes that nobody acknowledged (U of the lease arithmetic). Default 5 s. Linux only: elsewhere the kernel's own,
	// much longer limit holds.
	TCPUserTimeout time.Duration

	// Trust says whether the lease is still trusted. When it answers false, no byte is written any more. Called before each write, from any goroutine; it must
	// not block. Nil = always trusted.
	Trust func() bool

	// ManagementURL is the address of the management plugin, http(s)://host:port. Check reads queue types, policies, bindings and alarms there, with Login and
	// TLS. Empty = what cannot be asked through AMQP is reported as unseen.
	ManagementURL string
}

// Batch bounds the batches of a lane.
type Batch struct {
	MaxMessages int // 1 to 10,000. Default 200
	MaxBytes    int // bytes as Message.Weight counts them, 1 KiB to 64 MiB. Default 4 MiB
}

// Timeouts bound the waiting for a broker.
type Timeouts struct {
	Connect time.Duration // for one host: to connect, to agree on TLS, to log in. Default 5 s
	Confirm time.Duration // for a confirm; then the connection is given up. Time under an alarm does not count. Default 30 s
}

// DefaultConfig returns the defaults; Hosts is left to set.
func DefaultConfig() Config {
	return Config{
		Vhost:           "/",
		ConnectionName:  "waybill",
		Channels:        8,
		Window:          200,
		MaxMessageBytes: 8 << 20,
		Batch:           Batch{MaxMessages: 200, MaxBytes: 4 << 20},
		Timeouts:        Timeouts{Connect: 5 * time.Second, Confirm: 30 * time.Second},
		Heartbeat:       10 * time.Second,
		WriteTimeout:    5 * time.Second,
		TCPUserTimeout:  5 * time.Second,
	}
}

// Validate reports all problems at once, one joined error each.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("rabbitmq: "+format, args...)) }
	if len(c.Hosts) == 0 {
		bad("hosts is empty; name at least one host:port")
	}
	for _, h := range c.Hosts {
		if host, port, err := net.SplitHostPort(h); err != nil || host == "" || port == "" {
			bad("host %q is not host:port", h)
		}
	}
	for name, text := range map[string]string{"vhost": c.Vhost, "connection_name": c.ConnectionName} {
		if text == "" || len(text) > maxShort {
			bad("%s must have 1 to %d bytes, not %d", name, maxShort, len(text))
		}
	}
	for _, names := range [][]string{c.Exchanges, c.Queues} {
		for _, name := range names {
			if name == "" || len(name) > maxShort {
				bad("the name of an exchange or queue must have 1 to %d bytes, %.40q has %d", maxShort, name, len(name))
			}
		}
	}
	for _, n := range []struct {
		name          string
		is, low, high int
	}{
		{"channels", c.Channels, 1, maxChannels}, {"window", c.Window, 1, maxBatchMessages}, {"max_message_bytes", c.MaxMessageBytes, 1 << 10, maxMessageBytes},
		{"batch.max_messages", c.Batch.MaxMessages, 1, maxBatchMessages}, {"batch.max_bytes", c.Batch.MaxBytes, 1 << 10, maxBatchBytes},
	} {
		if n.is < n.low || n.is > n.high {
			bad("%s is %d; it must be %d to %d", n.name, n.is, n.low, n.high)
		}
	}
	for _, d := range []struct {
		name    string
		is, low time.Duration
	}{
		{"timeouts.connect", c.Timeouts.Connect, time.Millisecond}, {"timeouts.confirm", c.Timeouts.Confirm, time.Millisecond},
		{"heartbeat", c.Heartbeat, time.Second}, {"write_timeout", c.WriteTimeout, time.Millisecond}, {"tcp_user_timeout", c.TCPUserTimeout, time.Millisecond},
	} {
		if d.is < d.low || d.is > time.Hour {
			bad("%s is %v; it must be %v to 1 h", d.name, d.is, d.low)
		}
	}
	if u, err := url.Parse(c.ManagementURL); c.ManagementURL != "" && (err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https") {
		bad("management_url must be http://host:port or https://host:port, without user and password")
	}
	return errors.Join(errs...)
}

// Capabilities say what this publisher can do with this configuration.
func (c Config) Capabilities() relay.Capabilities {
	return relay.Capabilities{Tombstone: true, MaxBatch: c.Batch.MaxMessages, MaxBytes: c.Batch.MaxBytes}
}

// login is Login with its default.
func (c *Config) login() (user, password string, err error) {
	if c.Login == nil {
		return "guest", "guest", nil
	}
	return c.Login()
}
