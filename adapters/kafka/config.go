package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Limits of what may be configured.
const (
	maxBatchMessages = 10_000
	maxBatchBytes    = 64 << 20
)

// Config says how to reach one Kafka cluster. Start from DefaultConfig: the zero value of a field is never "the default".
type Config struct {
	// Brokers are the bootstrap addresses, host:port. Any one that answers is enough to start; several survive the loss of one.
	Brokers []string

	// ClientID is the name under which the broker logs and throttles us: "waybill/<outbox>".
	ClientID string

	// Topics are the topics that the routes name. Nil = all topics of the cluster, for routes that compute topic names.
	Topics []string

	// Idempotence lets the broker drop a batch that it already has: no duplicates from ambiguous answers. Off only for brokers that refuse
	// InitProducerId; then each ambiguous answer may store a batch twice.
	Idempotence bool

	// Partitioner maps keys to partitions. Default PartitionerMurmur2, as the Java client. Changing it moves keys.
	Partitioner Partitioner

	// Batch bounds one Publish of two messages or more; a message alone may use the topic's whole max.message.bytes.
	Batch Batch

	// Compression of the records of a batch. Default CompressionNone.
	Compression Compression

	// TLS encrypts every connection and says whom to trust; an empty ServerName becomes the host that is dialed. It is cloned. Certificates that change
	// without a restart come through its functions. Nil = no TLS.
	TLS *tls.Config

	// SASL is how to log in. Default MechanismNone.
	SASL SASL

	// Login gives user and password of SASL. It is called for each new connection, from any goroutine, so that credentials may change at any time; it must
	// return quickly. An error, whose text is stored and shown, pauses the destination. Needed with a mechanism, nil without.
	Login func() (user, password string, err error)

	// Timeouts of connecting and answering.
	Timeouts Timeouts

	// WriteTimeout is how long one write to a socket may block (W of the lease arithmetic). Default 5 s.
	WriteTimeout time.Duration

	// TCPUserTimeout is how long the kernel keeps bytes that nobody acknowledged (U of the lease arithmetic). Default 5 s. Linux only: elsewhere the
	// kernel's own, much longer limit holds.
	TCPUserTimeout time.Duration

	// Trust says whether the lease is still trusted. When it answers false, no byte of a batch is written any more. Called before each write, from any
	// goroutine; it must not block. Nil = always trusted.
	Trust func() bool

	// OnLanesChanged is told that a topic appeared or changed its number of partitions: keys would move, so the lanes of this publisher stay as they are
	// and a new publisher is needed. Called once per change, from the watcher's goroutine; it must return quickly and must not call Close itself.
	// Nil = nobody wants to know.
	OnLanesChanged func(topic string)
}

// Batch bounds the batches of a lane.
type Batch struct {
	MaxMessages int // 1 to 10,000. Default 500
	MaxBytes    int // bytes as Message.Weight counts them, 1 KiB to 64 MiB. Default 900 KiB, which fits into the broker's default limit of 1 MiB
}

// Timeouts bound the waiting for a broker.
type Timeouts struct {
	Connect time.Duration // to connect, with TLS and login, and to agree on versions. Default 5 s
	Broker  time.Duration // how long the leader may wait for the in-sync replicas. Default 10 s
	Publish time.Duration // how long we wait for the leader's answer; more than Broker. Default 15 s
}

// DefaultConfig returns the defaults; Brokers is left to set.
func DefaultConfig() Config {
	return Config{
		ClientID:       "waybill",
		Idempotence:    true,
		Partitioner:    PartitionerMurmur2,
		Batch:          Batch{MaxMessages: 500, MaxBytes: 900 << 10},
		Compression:    CompressionNone,
		SASL:           SASL{Mechanism: MechanismNone},
		Timeouts:       Timeouts{Connect: 5 * time.Second, Broker: 10 * time.Second, Publish: 15 * time.Second},
		WriteTimeout:   5 * time.Second,
		TCPUserTimeout: 5 * time.Second,
	}
}

// Validate reports all problems at once, one joined error each.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kafka: "+format, args...)) }
	if len(c.Brokers) == 0 {
		bad("brokers is empty; name at least one host:port")
	}
	for _, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			bad("broker %q is not host:port", b)
		}
	}
	if c.ClientID == "" || len(c.ClientID) > 255 {
		bad("client_id must have 1 to 255 bytes, not %d", len(c.ClientID))
	}
	for _, t := range c.Topics {
		if reason := illegalTopic(t); reason != "" {
			bad("topic %q: %s", t, reason)
		}
	}
	if !c.Partitioner.known() {
		bad("partitioner %q is none of murmur2, crc32, fnv1a", c.Partitioner)
	}
	if !c.Compression.known() {
		bad("compression %q is none of none, gzip, snappy, lz4, zstd", c.Compression)
	}
	c.validateLogin(bad)
	if n := c.Batch.MaxMessages; n < 1 || n > maxBatchMessages {
		bad("batch.max_messages is %d; it must be 1 to %d", n, maxBatchMessages)
	}
	if n := c.Batch.MaxBytes; n < 1<<10 || n > maxBatchBytes {
		bad("batch.max_bytes is %d; it must be 1 KiB to 64 MiB", n)
	}
	for _, d := range []struct {
		name string
		is   time.Duration
	}{
		{"timeouts.connect", c.Timeouts.Connect}, {"timeouts.broker", c.Timeouts.Broker}, {"timeouts.publish", c.Timeouts.Publish},
		{"write_timeout", c.WriteTimeout}, {"tcp_user_timeout", c.TCPUserTimeout},
	} {
		if d.is < time.Millisecond || d.is > time.Hour {
			bad("%s is %v; it must be 1 ms to 1 h", d.name, d.is)
		}
	}
	if c.Timeouts.Publish <= c.Timeouts.Broker {
		bad("timeouts.publish (%v) must be longer than timeouts.broker (%v), else every slow answer is lost", c.Timeouts.Publish, c.Timeouts.Broker)
	}
	return errors.Join(errs...)
}

func (c Config) validateLogin(bad func(format string, args ...any)) {
	switch m := c.SASL.Mechanism; {
	case !m.known():
		bad("sasl.mechanism %q is none of none, plain, scram-sha-256, scram-sha-512", m)
	case m == MechanismPlain && c.TLS == nil:
		bad("sasl.mechanism plain sends the password as it is: set tls, or use scram-sha-512")
	case m == MechanismNone && c.Login != nil:
		bad("there are credentials and no sasl.mechanism; name one of plain, scram-sha-256, scram-sha-512")
	case m != MechanismNone && c.Login == nil:
		bad("sasl.mechanism %s needs a user and a password", m)
	}
}

// Capabilities say what this publisher can do with this configuration.
func (c Config) Capabilities() relay.Capabilities {
	return relay.Capabilities{
		Atomic:    true,
		Dedupes:   c.Idempotence,
		Positions: true,
		Tombstone: true,
		MaxBatch:  c.Batch.MaxMessages,
		MaxBytes:  c.Batch.MaxBytes,
	}
}

// illegalTopic says why Kafka refuses a topic name, or nothing.
func illegalTopic(name string) string {
	switch {
	case name == "":
		return "the name is empty"
	case len(name) > 249:
		return fmt.Sprintf("the name has %d bytes; Kafka allows 249", len(name))
	case name == "." || name == "..":
		return "Kafka does not allow this name"
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-' {
			continue
		}
		return "Kafka allows only letters, digits, dot, underscore and hyphen"
	}
	return ""
}
