package app

import (
	"time"

	"github.com/waybillmq/waybill/adapters/rocketmq"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// rocketSend is how long a send of RocketMQ's library takes at most before its answer is called unknown.
const rocketSend = 4 * time.Second

// rocketCommit is what a half message may take beside its send: connecting for its commit, and the answer to that.
const rocketCommit = 6 * time.Second

// describeRocketMQ maps a destination of kind rocketmq. Its producer group is its own: the broker asks any producer of a group about its messages.
func describeRocketMQ(c *config.Config, d *config.Destination, h hooks) relay.Destination {
	from, r := &d.RocketMQ, rocketmq.DefaultConfig()
	r.NameServers, r.Cluster, r.Group, r.Topics = from.NameServers, from.Cluster, "waybill_"+c.Name+"_"+d.Name, targetTopics(c, d.Name)
	r.Login = login(from.Credentials.AccessKey, from.Credentials.SecretKey)
	r.Partitioner, r.Tombstone = rocketmq.Partitioner(from.Partitioner), rocketmq.Tombstone(from.Tombstone)
	r.Batch = rocketmq.Batch{MaxMessages: from.Batch.MaxMessages, MaxBytes: int(from.Batch.MaxBytes)}
	r.WriteTimeout, r.TCPUserTimeout = c.Relay.WriteTimeout, c.Relay.TCPUserTimeout
	r.Trust, r.OnLanesChanged, r.Log = h.trusted, h.lanesChanged, h.log
	r.Transactional, r.Receipts = from.Transactional, h.receipts
	limit := rocketSend + 2*time.Second
	if r.Transactional {
		limit += rocketCommit
	}
	return relay.Destination{
		Capabilities: r.Capabilities(), PublishTimeout: limit,
		New: func() (relay.Publisher, error) { return rocketmq.New(r) },
	}
}
