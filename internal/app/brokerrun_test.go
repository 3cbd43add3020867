package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/relay"
)

// A client makes a topic, produces, consumes in a group and commits; after a new start it goes on where it was.
func TestBrokerRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "events")
	var log bytes.Buffer
	with := func(work func(ctx context.Context, address string)) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		address, ended := make(chan string, 1), make(chan error, 1)
		run, stop := context.WithCancel(ctx)
		go func() {
			ended <- BrokerRun(run, BrokerRunOptions{Dir: dir, Listen: "127.0.0.1:0", SegmentBytes: 4 << 20, Log: slog.New(slog.NewTextHandler(&log, nil)),
				Listening: func(a string) { address <- a }})
		}()
		select {
		case a := <-address:
			work(ctx, a)
		case err := <-ended:
			t.Fatal(err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	consume := func(ctx context.Context, address string, want ...string) {
		t.Helper()
		client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumerGroup("shop"), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DefaultProduceTopic("orders"))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for _, v := range want {
			if err := client.ProduceSync(ctx, kgo.StringRecord(v)).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for len(got) < len(want) {
			fetches := client.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				t.Fatal(err)
			}
			fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", got, want)
		}
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			t.Fatal(err)
		}
	}
	with(func(ctx context.Context, address string) {
		client, err := kgo.NewClient(kgo.SeedBrokers(address))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "orders", 1, 1
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Topics = append(req.Topics, topic)
		if made, err := req.RequestWith(ctx, client); err != nil || made.Topics[0].ErrorCode != 0 {
			t.Fatalf("%+v, %v", made, err)
		}
		consume(ctx, address, "a", "b")
		if err := BrokerRun(ctx, BrokerRunOptions{Dir: dir, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}); err == nil {
			t.Error("a second broker runs on the same folder")
		}
		if err := BrokerRun(ctx, BrokerRunOptions{Dir: dir + "2", Listen: address, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "Choose another address") {
			t.Errorf("a second broker on the same address: %v", err)
		}
	})
	with(func(ctx context.Context, address string) { consume(ctx, address, "c", "d", "e") })
	if !strings.Contains(log.String(), "experimental") {
		t.Errorf("nobody is told that it is experimental: %s", log.String())
	}
}

func TestBrokerRunIsForThisMachine(t *testing.T) {
	for _, address := range []string{"0.0.0.0:9092", ":9092", "192.0.2.1:9092", "[::]:9092", "example.com:9092", "127.0.0.1", ""} {
		var wrong *relay.ConfigError
		if err := BrokerRun(t.Context(), BrokerRunOptions{Dir: t.TempDir(), Listen: address, Log: slog.New(slog.DiscardHandler)}); !errors.As(err, &wrong) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// Whoever connects cannot fill the log.
func TestClosedConnectionsAreLoggedSeldom(t *testing.T) {
	var log bytes.Buffer
	s := seldom{log: slog.New(slog.NewTextHandler(&log, nil))}
	for range 1000 {
		s.closed("127.0.0.1:1", net.ErrClosed)
	}
	if n := strings.Count(log.String(), "\n"); n < 1 || n > 5 {
		t.Errorf("%d lines", n)
	}
}
