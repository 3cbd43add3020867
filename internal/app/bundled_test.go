package app

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/outbox"
	"github.com/waybillmq/waybill/relay"
)

// The bundled broker in the process of `waybill run`: it goes on where it stopped, a topic that is missing waits until the configuration names it, and a
// damaged log is refused with a sentence.
func TestRunWithTheBundledBroker(t *testing.T) {
	t.Parallel()
	url := testservices.Postgres(t, 18).URL
	if _, err := migrations.Up(t.Context(), url, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	publish := func(topic string, n int) {
		t.Helper()
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			msgs := make([]outbox.Message, n)
			for i := range msgs {
				msgs[i] = text(topic, fmt.Sprint("k", i%7))
			}
			_, err := outbox.Publish(t.Context(), tx, msgs...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	pending := func() (n int) {
		if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM outbox.message_pending`).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	c := bundledConfig(t, url)
	if found := CheckDestinations(t.Context(), c)["local"]; found.Cluster != "" || len(found.Items) != 1 {
		t.Errorf("before the first start: %+v", found)
	}
	log := &logBuffer{}
	start := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- Run(ctx, RunOptions{Config: c, LogTo: log, Version: "test"}) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("%v\n%s", err, log.tail())
			}
		}
	}

	stop := start()
	publish("orders", 200)
	publish("later", 3)
	within(t, time.Minute, "sent what has a topic", func() bool { return pending() == 3 })
	cluster := CheckDestinations(t.Context(), c)["local"].Cluster
	if cluster == "" {
		t.Error("a running broker has no cluster")
	}
	stop()
	c.Broker.Topics.Create = append(c.Broker.Topics.Create, "later")
	stop = start()
	within(t, time.Minute, "sent all", func() bool { return pending() == 0 })
	stop()
	if again := CheckDestinations(t.Context(), c)["local"].Cluster; again != cluster {
		t.Errorf("cluster %s became %s", cluster, again)
	}
	for topic, want := range map[string]int{"orders": 200, "later": 3} {
		n := 0
		if err := BrokerCat(t.Context(), c.Broker.Dir, topic, CatOptions{Partition: -1, Limit: 1000}, func(BrokerRecord) error { n++; return nil }); err != nil || n != want {
			t.Errorf("%s: %d records, want %d, %v", topic, n, want, err)
		}
	}

	segment := filepath.Join(c.Broker.Dir, "log", "00000001.seg")
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("waybill-id"))
	b[at] ^= 1
	if err := os.WriteFile(segment, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), RunOptions{Config: c, LogTo: log, Version: "test"}); err == nil || !strings.Contains(err.Error(), "waybill broker repair") {
		t.Errorf("with a damaged log: %v", err)
	}
}

// bundledConfig is a relay with a broker of its own in its process.
func bundledConfig(t *testing.T, url string) *config.Config {
	c := config.Default()
	c.Name, c.Metrics.Listen, c.Dashboard.Listen, c.Database.URL = "test", "127.0.0.1:0", config.None[string](), config.SecretText(url)
	c.Broker.Enabled, c.Broker.Dir, c.Broker.SegmentSize = true, filepath.Join(t.TempDir(), "made", "broker"), config.MiB
	c.Broker.Topics.Create, c.Cache.Dir = []string{"orders"}, filepath.Join(t.TempDir(), "cache")
	c.Destinations = []config.Destination{{Name: "local", Kind: config.KindWaybillBroker}}
	c.Routes = []config.Route{{Name: "all", Match: config.Match{Topic: "*"}, To: config.To{Destination: "local", Topic: "{topic}"}, Retry: c.Retry, OnDead: "block"}}
	return c
}

// C16: a second relay with a broker of its own in its process stands by on the outbox of the first. When it takes over it sends nothing to its own broker, which would split the
// stream over two, and says what to do; when the first is back it goes on, and its broker has every message once.
func TestSecondRelayWithABrokerOfItsOwn_C16(t *testing.T) {
	r := sharedRig(t)
	first, second := bundledConfig(t, r.url), bundledConfig(t, r.url)
	lease := r.config.Relay // the rig's numbers
	first.Relay, second.Relay = lease, lease
	r.config = first
	a := r.start("a")
	r.owned("a")
	r.publish(text("orders", "k"), text("orders", "other"))
	eventually(t, "the first sends", func() bool { return r.waiting() == 0 })
	r.config = second
	b := r.start("b")
	eventually(t, "the second stands by", func() bool {
		n, err := tryAsk[int](r, `SELECT count(*) FROM outbox.relay WHERE seen_at > clock_timestamp() - interval '10 s'`)
		return err == nil && n == 2
	})
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	r.owned("b")
	r.publish(text("orders", "k"))
	var detail string
	eventually(t, "its own broker is refused", func() bool {
		var state string
		state, detail = r.said("local")
		return state == relay.DestinationConfig
	})
	if !strings.Contains(detail, `"local" is another cluster than before`) || !strings.Contains(detail, "waybill destination adopt") {
		t.Errorf("said: %s", detail)
	}
	if err := b.stop(); err != nil || r.waiting() != 1 {
		t.Errorf("%d of 1 wait, %v", r.waiting(), err)
	}
	r.config = first
	r.start("a2")
	eventually(t, "the first goes on", func() bool { return r.waiting() == 0 })
	r.stopAll()
	for dir, want := range map[string]int{first.Broker.Dir: 3, second.Broker.Dir: 0} {
		n := 0
		if err := BrokerCat(t.Context(), dir, "orders", CatOptions{Partition: -1, Limit: 1000}, func(BrokerRecord) error { n++; return nil }); err != nil || n != want {
			t.Errorf("%d records, want %d, %v", n, want, err)
		}
	}
}
