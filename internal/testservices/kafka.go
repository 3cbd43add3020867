package testservices

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Cluster is a Kafka of one or three nodes, numbered from 1; each is broker and controller. With three, a topic has three replicas and
// min.insync.replicas is 2. Topics are not created automatically. Its methods may be called from any goroutine, but two that start, end, pause or resume
// the same node not at the same time.
type Cluster struct {
	// Brokers are the addresses of the nodes, node 1 first; they stay the same over restarts.
	Brokers []string

	dir     string
	java    string
	jars    string
	archive string // of classes; empty = none
	dump    string // where the nodes write one when they stop; empty = nowhere
	roomy   bool
	data    string    // folder of the first node's data; empty = its own
	host    string    // that clients are told; empty = 127.0.0.1
	secure  *Security // nil = only the plain listener
	nodes   []*node
}

// node is one JVM.
type node struct {
	daemon
	number     int
	client     *port
	controller *port
}

// Kafka is the cluster of one node that the tests of this process share. Tests choose topic names of their own; whoever kills or pauses it takes
// KafkaCluster.
func Kafka(tb testing.TB) *Cluster {
	tb.Helper()
	process.mu.Lock()
	if process.kafka == nil {
		process.kafka = &shared[*Cluster]{}
	}
	common := process.kafka
	process.mu.Unlock()
	c, err := common.get(func(ctx context.Context) (*Cluster, error) { return NewKafka(ctx, 1) })
	if err != nil {
		tb.Fatalf("Kafka cannot be started: %v", err)
	}
	return c
}

// KafkaCluster starts a cluster of 1 or 3 nodes for this test alone and ends it with the test. Three nodes take about 6 s and 600 MiB.
func KafkaCluster(tb testing.TB, nodes int, opts ...ClusterOption) *Cluster {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c, err := NewKafka(ctx, nodes, opts...)
	if err != nil {
		tb.Fatalf("Kafka with %d nodes cannot be started: %v", nodes, err)
	}
	closeAtEnd(tb, c)
	return c
}

// ClusterOption changes how the nodes of a cluster run.
type ClusterOption func(*Cluster)

// Roomy gives a node a heap of 4 GiB and all compilers: for figures. A small heap stops the broker for 20 to 70 ms every few seconds to collect garbage.
func Roomy() ClusterOption { return func(c *Cluster) { c.roomy = true } }

// DataOn puts the data of a cluster of one node into a folder that stays when the cluster is closed.
func DataOn(dir string) ClusterOption { return func(c *Cluster) { c.data = dir } }

// AdvertiseAt changes the host under which the nodes tell clients to find them: another loopback address, where a test puts proxies.
func AdvertiseAt(host string) ClusterOption { return func(c *Cluster) { c.host = host } }

// Advertised are the addresses that clients are told, node 1 first; without AdvertiseAt they are Brokers.
func (c *Cluster) Advertised() (addrs []string) {
	for _, n := range c.nodes {
		addrs = append(addrs, c.advertised(n))
	}
	return addrs
}

func (c *Cluster) advertised(n *node) string {
	return net.JoinHostPort(cmp.Or(c.host, "127.0.0.1"), strconv.Itoa(n.client.number))
}

// NewKafka is KafkaCluster outside of tests: whoever calls it also calls Close.
func NewKafka(ctx context.Context, nodes int, opts ...ClusterOption) (*Cluster, error) {
	if nodes != 1 && nodes != 3 {
		return nil, fmt.Errorf("a Kafka cluster has 1 or 3 nodes here, not %d", nodes)
	}
	java, jars, err := kafkaJars(ctx)
	if err != nil {
		return nil, err
	}
	c := &Cluster{java: java, jars: jars}
	for _, set := range opts {
		set(c)
	}
	if !c.roomy { // figures are taken as Kafka comes
		c.archive = kafkaArchive(ctx, java, jars)
	}
	return newKafka(ctx, c, nodes)
}

