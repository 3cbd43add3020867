package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/dashboard"
	"github.com/waybillmq/waybill/internal/embedded"
	"github.com/waybillmq/waybill/migrations"
)

// DemoOptions say what `waybill demo` runs.
type DemoOptions struct {
	Kafka       []string      // brokers of a Kafka cluster, host:port; this and the next two are there instead of the bundled broker, and share the topics
	RocketMQ    []string      // name servers of a RocketMQ cluster, host:port
	RabbitMQ    string        // amqp://user:password@host:port/vhost of a RabbitMQ
	For         time.Duration // then it stops by itself; 0 = until ctx ends
	Script      bool          // it breaks and fixes its bundled broker by itself, and stops then
	Rate        int           // orders a second
	Dir         string        // keeps the data of PostgreSQL and broker there; empty = a folder that is removed at the end
	DatabaseURL string        // a running PostgreSQL instead of a private one
	PgBin       string        // folder with initdb and postgres; empty = the newest found, else one that is fetched
	NoDownload  bool          // PostgreSQL is not fetched
	LogTo       io.Writer     // of the relay; nil = nowhere
	Progress    io.Writer     // what happens, for a person
	Live        bool          // Progress is a terminal: the summary is drawn in place
	Version     string
}

// DemoResult is what the demo proved by reading the broker back.
type DemoResult struct {
	audit.Result
	RolledBack int           `json:"rolled_back"` // transactions that published and then rolled back
	Seconds    float64       `json:"seconds"`
	Took       time.Duration `json:"-"`
}

// Green says that everything was sent, and that it lies at the broker once, in order and unchanged.
func (r *DemoResult) Green() bool { return r.Clean() && r.Pending+r.Duplicates == 0 }

// Demo shows the whole way of a message: a private PostgreSQL, the migrations, a shop that writes orders and messages in one transaction, the relay, and at
// the end the proof that every committed message lies at the broker exactly where the receipts say.
func Demo(ctx context.Context, o DemoOptions) (DemoResult, error) {
	if o.LogTo == nil {
		o.LogTo = io.Discard
	}
	d := &demo{DemoOptions: o, began: time.Now()}
	defer d.close()
	for _, step := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{{"postgres", d.postgres}, {"migrations", d.migrate}, {"broker", d.startBrokers}} {
		began := time.Now()
		said, err := step.do(ctx)
		if err != nil {
			return DemoResult{}, err
		}
		fmt.Fprintf(o.Progress, "  ✓ %-11s %-62s %4.1f s\n", step.name, said, time.Since(began).Seconds())
	}
	return d.run(ctx)
}

// demo is a running demonstration.
type demo struct {
	DemoOptions
	began   time.Time
	server  *embedded.Server // nil = the database is another's; while orders are taken it belongs to who has the turn of faults
	pgBin   string           // where its programs are
	folder  string           // removed at the end; empty = kept
	url     string
	outbox  string // its uuid
	brokers []demoBroker
	config  *config.Config
}

// demoTopics are what the shop publishes.
var demoTopics = []string{"order.placed", "order.paid", "order.shipped"}

const demoPartitions = 6

func (d *demo) postgres(ctx context.Context) (string, error) {
	if d.DatabaseURL != "" {
		d.url = d.DatabaseURL
		return "the one named by --database-url", nil
	}
	dir, err := d.place()
	if err != nil {
		return "", err
	}
	inst, err := embedded.Obtain(ctx, embedded.Options{Bin: d.PgBin, NoDownload: d.NoDownload,
		Announce: func(what string) { fmt.Fprintf(d.Progress, "    %-11s %s\n", "postgres", what) }})
	if err != nil {
		return "", fmt.Errorf("waybill demo: %w", err)
	}
	d.pgBin = inst.Bin
	if d.server, err = embedded.Start(ctx, embedded.Config{Bin: inst.Bin, Dir: dir}); err != nil {
		return "", err
	}
	const name = "waybill_demo"
	if err := createDatabase(ctx, d.server.URL("postgres"), name); err != nil {
		return "", err
	}
	d.url = d.server.URL(name)
	return fmt.Sprintf("%s %s, started privately", inst.Origin, inst.Version()), nil
}

