package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// summaryAfter is how long lines of a class are counted before one line says how many there were.
const summaryAfter = time.Minute

// maxClasses bounds the memory of the limiter; lines of further classes pass without limit.
const maxClasses = 1000

// limiter counts lines by class. Safe for concurrent use.
type limiter struct {
	most int

	mu      sync.Mutex
	classes map[string]*class
	closed  bool
}

// class is the lines of one level and message.
type class struct {
	second  time.Time // begin of the present second
	lines   int       // passed in it
	dropped int       // since the last summary
	timer   *time.Timer
	say     func() // writes the summary; called without the lock
}

// pass says whether a line may be written; what is not is counted, and summed up after a minute.
func (l *limiter) pass(name string, now time.Time, summary func(dropped int)) bool {
	if l.most <= 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.classes[name]
	if c == nil {
		if len(l.classes) == maxClasses {
			return true
		}
		c = &class{}
		l.classes[name] = c
	}
	if now.Sub(c.second) >= time.Second {
		c.second, c.lines = now, 0
	}
	if c.lines < l.most {
		c.lines++
		return true
	}
	if c.dropped++; c.dropped == 1 && !l.closed {
		c.say = func() {
			l.mu.Lock()
			n := c.dropped
			c.dropped, c.timer = 0, nil
			l.mu.Unlock()
			if n > 0 {
				summary(n)
			}
		}
		c.timer = time.AfterFunc(summaryAfter, c.say)
	}
	return false
}

// close writes the open summaries now.
func (l *limiter) close() {
	l.mu.Lock()
	l.closed = true
	var open []func()
	for _, c := range l.classes {
		if c.timer != nil && c.timer.Stop() {
			open = append(open, c.say)
		}
	}
	l.mu.Unlock()
	for _, say := range open {
		say()
	}
}

// limited is a handler behind a limiter.
type limited struct {
	slog.Handler
	limiter *limiter
}

// Handle implements slog.Handler.
func (h limited) Handle(ctx context.Context, r slog.Record) error {
	name := r.Level.String() + " " + r.Message
	ok := h.limiter.pass(name, r.Time, func(dropped int) {
		s := slog.NewRecord(time.Now(), r.Level, r.Message, 0)
		s.AddAttrs(slog.String("repeated", fmt.Sprintf("said %d times more in %s", dropped, summaryAfter)))
		_ = h.Handler.Handle(context.Background(), s) // the writer behind it never fails
	})
	if !ok {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h limited) WithAttrs(attrs []slog.Attr) slog.Handler {
	return limited{h.Handler.WithAttrs(attrs), h.limiter}
}

// WithGroup implements slog.Handler.
func (h limited) WithGroup(name string) slog.Handler {
	return limited{h.Handler.WithGroup(name), h.limiter}
}
