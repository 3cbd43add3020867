package testservices

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rabbitNode is one Erlang VM.
type rabbitNode struct {
	daemon
	number       int
	client       *port // AMQP
	distribution *port // Erlang's own, between nodes
	secure       *port // AMQP with TLS; nil without
	management   *port // nil without
}

func (n *rabbitNode) erlang() string { return fmt.Sprintf("w%d@localhost", n.number) }

func (n *rabbitNode) file(name string) string { return filepath.Join(n.dir, name) }

func (n *rabbitNode) release() {
	for _, p := range []*port{n.client, n.distribution, n.secure, n.management} {
		if p != nil {
			p.release()
		}
	}
}

func (r *Rabbit) addNode(space *space, number int) error {
	n := &rabbitNode{daemon: daemon{name: fmt.Sprintf("rabbitmq node %d", number), dir: filepath.Join(r.dir, fmt.Sprintf("node%d", number))}, number: number}
	r.nodes = append(r.nodes, n)
	wanted := []**port{&n.client, &n.distribution}
	if r.options.tls {
		wanted = append(wanted, &n.secure)
	}
	if slices.Contains(r.options.plugins, "rabbitmq_management") {
		wanted = append(wanted, &n.management)
	}
	for _, p := range wanted {
		var err error
		if *p, err = space.port(); err != nil {
			return err
		}
	}
	r.Addrs = append(r.Addrs, n.client.address())
	if n.secure != nil {
		r.TLSAddrs = append(r.TLSAddrs, n.secure.address())
	}
	if n.management != nil {
		r.Management = append(r.Management, "http://"+n.management.address())
	}
	return os.Mkdir(n.dir, 0o755)
}

// writeShared writes what all nodes read: Erlang's cookie, the plugins, an empty file of environment settings (without it the system's is read), certificates.
func (r *Rabbit) writeShared() (err error) {
	cookie := make([]byte, 16)
	rand.Read(cookie) // never fails (crypto/rand)
	err = errors.Join(
		os.WriteFile(filepath.Join(r.dir, ".erlang.cookie"), []byte(hex.EncodeToString(cookie)), 0o400),
		os.WriteFile(filepath.Join(r.dir, "enabled_plugins"), []byte("["+strings.Join(r.options.plugins, ",")+"].\n"), 0o644),
		os.WriteFile(filepath.Join(r.dir, "rabbitmq-env.conf"), nil, 0o644))
	if err == nil && r.options.tls {
		err = r.writeCertificates()
	}
	return err
}

// writeCertificates writes ca.pem, cert.pem and key.pem.
func (r *Rabbit) writeCertificates() (err error) {
	if r.certs, err = NewCertificates(); err != nil {
		return err
	}
	key, err := r.certs.server.keyPEM()
	return errors.Join(err, os.WriteFile(r.file("ca.pem"), r.certs.authority.certificatePEM(), 0o644),
		os.WriteFile(r.file("cert.pem"), r.certs.server.certificatePEM(), 0o644), os.WriteFile(r.file("key.pem"), key, 0o600))
}

func (r *Rabbit) file(name string) string { return filepath.Join(r.dir, name) }

func (r *Rabbit) writeConfig(n *rabbitNode) error {
	lines := []string{
		"listeners.tcp.1 = " + n.client.address(),
		"vm_memory_high_watermark.absolute = " + rabbitMemory,
		"disk_free_limit.absolute = " + rabbitDisk,
		"log.console = false",
	}
	if n.secure != nil {
		lines = append(lines, "listeners.ssl.1 = "+n.secure.address(), "ssl_options.cacertfile = "+r.file("ca.pem"), "ssl_options.certfile = "+r.file("cert.pem"),
			"ssl_options.keyfile = "+r.file("key.pem"), "ssl_options.verify = verify_none", "ssl_options.fail_if_no_peer_cert = false")
	}
	if n.management != nil {
		lines = append(lines, "management.tcp.ip = 127.0.0.1", "management.tcp.port = "+strconv.Itoa(n.management.number))
	}
	if len(r.nodes) > 1 {
		lines = append(lines, "cluster_formation.peer_discovery_backend = classic_config", "cluster_formation.discovery_retry_interval = 100",
			"cluster_partition_handling = pause_minority")
		for _, m := range r.nodes {
			lines = append(lines, fmt.Sprintf("cluster_formation.classic_config.nodes.%d = %s", m.number, m.erlang()))
		}
	}
	lines = append(lines, r.options.settings...)
	return os.WriteFile(n.file("rabbitmq.conf"), []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

// environment is everything that RabbitMQ's scripts read, for a node or, with nil, for epmd. No variable of the caller's that RabbitMQ or Erlang know stays.
func (r *Rabbit) environment(n *rabbitNode) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		for _, prefix := range []string{"RABBITMQ_", "ERL_", "HOME=", "NOTIFY_SOCKET=", "LANG="} {
			if strings.HasPrefix(v, prefix) {
				return true
			}
		}
		return false
	})
	env = append(env, "HOME="+r.dir, "LANG=C.UTF-8", "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT="+strconv.Itoa(r.names.number))
	if n == nil {
		return env
	}
	return append(env,
		"RABBITMQ_NODENAME="+n.erlang(),
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT="+strconv.Itoa(n.client.number),
		"RABBITMQ_DIST_PORT="+strconv.Itoa(n.distribution.number),
		"RABBITMQ_CONF_ENV_FILE="+filepath.Join(r.dir, "rabbitmq-env.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(r.dir, "enabled_plugins"),
		"RABBITMQ_CONFIG_FILE="+n.file("rabbitmq"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+n.file("advanced"),
		"RABBITMQ_MNESIA_BASE="+n.file("mnesia"),
		"RABBITMQ_LOG_BASE="+n.file("logs"),
		"RABBITMQ_PID_FILE="+n.file("pid"),
		"RABBITMQ_GENERATED_CONFIG_DIR="+n.file("generated"),
		"RABBITMQ_FEATURE_FLAGS_FILE="+n.file("feature_flags"),
		"RABBITMQ_QUORUM_DIR="+n.file("quorum"),
		// Allowed input makes the script become the Erlang VM instead of its parent, so that the VM is our child and ends with us; it reads nothing all the same.
		"RABBITMQ_ALLOW_INPUT=true",
		"RABBITMQ_SERVER_START_ARGS=-noinput",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_CTL_ERL_ARGS=+S 1:1 +sbwt none -start_epmd false")
}

func (r *Rabbit) start(ctx context.Context, nodes []*rabbitNode) error {
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n *rabbitNode) bool { return n.up() })
	begin := make([]int64, len(nodes))
	for i, n := range nodes {
		var err error
		if begin[i], err = r.launch(n); err != nil {
			return err
		}
	}
	for i, n := range nodes {
		if err := n.awaitReady(ctx, begin[i], rabbitReady); err != nil {
			return err
		}
		if err := until(ctx, func() (bool, error) { return listens(n.client.address()), n.exit() }); err != nil {
			return fmt.Errorf("%s does not listen: %w", n.name, err)
		}
	}
	return nil
}

// launch starts a node without waiting for it, and returns where in its log file this run begins.
func (r *Rabbit) launch(n *rabbitNode) (begin int64, err error) {
	cmd := exec.Command(filepath.Join(r.tools.sbin, "rabbitmq-server"))
	cmd.Dir, cmd.Env = n.dir, r.environment(n)
	return n.daemon.launch(cmd)
}

// rabbitReady is what a node prints when its plugins run.
const rabbitReady = "completed with"

func listens(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