// place is the folder of the demonstration: the one that --dir names, or one that is removed at the end.
func (d *demo) place() (string, error) {
	if d.Dir != "" {
		return d.Dir, nil
	}
	if d.folder == "" {
		cache, err := embedded.CacheDir()
		if err != nil {
			return "", err
		}
		removeOldDemos(cache)
		d.folder = filepath.Join(cache, "demo-"+randomHex(4))
	}
	return d.folder, nil
}

// removeOldDemos removes what demonstrations that were killed left behind.
func removeOldDemos(cache string) {
	left, _ := filepath.Glob(filepath.Join(cache, "demo-*"))
	for _, dir := range left {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			_ = os.RemoveAll(dir)
		}
	}
}

func createDatabase(ctx context.Context, url, name string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to the private PostgreSQL: %w", err)
	}
	defer conn.Close(ctx)
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name).Scan(&there); err != nil || there {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	return err
}

func (d *demo) migrate(ctx context.Context) (string, error) {
	applied, err := migrations.Up(ctx, d.url, migrations.Options{})
	if err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, d.url)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, `SELECT outbox_id::text FROM outbox.generations ORDER BY from_id LIMIT 1`).Scan(&d.outbox); err != nil {
		return "", err
	}
	if len(applied) == 0 {
		return fmt.Sprintf("schema outbox is version %d", migrations.Version), nil
	}
	return fmt.Sprintf("schema outbox made, version %d", migrations.Version), nil
}

func (d *demo) close() {
	for _, b := range d.brokers {
		if err := b.stop(); err != nil {
			fmt.Fprintf(d.Progress, "  ! broker: %v\n", err)
		}
	}
	if d.server != nil {
		if err := d.stopDatabase(context.Background()); err != nil {
			fmt.Fprintf(d.Progress, "  ! postgres: %v\n", err)
		}
	}
	if d.folder != "" {
		_ = os.RemoveAll(d.folder)
	}
}

// settings are the configuration of the demonstration's relay.
func (d *demo) settings() *config.Config {
	c := config.Default()
	c.Name = "demo"
	c.Database.URL = config.SecretText(d.url)
	for _, b := range d.brokers {
		c.Destinations = append(c.Destinations, b.destination())
	}
	for i, topic := range demoTopics {
		b := d.brokers[i%len(d.brokers)]
		r := config.Route{Name: strings.ReplaceAll(topic, ".", "-"), Match: config.Match{Topic: topic}, To: config.To{Destination: b.destination().Name}, Retry: c.Retry, OnDead: c.OnDead}
		b.route(&r)
		c.Routes = append(c.Routes, r)
	}
	if d.inProcess() != nil { // it fences an owner that is gone, without a connection that could hold bytes back: a start after a kill need not wait long
		c.Relay.Lease, c.Relay.WriteTimeout, c.Relay.TCPUserTimeout, c.Relay.Quarantine = 6*time.Second, time.Second, time.Second, 2*time.Second
	}
	c.Breaker.ProbeCap = time.Second // nobody wants to watch a pause
	c.Metrics.Listen = freeListen("127.0.0.1:9464")
	c.Dashboard.Listen = config.Some(freeListen("127.0.0.1:8088"))
	return c
}

// hint is what a person could do next.
func (d *demo) hint() string {
	switch {
	case d.Script:
		return "   the script begins, and ends within a minute"
	case d.inProcess() == nil:
		return ""
	}
	return "   next, in another terminal: waybill demo break"
}

// freeListen is an address that is free now: the usual one when it is.
func freeListen(usual string) string {
	for _, at := range []string{usual, "127.0.0.1:0"} {
		if l, err := net.Listen("tcp", at); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	return "127.0.0.1:0"
}

// pages says where the dashboard is. The link signs in whoever started the demonstration, and is for a terminal alone: what is not one may be kept.
func (d *demo) pages() (string, error) {
	dir, err := d.place()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "dashboard.token")
	d.config.Dashboard.TokenFile = config.Some(file)
	d.config.Cache.Dir = filepath.Join(dir, "cache")
	token, err := dashboard.Token(file)
	if err != nil {
		return "", err
	}
	listen, _ := d.config.Dashboard.Listen.Get()
	if !d.Live {
		return fmt.Sprintf("http://%s   (to act: the token in %s)", listen, file), nil
	}
	return fmt.Sprintf("http://%s/login#token=%s", listen, token), nil
}

