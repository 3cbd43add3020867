package rocketmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Limits of what may be configured.
const (
	maxBatchMessages = 10_000
	maxBatchBytes    = 4 << 20 // maxMessageSize of a broker that was never told otherwise
	maxTopic         = 127     // bytes of a topic name
	maxGroup         = 255
)

// Config says how to reach one RocketMQ cluster. Start from DefaultConfig: the zero value of a field is never "the default".
type Config struct {
	// NameServers are host:port. Any one that answers is enough; names are resolved by us, again every 30 s.
	NameServers []string

	// Cluster is the cluster to use. Empty = the only one that the name servers know.
	Cluster string

	// Group is the producer group, unique per destination: "waybill_<outbox>_<destination>". Letters, digits, _ - % |.
	Group string

	// Topics are the target topics that the routes name. Nil = all topics of the cluster, for routes that compute topic names.
	Topics []string

	// Partitioner maps keys to queues. Default PartitionerMurmur2. Changing it moves keys.
	Partitioner Partitioner

	// Tombstone says what becomes of a message whose payload is NULL, which RocketMQ does not know. Default TombstoneReject.
	Tombstone Tombstone

	// Batch bounds one Publish of two messages or more.
	Batch Batch

	// Login gives the access key and the secret key, asked for with each new client and every 30 s. Nil = none. It must return quickly.
	Login func() (accessKey, secretKey string, err error)

	// TLS must be nil: the client library cannot do it.
	TLS *tls.Config

	// Connect bounds connecting for our own questions, and each answer to them. Default 5 s.
	Connect time.Duration

	// WriteTimeout is how long one write to a socket may block (W of the lease arithmetic). Default 5 s.
	WriteTimeout time.Duration

	// TCPUserTimeout is how long the kernel keeps bytes that nobody acknowledged (U of the lease arithmetic), on our own connections only: the library has
	// no hook for its sockets. Default 5 s. Linux only.
	TCPUserTimeout time.Duration

	// Log takes what the client library says, at debug level, a panic of it, and a warning when a master has no slave. There is one log for the process: that of
	// the newest publisher counts.
	// Nil = leave it as it is, at first nowhere.
	Log *slog.Logger

	// Trust says whether the lease is still trusted. When it answers false, no batch is sent any more. Called before each send, from any goroutine; it must
	// not block. Nil = always trusted.
	Trust func() bool

	// Transactional sends each message as a half message, which nobody sees, and commits it once SEND_OK has come: what becomes of a half whose sender died is
	// decided by the outbox's tables. For messages without a key only; one message a call.
	Transactional bool

	// Receipts answers what the broker asks about a half: the positions under which a message of the outbox is marked sent. One without an offset was sent
	// to another destination. Empty also for a message that the outbox does not know by this id and message id. It is called with Transactional only, from one
	// goroutine for each broker, and returns when ctx ends; an error leaves the half as it is, and the broker asks again. Nil = always empty.
	Receipts func(ctx context.Context, id relay.ID, messageID string) ([]relay.Position, error)

	// OnLanesChanged is told that a topic appeared or changed its queues: keys would move, so the lanes of this publisher stay as they are and a new
	// publisher is needed. Called once per change, from the watcher's goroutine, with the topic's name at the broker; it must return quickly and must not
	// call Close itself. Nil = nobody wants to know.
	OnLanesChanged func(topic string)
}

// Tombstone is what becomes of a NULL payload.
type Tombstone string

// The ways.
const (
	TombstoneReject Tombstone = "reject" // the message is rejected
	TombstoneByte   Tombstone = "byte"   // one zero byte, and the property waybill-tombstone: 1
)

// Batch bounds the batches of a lane.
type Batch struct {
	MaxMessages int // 1 to 10,000. Default 200
	MaxBytes    int // bytes as Message.Weight counts them, 1 KiB to 4 MiB. Default 1 MiB
}

// DefaultConfig returns the defaults; NameServers is left to set.
func DefaultConfig() Config {
	return Config{
		Group:          "waybill",
		Partitioner:    PartitionerMurmur2,
		Tombstone:      TombstoneReject,
		Batch:          Batch{MaxMessages: 200, MaxBytes: 1 << 20},
		Connect:        5 * time.Second,
		WriteTimeout:   5 * time.Second,
		TCPUserTimeout: 5 * time.Second,
	}
}

// Validate reports all problems at once, one joined error each.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("rocketmq: "+format, args...)) }
	if len(c.NameServers) == 0 {
		bad("name_servers is empty; name at least one host:port")
	}
	for _, s := range c.NameServers {
		if host, port, err := net.SplitHostPort(s); err != nil || host == "" || port == "" {
			bad("name server %q is not host:port", s)
		}
	}
	most := maxGroup
	if c.Transactional {
		most -= len(halfGroup)
	}
	if why := illegalName(c.Group, most); why != "" {
		bad("group %q: %s", c.Group, why)
	}
	for _, t := range c.Topics {
		if why := illegalName(t, maxTopic); why != "" {
			bad("topic %q: %s", t, why)
		}
	}
	if c.Partitioner.hash() == nil {
		bad("partitioner %q is none of murmur2, java_hash", c.Partitioner)
	}
	if c.Tombstone != TombstoneReject && c.Tombstone != TombstoneByte {
		bad("tombstone %q is none of reject, byte", c.Tombstone)
	}
	if n := c.Batch.MaxMessages; n < 1 || n > maxBatchMessages {
		bad("batch.max_messages is %d; it must be 1 to %d", n, maxBatchMessages)
	}
	if n := c.Batch.MaxBytes; n < 1<<10 || n > maxBatchBytes {
		bad("batch.max_bytes is %d; it must be 1 KiB to 4 MiB", n)
	}
	if c.TLS != nil {
		bad("tls is not possible: the client library cannot do it; use a private network or a tunnel, and leave tls out")
	}
	for _, d := range []struct {
		name string
		is   time.Duration
	}{{"connect", c.Connect}, {"write_timeout", c.WriteTimeout}, {"tcp_user_timeout", c.TCPUserTimeout}} {
		if d.is < time.Millisecond || d.is > time.Hour {
			bad("%s is %v; it must be 1 ms to 1 h", d.name, d.is)
		}
	}
	return errors.Join(errs...)
}

// Capabilities say what this publisher can do with this configuration. The offset of a half is its number, not a place.
func (c Config) Capabilities() relay.Capabilities {
	if c.Transactional {
		return relay.Capabilities{Atomic: true, Tombstone: c.Tombstone == TombstoneByte, MaxBatch: 1, MaxBytes: c.Batch.MaxBytes}
	}
	return relay.Capabilities{
		Atomic:    true,
		Positions: true,
		Tombstone: c.Tombstone == TombstoneByte,
		MaxBatch:  c.Batch.MaxMessages,
		MaxBytes:  c.Batch.MaxBytes,
	}
}

// illegalName says why RocketMQ refuses a topic or group, or nothing (TopicValidator of 4.9).
func illegalName(name string, most int) string {
	switch {
	case name == "":
		return "the name is empty"
	case len(name) > most:
		return fmt.Sprintf("the name has %d bytes; RocketMQ allows %d", len(name), most)
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '%' || c == '|' {
			continue
		}
		return "RocketMQ allows only letters, digits, _ - % and |; set topic_replace: \".=_\" on the route"
	}
	return ""
}
