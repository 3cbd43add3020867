// Command relayproc is a relay for chaos runs: store, engine and Kafka publisher put together with nothing around them, built with the tag killpoints so that
// WAYBILL_KILL and WAYBILL_BUG work. It ends cleanly on SIGTERM.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/waybillmq/waybill/adapters/kafka"
	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "relayproc:", err)
		os.Exit(1)
	}
}

func run() error {
	opt := relay.Defaults()
	cfg := kafka.DefaultConfig()
	retry := relay.DefaultRetry()
	brokers := flag.String("brokers", "", "addresses of the Kafka brokers, separated by commas")
	url := flag.String("url", "", "connection string of the database")
	flag.StringVar(&opt.Instance, "instance", "", "name of this process")
	flag.DurationVar(&opt.Lease, "lease", opt.Lease, "what the database grants")
	flag.DurationVar(&opt.WriteTimeout, "write-timeout", opt.WriteTimeout, "deadline of a write")
	flag.DurationVar(&opt.TCPTimeout, "tcp-user-timeout", opt.TCPTimeout, "how long the kernel keeps unacknowledged bytes")
	flag.DurationVar(&opt.Quarantine, "quarantine", opt.Quarantine, "silence after a take-over")
	flag.DurationVar(&cfg.Timeouts.Publish, "publish-timeout", cfg.Timeouts.Publish, "how long an answer of a broker is waited for")
	flag.IntVar(&cfg.Batch.MaxMessages, "batch", cfg.Batch.MaxMessages, "most messages of a batch")
	flag.IntVar(&opt.SettleBatches, "settle-batches", opt.SettleBatches, "acked batches of a lane that may wait for their settlement")
	flag.IntVar(&retry.MaxAttempts, "max-attempts", retry.MaxAttempts, "attempts before a message is dead")
	flag.DurationVar(&retry.Initial, "retry-initial", retry.Initial, "first pause before a retry")
	flag.DurationVar(&opt.ProbeCap, "probe-cap", opt.ProbeCap, "longest pause between probes of a broker that is down")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	store, err := openStore(ctx, *url)
	if err != nil || store == nil {
		return err
	}
	defer store.Close()

	cfg.Brokers = strings.Split(*brokers, ",")
	cfg.WriteTimeout, cfg.TCPUserTimeout = opt.WriteTimeout, opt.TCPTimeout
	cfg.Timeouts.Broker = cfg.Timeouts.Publish * 2 / 3
	var r *relay.Relay
	cfg.Trust = func() bool { return r.Trusted() }
	opt.Store, opt.Waker = store, store
	opt.ShutdownTimeout = 5 * time.Second
	opt.Events.Failed = func(op string, err error) {
		fmt.Fprintf(os.Stderr, "%s %s: %v\n", time.Now().Format("15:04:05.000"), op, err)
	}
	opt.Events.Acquired = func(l relay.Lease) {
		fmt.Fprintf(os.Stderr, "%s acquired epoch %d takeover %v quiet %v\n", time.Now().Format("15:04:05.000"), l.Epoch, l.Takeover, l.Quiet)
	}
	opt.Events.Lost = func(e relay.Epoch, cause error) {
		fmt.Fprintf(os.Stderr, "%s lost epoch %d: %v\n", time.Now().Format("15:04:05.000"), e, cause)
	}
	opt.Destinations = []relay.Destination{{
		Name: "kafka", Capabilities: cfg.Capabilities(), PublishTimeout: cfg.Timeouts.Publish + time.Second,
		New: func() (relay.Publisher, error) { return kafka.New(cfg) },
	}}
	opt.Routes = []relay.Route{{Name: "all", Destination: "kafka", Retry: retry}}
	if r, err = relay.New(opt); err != nil {
		return err
	}
	return r.Run(ctx)
}

// openStore waits for a database that is down: in a chaos run it often is. Nil without an error: asked to stop before.
func openStore(ctx context.Context, url string) (*postgres.Store, error) {
	for {
		store, err := postgres.Open(ctx, postgres.Config{URL: url, ConnectTimeout: 2 * time.Second})
		if err == nil || ctx.Err() != nil {
			return store, nil
		}
		fmt.Fprintln(os.Stderr, "relayproc:", err)
		t := time.NewTimer(100 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, nil
		}
	}
}
