package testservices

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/child"
)

// Rabbit is a RabbitMQ of one or three nodes, numbered from 1, with an epmd of its own; everything listens on 127.0.0.1. The user guest with the password guest
// is administrator. Its methods may be called from any goroutine, but two that start, end, pause or resume the same node not at the same time.
type Rabbit struct {
	Addrs      []string // AMQP, host:port, node 1 first; they stay the same over restarts
	TLSAddrs   []string // the same with TLS; empty without WithTLS
	Management []string // http://host:port of the management plugin; empty without it

	dir     string
	tools   rabbitTools
	options rabbitOptions
	certs   *Certificates // nil without TLS
	epmd    *child.Process
	names   *port // epmd's
	nodes   []*rabbitNode
}

type rabbitOptions struct {
	plugins  []string
	tls      bool
	settings []string
}

// RabbitOption changes how the nodes of a RabbitMQ run.
type RabbitOption func(*rabbitOptions)

// Plugins turns plugins on: "rabbitmq_management", "rabbitmq_stream".
func Plugins(names ...string) RabbitOption {
	return func(o *rabbitOptions) { o.plugins = append(o.plugins, names...) }
}

// WithTLS adds a listener with a certificate that is made for this run; Rabbit.TLS trusts it.
func WithTLS() RabbitOption { return func(o *rabbitOptions) { o.tls = true } }

// RabbitSetting adds a line to rabbitmq.conf.
func RabbitSetting(name, value string) RabbitOption {
	return func(o *rabbitOptions) { o.settings = append(o.settings, name+" = "+value) }
}

// RabbitMQ is the server of one node that the tests of this process share, with management. Tests choose names of their own; whoever kills or pauses it, or
// raises an alarm, takes RabbitMQCluster.
func RabbitMQ(tb testing.TB) *Rabbit {
	tb.Helper()
	process.mu.Lock()
	if process.rabbit == nil {
		process.rabbit = &shared[*Rabbit]{}
	}
	common := process.rabbit
	process.mu.Unlock()
	r, err := common.get(func(ctx context.Context) (*Rabbit, error) { return NewRabbitMQ(ctx, 1, Plugins("rabbitmq_management")) })
	if err != nil {
		tb.Fatalf("RabbitMQ cannot be started: %v", err)
	}
	return r
}

// RabbitMQCluster starts a RabbitMQ of 1 or 3 nodes for this test alone and ends it with the test. Three nodes take about 10 s and 300 MiB.
func RabbitMQCluster(tb testing.TB, nodes int, opts ...RabbitOption) *Rabbit {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	r, err := NewRabbitMQ(ctx, nodes, opts...)
	if err != nil {
		tb.Fatalf("RabbitMQ with %d nodes cannot be started: %v", nodes, err)
	}
	closeAtEnd(tb, r)
	return r
}