// newKafka starts c, which says what runs.
func newKafka(ctx context.Context, c *Cluster, nodes int) (*Cluster, error) {
	space, err := processSpace()
	if err != nil {
		return nil, err
	}
	if c.dir, err = space.folder("kafka"); err != nil {
		return nil, err
	}
	opened(c)
	for n := range nodes {
		if err := c.addNode(space, n+1); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	if err := c.format(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.start(ctx, c.nodes); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) addNode(space *space, number int) error {
	n := &node{number: number, daemon: daemon{name: fmt.Sprintf("kafka node %d", number), dir: filepath.Join(c.dir, fmt.Sprintf("node%d", number))}}
	var errs [3]error
	n.client, errs[0] = space.port()
	n.controller, errs[1] = space.port()
	errs[2] = os.MkdirAll(n.temporary(), 0o755)
	if c.secure != nil {
		errs[2] = errors.Join(errs[2], c.secure.prepare(space))
	}
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	c.nodes = append(c.nodes, n)
	c.Brokers = append(c.Brokers, n.client.address())
	return nil
}

// String names the cluster.
func (c *Cluster) String() string { return fmt.Sprintf("Kafka on %v", c.Brokers) }

// LogFile is where node n logs.
func (c *Cluster) LogFile(n int) string { return c.nodes[n-1].log() }

// PID is the process id of node n as it was started last.
func (c *Cluster) PID(n int) int { return c.nodes[n-1].pid() }

// Start starts nodes that were stopped or killed, on the same data and ports, and returns when they serve. Without a number it starts every node that is
// down. Nodes that need each other for a quorum have to be started in one call.
func (c *Cluster) Start(numbers ...int) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return c.start(ctx, c.pick(numbers))
}

// Stop shuts nodes down as an administrator does: leadership moves away first. Without a number it stops every node.
func (c *Cluster) Stop(numbers ...int) error {
	nodes := c.pick(numbers)
	for _, n := range nodes {
		if err := n.signal(syscall.SIGTERM); err != nil {
			return err
		}
	}
	// Stopping a whole cluster at once takes 5 s: the last node finds no controller any more.
	deadline := time.After(30 * time.Second)
	for _, n := range nodes {
		select {
		case <-n.done():
		case <-deadline:
			return errors.Join(fmt.Errorf("kafka node %d did not stop within 30 s", n.number), c.Kill(numbers...))
		}
	}
	return nil
}

// Kill ends nodes with kill -9 and returns when they are gone. Without a number it kills every node.
func (c *Cluster) Kill(numbers ...int) error {
	var errs []error
	nodes := c.pick(numbers)
	for _, n := range nodes {
		errs = append(errs, n.signal(syscall.SIGKILL))
	}
	for _, n := range nodes {
		<-n.done()
	}
	return errors.Join(errs...)
}

// Pause stops a node without ending it (SIGSTOP): its sockets stay open and nobody answers.
func (c *Cluster) Pause(number int) error { return c.nodes[number-1].pause(true) }

// Resume lets a paused node go on.
func (c *Cluster) Resume(number int) error { return c.nodes[number-1].pause(false) }

// Close ends the cluster and removes its data.
func (c *Cluster) Close() error {
	err := errors.Join(c.Kill(), os.RemoveAll(c.dir))
	for _, n := range c.nodes {
		n.client.release()
		n.controller.release()
	}
	if c.secure != nil {
		c.secure.release()
	}
	closed(c)
	return err
}

// pick chooses nodes by number; none chooses all.
func (c *Cluster) pick(numbers []int) []*node {
	if len(numbers) == 0 {
		return c.nodes
	}
	nodes := make([]*node, len(numbers))
	for i, number := range numbers {
		nodes[i] = c.nodes[number-1]
	}
	return nodes
}

func (c *Cluster) start(ctx context.Context, nodes []*node) error {
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return n.up() })
	begin := make([]int64, len(nodes))
	for i, n := range nodes {
		var err error
		if begin[i], err = c.launch(n); err != nil {
			return err
		}
	}
	for i, n := range nodes {
		if err := n.awaitReady(ctx, begin[i], ready); err != nil {
			return err
		}
	}
	return nil
}

// ready is the line that Kafka logs after the broker is registered and unfenced. It offers no other sign that needs no client.
const ready = "Kafka Server started"
