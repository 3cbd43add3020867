package commitlog

import (
	"context"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// opened is a log that runs, and what it held when it was opened.
type opened struct {
	*Log
	found  Found
	bodies []string
	places []Position
	stop   func() error // ends Run and returns its error
}

func openLog(t *testing.T, cfg Config) *opened {
	t.Helper()
	o := &opened{}
	var err error
	o.Log, o.found, err = Open(cfg, func(p Position, r Record) error {
		o.bodies, o.places = append(o.bodies, string(r.Body)), append(o.places, p)
		return nil
	})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	o.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = o.stop() })
	return o
}

func memoryConfig() Config {
	cfg := testConfig
	cfg.FS = vfs.NewMemory()
	return cfg
}

func text(s string) Record { return Record{Kind: KindEntry, Stream: 1, Body: []byte(s)} }
