package app

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"sync"
)

// runningRelay is a relay in this process.
type runningRelay struct {
	stop func() error // drains and releases
	log  *logBuffer
}

// start runs a relay as `waybill run` does; instance names it. It ends with the test at the latest.
func (r *rig) start(instance string) *runningRelay {
	c := *r.config
	c.Relay.Instance, c.Cache.Dir = instance, filepath.Join(r.config.Cache.Dir, instance)
	ctx, cancel := context.WithCancel(context.Background())
	log, done := &logBuffer{}, make(chan error, 1)
	go func() { done <- Run(ctx, RunOptions{Config: &c, LogTo: log, Version: "test", Broker: r.broker}) }()
	rr := &runningRelay{log: log, stop: sync.OnceValue(func() error {
		cancel()
		return <-done
	})}
	r.t.Cleanup(func() {
		if err := rr.stop(); err != nil || r.t.Failed() {
			r.t.Logf("relay %s ended: %v\n%s", instance, err, log.tail())
		}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.relays = append(r.relays, rr)
	return rr
}

func (r *rig) stopAll() {
	r.t.Helper()
	r.mu.Lock()
	relays := r.relays
	r.relays = nil
	r.mu.Unlock()
	for _, rr := range relays {
		if err := rr.stop(); err != nil {
			r.t.Errorf("a relay ended with an error: %v", err)
		}
	}
}

// logBuffer keeps what a relay said, to be shown when its test fails.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) tail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var kept strings.Builder
	for line := range strings.Lines(b.buf.String()) {
		if !strings.Contains(line, "kafka.") && !strings.Contains(line, "can lose what it confirmed") {
			kept.WriteString(line)
		}
	}
	all := kept.String()
	return all[max(0, len(all)-8000):]
}
