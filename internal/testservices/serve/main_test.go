package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/testservices"
)

func TestMain(m *testing.M) { testservices.Main(m) }

func TestWrongArgumentsPrintTheUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"--nodes", "1"}, {"redis"}, {"kafka", "3"}, {"kafka", "--node", "3"}, {"rocketmq", "--slaves"}, {"postgres", "--major", "new"}} {
		var stderr strings.Builder
		if err := run(t.Context(), args, io.Discard, &stderr); !errors.Is(err, errUsage) || !strings.Contains(stderr.String(), "usage: serve postgres") {
			t.Errorf("%q: %v, %q", args, err, stderr.String())
		}
	}
}

func TestServerThatCannotBeStarted(t *testing.T) {
	for want, args := range map[string][]string{"1 or 3 nodes": {"kafka", "--nodes", "2"}, "a RabbitMQ has 1 or 3 nodes": {"rabbitmq", "--nodes", "2"}, "PostgreSQL 15 and 18": {"postgres", "--major", "13"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

func TestPostgresRunsUntilItIsInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	stdout, output := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"postgres", "--major", "15", "--fsync"}, output, io.Discard)
		output.Close()
	}()
	line := make([]byte, 200)
	n, err := stdout.Read(line)
	if err != nil {
		t.Fatal(err, <-ended)
	}
	url := strings.TrimSpace(string(line[:n]))
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	var fsync string
	if err := conn.QueryRow(t.Context(), "SHOW fsync").Scan(&fsync); err != nil || fsync != "on" {
		t.Errorf("fsync = %q, %v", fsync, err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
	interrupt()
	if _, err := io.Copy(io.Discard, stdout); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := pgx.Connect(t.Context(), url); err == nil {
		t.Error("the server outlived the interrupt")
	}
}
