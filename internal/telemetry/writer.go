package telemetry

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	writerLines = 4096            // lines that wait for a slow pipe; what comes then is dropped and counted
	writerDrain = 2 * time.Second // how long close waits for a pipe
)

// writer hands lines to one goroutine, so that a blocked pipe blocks no one else. Each Write is one line; safe for concurrent use.
type writer struct {
	to    io.Writer
	lines chan []byte
	done  chan struct{}

	mu      sync.Mutex
	closed  bool
	dropped int
}

func newWriter(to io.Writer) *writer {
	w := &writer{to: to, lines: make(chan []byte, writerLines), done: make(chan struct{})}
	go w.run()
	return w
}

func (w *writer) run() {
	defer close(w.done)
	for line := range w.lines {
		_, _ = w.to.Write(line) // there is nobody to tell
		if n := w.takeDropped(); n > 0 {
			fmt.Fprintf(w.to, "waybill: %d log lines were dropped: whoever reads the log is too slow\n", n)
		}
	}
}

func (w *writer) takeDropped() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.dropped
	w.dropped = 0
	return n
}

// Write implements io.Writer. It never waits and never fails.
func (w *writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return len(line), nil
	}
	select {
	case w.lines <- append([]byte(nil), line...):
	default:
		w.dropped++
	}
	return len(line), nil
}

func (w *writer) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.lines)
	}
	w.mu.Unlock()
	t := time.NewTimer(writerDrain)
	defer t.Stop()
	select {
	case <-w.done:
	case <-t.C:
	}
}
