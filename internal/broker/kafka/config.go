package kafka

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/group"
)

// Log is the node behind the port; [*broker.Node] is one. Its errors are those of package broker. All methods may be called at once.
type Log interface {
	Cluster() string
	Topics() []broker.Topic
	Topic(name string) (broker.Topic, bool)
	CreateTopic(ctx context.Context, t broker.Topic) error
	DeleteTopic(ctx context.Context, name string) error
	// Append stores one record batch and returns when it is acknowledged. It keeps no slice.
	Append(ctx context.Context, topic string, partition int32, batch []byte) (broker.Ack, error)
	Bounds(topic string, partition int32) (start, high int64, err error)
	// Read returns whole batches in slices of the caller: at most maxBytes, but one at least when there is any.
	Read(ctx context.Context, topic string, partition int32, from int64, maxBytes int) ([]broker.StoredBatch, error)
	// Wait returns when one of the partitions holds records from its offset on.
	Wait(ctx context.Context, points ...broker.Point) error
}

// Config says what a server offers. The zero value of a field that is not required means its default.
type Config struct {
	Log       Log    // required
	Advertise string // host:port that clients connect to; required, not 0.0.0.0
	Groups    group.Config
	// Closed hears why a connection was ended by this side, or by a client in the middle of a request; and without a remote, why none could be accepted. Clients decide
	// how often. It must not block; nil = nobody does.
	Closed func(remote string, why error)
	// Failed hears of a chore of the port that failed and is tried again, at most once a second. It must not block; nil = nobody does.
	Failed func(op string, err error)

	Connections int           // most at once; default 10,000
	Idle        time.Duration // a connection without a request is closed; default 10 min
	Half        time.Duration // a request is to arrive, an answer to be taken within; default 10 s and three times that
	Request     int           // most bytes of a request; default 8 MiB
	Memory      int64         // most bytes of all requests at once; default 64 MiB
	Waits       int           // most topics and partitions of all Fetches that wait at once; default 250,000
	Response    int           // most bytes of records in an answer, but for one batch; default 8 MiB
}

func (c *Config) complete() error {
	if c.Log == nil {
		panic("kafka: a server needs a log")
	}
	host, port, err := net.SplitHostPort(c.Advertise)
	n, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || n == 0 || host == "" || net.ParseIP(host).IsUnspecified() {
		return fmt.Errorf("kafka: clients cannot connect to %q: advertise a host and a port that they reach, as 127.0.0.1:9092", c.Advertise)
	}
	if c.Closed == nil {
		c.Closed = func(string, error) {}
	}
	if c.Failed == nil {
		c.Failed = func(string, error) {}
	}
	c.Connections = cmp.Or(c.Connections, 10_000)
	c.Idle = cmp.Or(c.Idle, 10*time.Minute)
	c.Half = cmp.Or(c.Half, 10*time.Second)
	c.Request = cmp.Or(c.Request, 8<<20)
	c.Memory = cmp.Or(c.Memory, 64<<20)
	c.Waits = cmp.Or(c.Waits, 250_000)
	c.Response = cmp.Or(c.Response, 8<<20)
	if int64(c.Request) > c.Memory {
		return errors.New("kafka: the memory of all requests is less than that of one: raise the first or lower the second")
	}
	return nil
}

func ptr[T any](v T) *T { return &v }

// nodeID is the id of the only node. Kafka's tools take 0 for unset.
const nodeID = 1

// unknownEpoch says that leader epochs are not told: clients ask nothing of them then.
const unknownEpoch = -1

// topicID is the uuid of a topic. It is made of the names, because the node does not give out the one that it keeps: a topic that is deleted and made again has the
// same one.
func topicID(cluster, topic string) [16]byte {
	sum := sha256.Sum256([]byte(cluster + "/" + topic))
	return [16]byte(sum[:])
}
