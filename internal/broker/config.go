package broker

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
	"github.com/waybillmq/waybill/internal/broker/replica"
)

// Config says where a node lies and what it allows. The zero value of a field means its default.
type Config struct {
	Dir          string        // its folder; made when it is missing, its parent must exist
	SegmentBytes int64         // of the log; default 128 MiB
	FlushTimeout time.Duration // how long an append waits for its answer, of the disk or of other nodes; default 5 s
	Partitions   int           // of a topic made without a number; default 12

	RetentionAge   time.Duration // of a topic made without its own; default 7 days, negative = for ever
	RetentionBytes int64         // of all topics together; the oldest records go first; 0 = no bound
	RetentionEvery time.Duration // how often old records are looked for; default 1 min

	Cluster *Cluster // nil = this node is alone

	Failed func(op string, err error) // hears of a chore that failed and is tried again; it must not block; nil = nobody does
}

// MaxMessage is the most bytes of a record batch.
const MaxMessage = 1 << 20

// DataGroups is how many groups hold records: 1 to DataGroups, beside group 0, which decides about topics. They may be led by different nodes. The number is fixed when
// a cluster is made: three nodes will share it two each.
const DataGroups = 6

// inFlight is how many bytes may wait to be stored at once.
const inFlight = 32 << 20

func (c *Config) complete() error {
	if c.Dir == "" {
		return errors.New("broker: name a folder for its data")
	}
	c.FlushTimeout = cmp.Or(c.FlushTimeout, 5*time.Second)
	c.RetentionAge = cmp.Or(c.RetentionAge, 7*24*time.Hour)
	c.RetentionEvery = cmp.Or(c.RetentionEvery, time.Minute)
	c.Partitions = cmp.Or(c.Partitions, 12)
	if c.Failed == nil {
		c.Failed = func(string, error) {}
	}
	if c.Partitions < 1 || c.Partitions > fsm.MaxPartitions {
		return fmt.Errorf("broker: %d partitions: 1 to %d are allowed", c.Partitions, fsm.MaxPartitions)
	}
	return nil
}

// Why something is refused. What ends in Stored was not, unless it says so.
var (
	// ErrNotLeader means that this node cannot store it now, or read it; see [NotLeaderError]. Nothing was stored.
	ErrNotLeader = replica.ErrNotLeader
	// ErrLeadershipLost means that the node led no more before it could answer. It may be stored.
	ErrLeadershipLost = replica.ErrLeadershipLost
	// ErrStopped means that the node has ended, in order or by an error of its disk. What was being appended may be stored.
	ErrStopped = replica.ErrStopped
	// ErrDiskFull comes with [ErrNotLeader]: there is no room for more. It is tried again every 5 s.
	ErrDiskFull = commitlog.ErrFull
	// ErrTooLarge means that a batch is longer than MaxMessage. Nothing was stored.
	ErrTooLarge = errors.New("the record batch is larger than the broker takes")
	// ErrFlushTimeout means that the disk has not answered in time. It may be stored.
	ErrFlushTimeout = errors.New("the disk did not confirm in time")
	// ErrReplicationTimeout means that this node has stored it, and no other one has said in time that it has. It may be stored for good.
	ErrReplicationTimeout = errors.New("no other node confirmed in time")
	// ErrUnknownTopic means that there is no such topic or partition.
	ErrUnknownTopic = fsm.ErrUnknownPartition
	// ErrUnknownGroup means that there is no group of this number.
	ErrUnknownGroup = errors.New("no such group")
	// ErrTopicExists means that a topic of this name exists.
	ErrTopicExists = fsm.ErrTopicExists
	// ErrOffset means that a read begins outside of what is kept.
	ErrOffset = errors.New("the offset is not in the partition")

	ErrFenced     = fsm.ErrFenced
	ErrStale      = fsm.ErrStale
	ErrRewound    = fsm.ErrRewound
	ErrWindowFull = fsm.ErrWindowFull
)

// PartialError says which messages of a source's request are stored already. Nothing of the request was stored.
type PartialError = fsm.PartialError
