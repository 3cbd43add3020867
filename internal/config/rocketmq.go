package config

// RocketMQ configures a destination of kind rocketmq. There is no tls: the client library has none. How long a send may take, 3 s, is fixed in it too.
type RocketMQ struct {
	NameServers   []string    `key:"name_servers" form:"address" needed:"true" help:"host:port of the name servers, the remoting port; the gRPC proxy of 5.x speaks another protocol"`
	Credentials   RocketLogin `key:"credentials" help:"of a cluster with access control"`
	Cluster       string      `key:"cluster" null:"true" help:"name of the cluster, where the name servers know several; null: the only one"`
	Partitioner   string      `key:"partitioner" enum:"murmur2|java_hash" help:"key to queue; java_hash for topics that are shared with SelectMessageQueueByHash; changing it moves keys"`
	Tombstone     string      `key:"tombstone" enum:"reject|byte" help:"what becomes of a NULL payload, which RocketMQ does not have: dead, or one zero byte"`
	Batch         Batch       `key:"batch" help:"most of one send and queue"`
	Transactional bool        `key:"transactional" help:"send half messages, which are seen once the outbox's tables say so; for routes without keys, one message a call"`
	Durability    string      `key:"durability" enum:"warn|require" help:"what to do when the broker is configured so that it can lose: warn, or refuse to start"`
}

// RocketLogin is the access key of a RocketMQ cluster.
type RocketLogin struct {
	AccessKey Secret `key:"access_key" null:"true" help:"null: no login"`
	SecretKey Secret `key:"secret_key" null:"true" help:"never sent: it signs what is sent"`
}

// DefaultRocketMQ returns the defaults of a destination of kind rocketmq.
func DefaultRocketMQ() RocketMQ {
	return RocketMQ{Partitioner: "murmur2", Tombstone: "reject", Batch: Batch{MaxMessages: 200, MaxBytes: MiB}, Durability: "warn"}
}
