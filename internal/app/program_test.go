package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/waybillmq/waybill/internal/child"
	"github.com/waybillmq/waybill/internal/config"
)

// build makes the real program for one test.
func build(t *testing.T) (string, error) {
	binary := filepath.Join(t.TempDir(), "waybill")
	out, err := exec.Command("go", "build", "-o", binary, "../../cmd/waybill").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the program: %w: %s", err, out)
	}
	return binary, nil
}

// program is `waybill run` as a process of its own, to be signalled and killed.
type program struct {
	*child.Process
	t    *testing.T
	name string
	log  string
}

// launch starts the program with the lease numbers, destinations and routes of the rig's configuration.
func (r *rig) launch(instance string) *program {
	r.t.Helper()
	binary, err := r.program()
	if err != nil {
		r.t.Fatal(err)
	}
	dir := r.t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, r.yaml(instance, filepath.Join(dir, "cache")), 0o600); err != nil {
		r.t.Fatal(err)
	}
	p := &program{t: r.t, name: instance, log: filepath.Join(dir, "log")}
	log, err := os.Create(p.log)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the child has its own copy
	cmd := exec.Command(binary, "run", "--config", file)
	cmd.Env = append(os.Environ(), "WAYBILL_TEST_URL="+r.url)
	cmd.Stdout, cmd.Stderr = log, log
	if p.Process, err = child.Start(cmd, syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = p.Kill()
		if r.t.Failed() {
			said, _ := os.ReadFile(p.log)
			r.t.Logf("program %s:\n%s", instance, said[max(0, len(said)-4000):])
		}
	})
	return p
}

// yaml writes what a test changes of the configuration.
func (r *rig) yaml(instance, cache string) []byte {
	c := r.config
	text := fmt.Appendf(nil, `version: 1
name: test
database: { url: { env: WAYBILL_TEST_URL }, timeouts: { connect: 2s } }
relay:
  instance: %s
  lease: %s
  write_timeout: %s
  tcp_user_timeout: %s
  quarantine: %s
  write_limits: %t
metrics: { listen: "127.0.0.1:0" }
dashboard: { listen: none }
breaker: { probe_cap: 1s }
cache: { dir: %q }
destinations:
`, instance, c.Relay.Lease, c.Relay.WriteTimeout, c.Relay.TCPUserTimeout, c.Relay.Quarantine, c.Relay.WriteLimits, cache)
	for _, d := range c.Destinations {
		if d.Kind == config.KindRocketMQ {
			servers, _ := json.Marshal(d.RocketMQ.NameServers)
			text = fmt.Appendf(text, "  %s: { kind: rocketmq, name_servers: %s, transactional: %t }\n", d.Name, servers, d.RocketMQ.Transactional)
			continue
		}
		if d.Kind == config.KindWaybillBroker {
			text = fmt.Appendf(text, "  %s: { kind: waybillbroker }\n", d.Name)
			continue
		}
		brokers, _ := json.Marshal(d.Kafka.Brokers) // a list of strings
		text = fmt.Appendf(text, "  %s: { kind: kafka, brokers: %s, batch: { max_messages: %d }, timeouts: { connect: 2s, broker: 3s, publish: 5s } }\n", d.Name, brokers,
			d.Kafka.Batch.MaxMessages)
	}
	text = append(text, "routes:\n"...)
	for _, route := range c.Routes {
		text = fmt.Appendf(text, "  - { name: %s, match: { topic: %q }, to: { destination: %s } }\n", route.Name, route.Match.Topic, route.To.Destination)
	}
	if c.Broker.Enabled {
		topics, _ := json.Marshal(c.Broker.Topics.Create)
		text = fmt.Appendf(text, "broker: { enabled: true, dir: %q, segment_size: %dMiB, topics: { create: %s } }\n", c.Broker.Dir, c.Broker.SegmentSize/config.MiB, topics)
	}
	return text
}

// exits waits for the end of the program and returns its exit code.
func (p *program) exits() int {
	p.t.Helper()
	eventually(p.t, p.name+" has ended", func() bool { return !p.Running() })
	<-p.Done()
	var exit *exec.ExitError
	switch err := p.Err(); {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	default:
		p.t.Fatal(err)
		return -1
	}
}

// residentKiB is the memory of a process as the system counts it.
func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		t.Fatal(err)
	}
	kib, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	return kib
}
