package bench

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
)

// asWorker makes this test binary the program that a bench starts.
const asWorker = "WAYBILL_TEST_BENCH_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := Work(ctx, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testservices.Main(m)
}

// testOptions are a bench of a moment.
func testOptions(t *testing.T) Options {
	t.Helper()
	return Options{Rounds: 1, Rows: 3000, NoFsync: true, Unsafe: true, Worker: []string{"/usr/bin/env", asWorker + "=1", os.Args[0]}, Progress: testLog{t}}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", p)
	return len(p), nil
}
