package deploy_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/child"
	"github.com/waybillmq/waybill/internal/testservices"
)

// native runs the services of docker-compose.yml as processes of this machine: the same commands, environments, configurations and health checks, with the
// addresses and folders of this machine.
type native struct {
	t       *testing.T
	program string // what deploy/Dockerfile builds
	words   *strings.Replacer
	pg      *url.URL
	dirs    map[string]string // of each service: where its configuration lies
	running map[string]*child.Process
	logs    map[string]string
}

// Every command of docker-compose.yml runs: the whole path to the bundled broker, and the whole path to Kafka with a standby.
func TestCommandsOfTheComposeFile(t *testing.T) {
	p := load(t, "kafka")
	k := testservices.Kafka(t)
	orders, ordersKafka := testservices.Postgres(t, 18).URL, testservices.Postgres(t, 18).URL
	n := &native{t: t, program: buildImageProgram(t), dirs: map[string]string{}, running: map[string]*child.Process{}, logs: map[string]string{}}
	var err error
	if n.pg, err = url.Parse(orders); err != nil {
		t.Fatal(err)
	}
	topics := filepath.Join(t.TempDir(), "kafka-topics.sh")
	tool := k.Tool("org.apache.kafka.tools.TopicCommand")
	if err := os.WriteFile(topics, fmt.Appendf(nil, "#!/bin/sh\nexec '%s' \"$@\"\n", strings.Join(tool, "' '")), 0o755); err != nil {
		t.Fatal(err)
	}
	n.words = strings.NewReplacer("postgres://postgres:waybill@postgres:5432/orders_kafka", ordersKafka, "postgres://postgres:waybill@postgres:5432/orders", orders,
		"kafka:9092", k.Brokers[0], "/opt/kafka/bin/kafka-topics.sh", topics, "/waybill", n.program)
	t.Cleanup(n.killAll)

	for _, name := range order(p) {
		n.start(p.Services[name])
	}
	for _, database := range []string{orders, ordersKafka} {
		n.await("sent 20 messages", func() bool { return ask(t, database, `SELECT coalesce(sum(n), 0) FROM outbox.receipts`) >= 20 })
	}
	epoch := ask(t, ordersKafka, `SELECT epoch FROM outbox.owner`)
	n.stop("kafka-relay")
	n.await("the standby owns the outbox", func() bool { return ask(t, ordersKafka, `SELECT epoch FROM outbox.owner`) > epoch })
	sent := ask(t, ordersKafka, `SELECT sum(n) FROM outbox.receipts`)
	n.await("the standby sends", func() bool { return ask(t, ordersKafka, `SELECT sum(n) FROM outbox.receipts`) > sent })
	n.stop("shop", "kafka-shop")
	for _, database := range []string{orders, ordersKafka} {
		n.await("sent everything", func() bool { return ask(t, database, `SELECT count(*) FROM outbox.message_pending`) == 0 })
	}
	n.stop("kafka-standby", "waybill")
}

// buildImageProgram runs the line of the Dockerfile that builds the program.
func buildImageProgram(t *testing.T) string {
	t.Helper()
	_, line := dockerfile(t)
	to := filepath.Join(t.TempDir(), "waybill")
	cmd := exec.Command("sh", "-c", strings.Replace(line, "/out/waybill", to, 1))
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	info, err := os.Stat(to)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 40<<20 {
		t.Errorf("the program has %d MiB, want 40 at most", info.Size()>>20)
	}
	return to
}

// order names the services so that each comes behind those it waits for.
func order(p *types.Project) (names []string) {
	var visit func(name string)
	visit = func(name string) {
		if slices.Contains(names, name) {
			return
		}
		s := p.Services[name]
		for _, d := range s.GetDependencies() {
			visit(d)
		}
		names = append(names, name)
	}
	for _, name := range p.ServiceNames() {
		visit(name)
	}
	return names
}

// start runs a service, and waits until it is what others wait for: healthy, or ended well. PostgreSQL and Kafka run already: of them it is the check alone.
func (n *native) start(s types.ServiceConfig) {
	n.t.Helper()
	switch {
	case s.Name == "kafka-topics":
		n.run(s.Name, append(slices.Clone(s.Entrypoint), s.Command...))
		return
	case s.Image != ours:
		n.healthy(s)
		return
	}
	dir := n.t.TempDir()
	n.dirs[s.Name] = dir
	for _, v := range s.Volumes {
		if v.Target == "/etc/waybill/config.yaml" {
			n.configure(v.Source, filepath.Join(dir, "config.yaml"))
		}
	}
	cmd := append([]string{"/waybill"}, s.Command...)
	if s.Name == "migrate" || s.Name == "kafka-migrate" {
		n.run(s.Name, cmd, n.environ(s)...)
		return
	}
	n.launch(s, cmd)
	if s.HealthCheck != nil && !s.HealthCheck.Disable {
		n.healthy(s)
	}
}