// NewRabbitMQ is RabbitMQCluster outside of tests: whoever calls it also calls Close.
func NewRabbitMQ(ctx context.Context, nodes int, opts ...RabbitOption) (*Rabbit, error) {
	if nodes != 1 && nodes != 3 {
		return nil, fmt.Errorf("a RabbitMQ has 1 or 3 nodes here, not %d", nodes)
	}
	tools, err := rabbitPrograms(ctx)
	if err != nil {
		return nil, err
	}
	space, err := processSpace()
	if err != nil {
		return nil, err
	}
	r := &Rabbit{tools: tools}
	for _, set := range opts {
		set(&r.options)
	}
	if r.dir, err = space.folder("rabbitmq"); err != nil {
		return nil, err
	}
	opened(r)
	if err := r.place(space, nodes); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if err := errors.Join(r.startNames(), r.start(ctx, r.nodes)); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// place reserves ports and writes every file that the nodes read.
func (r *Rabbit) place(space *space, nodes int) (err error) {
	if r.names, err = space.port(); err != nil {
		return err
	}
	if err := r.writeShared(); err != nil {
		return err
	}
	for n := range nodes {
		if err := r.addNode(space, n+1); err != nil {
			return err
		}
	}
	for _, n := range r.nodes {
		if err := r.writeConfig(n); err != nil {
			return err
		}
	}
	return nil
}

// startNames starts epmd, through which nodes and rabbitmqctl find each other: one of our own, or the first node would leave one running.
func (r *Rabbit) startNames() error {
	log, err := os.Create(filepath.Join(r.dir, "epmd.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(r.tools.epmd)
	cmd.Dir, cmd.Env = r.dir, r.environment(nil)
	cmd.Stdout, cmd.Stderr = log, log
	r.epmd, err = child.Start(cmd, syscall.SIGKILL)
	return err
}

// String names the server.
func (r *Rabbit) String() string { return fmt.Sprintf("RabbitMQ on %v", r.Addrs) }

// URLs are the AMQP addresses with the user guest, one for each node.
func (r *Rabbit) URLs() (urls []string) {
	for _, a := range r.Addrs {
		urls = append(urls, "amqp://guest:guest@"+a+"/")
	}
	return urls
}

// TLS trusts the certificate of the TLS listeners; nil without WithTLS.
func (r *Rabbit) TLS() *tls.Config {
	if r.certs == nil {
		return nil
	}
	return &tls.Config{RootCAs: r.certs.Roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
}

// LogFile is where node n logs.
func (r *Rabbit) LogFile(n int) string { return r.nodes[n-1].log() }

// PID is the process id of node n as it was started last.
func (r *Rabbit) PID(n int) int { return r.nodes[n-1].pid() }

// NamesPID is the process id of epmd.
func (r *Rabbit) NamesPID() int { return r.epmd.PID() }

// NodeName is Erlang's name of node n.
func (r *Rabbit) NodeName(n int) string { return r.nodes[n-1].erlang() }

// Start starts nodes that were stopped or killed, on the same data and ports, and returns when they serve. Without a number it starts every node that is down.
// Nodes that need each other for a quorum have to be started in one call.
func (r *Rabbit) Start(numbers ...int) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return r.start(ctx, r.pick(numbers))
}

// Stop shuts nodes down as an administrator does. Without a number it stops every node.
func (r *Rabbit) Stop(numbers ...int) error {
	nodes := r.pick(numbers)
	for _, n := range nodes {
		if err := n.signal(syscall.SIGTERM); err != nil {
			return err
		}
	}
	deadline := time.After(30 * time.Second)
	for _, n := range nodes {
		select {
		case <-n.done():
		case <-deadline:
			return errors.Join(fmt.Errorf("rabbitmq node %d did not stop within 30 s", n.number), r.Kill(numbers...))
		}
	}
	return nil
}

// Kill ends nodes with kill -9 and returns when they are gone. Without a number it kills every node.
func (r *Rabbit) Kill(numbers ...int) error {
	var errs []error
	nodes := r.pick(numbers)
	for _, n := range nodes {
		errs = append(errs, n.signal(syscall.SIGKILL))
	}
	for _, n := range nodes {
		<-n.done()
	}
	return errors.Join(errs...)
}

// Pause stops a node without ending it (SIGSTOP): its sockets stay open and nobody answers.
func (r *Rabbit) Pause(number int) error { return r.nodes[number-1].pause(true) }

// Resume lets a paused node go on.
func (r *Rabbit) Resume(number int) error { return r.nodes[number-1].pause(false) }

// Close ends the server and removes its data.
func (r *Rabbit) Close() error {
	errs := []error{r.Kill()}
	if r.epmd != nil {
		errs = append(errs, r.epmd.Kill())
	}
	errs = append(errs, os.RemoveAll(r.dir))
	for _, n := range r.nodes {
		n.release()
	}
	if r.names != nil {
		r.names.release()
	}
	closed(r)
	return errors.Join(errs...)
}

func (r *Rabbit) pick(numbers []int) []*rabbitNode {
	if len(numbers) == 0 {
		return r.nodes
	}
	nodes := make([]*rabbitNode, len(numbers))
	for i, number := range numbers {
		nodes[i] = r.nodes[number-1]
	}
	return nodes
}

// Ctl runs rabbitmqctl against the first node that is up and returns what it printed. A call takes about 0.5 s.
func (r *Rabbit) Ctl(args ...string) (string, error) {
	for _, n := range r.nodes {
		if n.serving() {
			return r.CtlOn(n.number, args...)
		}
	}
	return "", fmt.Errorf("rabbitmqctl %s: no node is up", args[0])
}

// CtlOn is Ctl against one node.
func (r *Rabbit) CtlOn(number int, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	n := r.nodes[number-1]
	cmd := exec.CommandContext(ctx, filepath.Join(r.tools.sbin, "rabbitmqctl"), append([]string{"-q", "-n", n.erlang()}, args...)...)
	cmd.Dir, cmd.Env = r.dir, r.environment(n)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("rabbitmqctl %s: %w: %s", args[0], err, lastLines(out, 3))
	}
	return strings.TrimSpace(string(out)), nil
}
