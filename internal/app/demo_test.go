package app

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
)

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil { // most of the time these tests wait for servers, not for processors; -parallel still wins
		panic(err)
	}
	testservices.Main(m)
}

func TestDemoProvesWhatItSent(t *testing.T) {
	k := testservices.Kafka(t)
	r, err := Demo(t.Context(), DemoOptions{Kafka: k.Brokers, For: 4 * time.Second, Rate: 200, LogTo: testWriter{t}, Progress: testWriter{t}, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Clean() || r.Duplicates != 0 || r.Written != r.Sent || r.Sent != r.Stored || r.Written < 100 || r.RolledBack == 0 {
		t.Errorf("%+v", r)
	}
}

// Each broker alone, and all of them at once, each with topics of its own.
func TestDemoOnBrokersThatRun(t *testing.T) {
	rocket, rabbit := testservices.RocketMQ(t), testservices.RabbitMQ(t)
	for name, o := range map[string]DemoOptions{
		"rocketmq": {RocketMQ: rocket.NameServers},
		"rabbitmq": {RabbitMQ: rabbit.URLs()[0]},
		"three":    {Kafka: testservices.Kafka(t).Brokers, RocketMQ: rocket.NameServers, RabbitMQ: rabbit.URLs()[0]},
	} {
		t.Run(name, func(t *testing.T) {
			o.For, o.Rate, o.LogTo, o.Progress, o.Version = 4*time.Second, 100, testWriter{t}, testWriter{t}, "test"
			r, err := Demo(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if !r.Clean() || r.Duplicates != 0 || r.Written != r.Sent || r.Sent != r.Stored || r.Written < 100 || r.RolledBack == 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestRabbitMQAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"amqp://h":                "h:5672 / guest guest",
		"amqp://u:p%40@h:1/shop":  "h:1 shop u p@",
		"amqp://[::1]/":           "[::1]:5672 / guest guest",
		"amqp://u@127.0.0.1:5672": "127.0.0.1:5672 / u ",
	} {
		d, err := parseRabbitMQ(text, "x.")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := fmt.Sprint(d.host, " ", d.vhost, " ", d.user, " ", d.password); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for _, bad := range []string{"", "h:5672", "http://h", "amqp://", "amqp://secret-canary@h:port"} {
		if _, err := parseRabbitMQ(bad, ""); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// The demonstration without anything but this machine, three times on one folder: each goes on where the one before ended.
func TestDemoWithTheBundledBroker(t *testing.T) {
	dir := demoFolder(t)
	written := 0
	for life := range 3 {
		r, err := Demo(t.Context(), DemoOptions{Dir: dir, PgBin: testservices.PostgresBin(t, 18), For: 2 * time.Second, Rate: 200, LogTo: testWriter{t}, Progress: testWriter{t}, Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Clean() || r.Duplicates != 0 || r.Written != r.Sent || r.Sent != r.Stored || r.Written < written+50 || r.RolledBack == 0 {
			t.Errorf("life %d: %+v", life, r)
		}
		written = r.Written
	}
}

// demoFolder is for the data of a demonstration: the server's account has to reach it, so no folder above may be closed to it.
func demoFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "waybill-demo-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

// S6: what is not a terminal may be kept: it is told where the token is, not what it is.
func TestDemoTellsTheTokenToATerminalAlone_S6(t *testing.T) {
	for _, live := range []bool{false, true} {
		d := &demo{DemoOptions: DemoOptions{Dir: t.TempDir(), Live: live}, config: config.Default()}
		said, err := d.pages()
		if err != nil {
			t.Fatal(err)
		}
		token, err := os.ReadFile(filepath.Join(d.Dir, "dashboard.token"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(said, strings.TrimSpace(string(token))) != live || !strings.Contains(said, "http://127.0.0.1:") {
			t.Errorf("terminal %t: %s", live, said)
		}
	}
}