// configure copies a configuration with this machine's addresses.
func (n *native) configure(from, to string) {
	n.t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		n.t.Fatal(err)
	}
	listen := strings.NewReplacer("0.0.0.0:9464", freeAddress(n.t))
	if err := os.WriteFile(to, []byte(listen.Replace(n.words.Replace(string(text)))), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// environ is the environment of a service; its volume is a folder of the test.
func (n *native) environ(s types.ServiceConfig) (list []string) {
	for name, value := range s.Environment {
		if value != nil {
			list = append(list, name+"="+n.words.Replace(*value))
		}
	}
	for _, v := range s.Volumes {
		if v.Target == "/var/lib/waybill" {
			list = append(list, "WAYBILL_BROKER__DIR="+filepath.Join(n.dirs[s.Name], "broker"))
		}
	}
	list = append(list, "WAYBILL_CACHE__DIR="+filepath.Join(n.dirs[s.Name], "cache"))
	return list
}

func (n *native) command(name string, words []string, environ ...string) *exec.Cmd {
	words = slices.Clone(words)
	for i := range words {
		words[i] = n.words.Replace(words[i])
	}
	if words[0] == "pg_isready" { // whichever server this is
		words[0] = filepath.Join(testservices.PostgresBin(n.t, 18), "pg_isready")
		words[slices.Index(words, "127.0.0.1")] = n.pg.Hostname()
		environ = append(environ, "PGPORT="+n.pg.Port())
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir, cmd.Env = n.dirs[name], append(os.Environ(), environ...)
	return cmd
}

// run waits until a command has ended well.
func (n *native) run(name string, words []string, environ ...string) {
	n.t.Helper()
	if out, err := n.command(name, words, environ...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func (n *native) launch(s types.ServiceConfig, words []string) {
	n.t.Helper()
	cmd := n.command(s.Name, words, n.environ(s)...)
	n.logs[s.Name] = filepath.Join(n.dirs[s.Name], "log")
	log, err := os.Create(n.logs[s.Name])
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if n.running[s.Name], err = child.Start(cmd, syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
}

// healthy waits until the health check of a service says so.
func (n *native) healthy(s types.ServiceConfig) {
	n.t.Helper()
	if s.HealthCheck == nil || len(s.HealthCheck.Test) < 2 || s.HealthCheck.Test[0] != "CMD" {
		n.t.Fatalf("%s has no health check that can be run", s.Name)
	}
	var said []byte
	n.await(s.Name+" is healthy", func() bool {
		out, err := n.command(s.Name, s.HealthCheck.Test[1:], n.environ(s)...).CombinedOutput()
		said = out
		return err == nil
	})
	if bytes.Contains(said, []byte("no relay answers")) {
		n.t.Errorf("%s: %s", s.Name, said)
	}
}

func (n *native) await(what string, done func() bool) {
	n.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(90 * time.Second); !done(); <-tick.C {
		for name, p := range n.running {
			if !p.Running() {
				n.t.Fatalf("%s has ended: %v\n%s", name, p.Err(), n.log(name))
			}
		}
		if time.Now().After(end) {
			for name := range n.running {
				n.t.Logf("%s:\n%s", name, n.log(name))
			}
			n.t.Fatalf("not in time: %s", what)
		}
	}
}

func (n *native) log(name string) string {
	text, err := os.ReadFile(n.logs[name])
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// stop ends services as docker compose does.
func (n *native) stop(names ...string) {
	n.t.Helper()
	for _, name := range names {
		p := n.running[name]
		if err := syscall.Kill(p.PID(), syscall.SIGTERM); err != nil {
			n.t.Fatal(err)
		}
		select {
		case <-p.Done():
		case <-time.After(40 * time.Second):
			n.t.Fatalf("%s does not end\n%s", name, n.log(name))
		}
		if err := p.Err(); err != nil {
			n.t.Errorf("%s ended: %v\n%s", name, err, n.log(name))
		}
		delete(n.running, name)
	}
}

func (n *native) killAll() {
	for _, p := range n.running {
		_ = p.Kill()
	}
}

func ask(t *testing.T, database, sql string) (v int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, sql).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}