// run starts shop and relay, waits, stops them in order, and reads the broker back.
func (d *demo) run(ctx context.Context) (DemoResult, error) {
	d.config = d.settings()
	pages, err := d.pages()
	if err != nil {
		return DemoResult{}, err
	}
	shop, err := openShop(ctx, d.url, d.Rate)
	if err != nil {
		return DemoResult{}, err
	}
	defer shop.close()
	relay := d.startRelay(ctx)
	defer relay.stop()
	fmt.Fprintf(d.Progress, "  ✓ %-11s %d orders/s, each one transaction (order row + message), one in ten rolls back\n", "shop", d.Rate)
	fmt.Fprintf(d.Progress, "  ✓ %-11s metrics and health on http://%s\n", "relay", d.config.Metrics.Listen)
	fmt.Fprintf(d.Progress, "  ✓ %-11s %s\n", "dashboard", pages)
	fmt.Fprintf(d.Progress, "    nothing is lost from here on.%s   stop: Ctrl-C\n", d.hint())

	faults, err := d.breakable(shop)
	if err != nil {
		return DemoResult{}, err
	}
	defer faults.close()
	if d.Script && faults == nil {
		return DemoResult{}, errors.New("the script breaks the bundled broker, and this demonstration has none")
	}
	stopControl := sync.OnceFunc(d.control(context.WithoutCancel(ctx), faults))
	defer stopControl()
	if err := d.sell(ctx, shop, relay, faults); err != nil {
		return DemoResult{}, err
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	stopControl()
	if err := faults.mend(finish); err != nil {
		return DemoResult{}, err
	}
	if err := shop.awaitSent(finish); err != nil {
		return DemoResult{}, err
	}
	if err := relay.stop(); err != nil {
		return DemoResult{}, err
	}
	said := "everything sent"
	if _, _, held, err := shop.counts(finish); err == nil && held > 0 {
		said = fmt.Sprintf("%d messages are dead or wait behind a dead one, everything else is sent", held)
	}
	fmt.Fprintf(d.Progress, "  ✓ %-11s %s; reading %s back\n", "stopped", said, d.names())
	result, err := d.prove(finish)
	result.RolledBack = int(shop.rolledBack.Load())
	result.Took = time.Since(d.began)
	result.Seconds = result.Took.Seconds()
	return result, err
}

// sell lets the shop take orders until ctx ends, or the time is over, or the script.
func (d *demo) sell(ctx context.Context, shop *shop, relay *demoRelay, faults *faults) error {
	if d.For > 0 {
		limited, cancel := context.WithTimeout(ctx, d.For)
		defer cancel()
		ctx = limited
	}
	selling, stopSelling := context.WithCancel(ctx)
	var going sync.WaitGroup
	defer going.Wait()
	defer stopSelling()
	shopDone, story := make(chan error, 1), make(chan error, 1)
	going.Go(func() { shopDone <- shop.run(selling) })
	if d.Script {
		going.Go(func() {
			story <- newScript(faults, d.Progress).run(selling)
			stopSelling()
		})
	}
	screen := &summary{out: d.Progress, live: d.Live, quiet: d.Script, shop: shop}
	err := screen.watch(selling, shopDone, relay, d.brokers[0].failed())
	if err == nil && d.Script {
		err = <-story
	}
	return err
}

// demoRelay is the relay of a demonstration.
type demoRelay struct {
	done chan struct{} // closed when it has ended
	err  error         // why, once done is closed
	stop func() error  // ends it in order, and returns err
}

func (d *demo) startRelay(ctx context.Context) *demoRelay {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &demoRelay{done: make(chan struct{})}
	r.stop = func() error { cancel(); <-r.done; return r.err }
	go func() {
		defer close(r.done)
		r.err = Run(work, RunOptions{Config: d.config, LogTo: d.LogTo, Version: d.Version, Broker: d.inProcess()})
	}()
	return r
}
