package telemetry

import (
	"io"
	"log/slog"
	"os"
	"strings"
)

// LogOptions configure a Logger.
type LogOptions struct {
	Level       slog.Level
	Format      string // text, json, or auto: text on a terminal, json elsewhere
	PerClassMax int    // lines a second of one class (level and message); the rest is summed up. 0 = no limit
	Outbox      string
	Instance    string
}

// Logger writes log lines without ever making the caller wait for the pipe behind them. Close it last.
type Logger struct {
	*slog.Logger
	limiter *limiter
	writer  *writer
}

// NewLogger writes to w until Close.
func NewLogger(w io.Writer, o LogOptions) *Logger {
	out := newWriter(w)
	ho := &slog.HandlerOptions{Level: o.Level, ReplaceAttr: hide}
	var h slog.Handler = slog.NewJSONHandler(out, ho)
	if o.Format == "text" || o.Format != "json" && terminal(w) {
		h = slog.NewTextHandler(out, ho)
	}
	l := &limiter{most: o.PerClassMax, classes: map[string]*class{}}
	return &Logger{Logger: slog.New(limited{h, l}).With("outbox", o.Outbox, "instance", o.Instance), limiter: l, writer: out}
}

// Close writes the open summaries and what is buffered; it waits 2 s at most.
func (l *Logger) Close() {
	l.limiter.close()
	l.writer.close()
}

// ParseLevel reads debug, info, warn or error; anything else is info.
func ParseLevel(s string) slog.Level {
	var l slog.Level
	if l.UnmarshalText([]byte(s)) != nil {
		return slog.LevelInfo
	}
	return l
}

// hidden names attributes that never reach a log, whoever passes them.
var hidden = map[string]bool{"key": true, "payload": true, "header": true, "headers": true, "url": true, "dsn": true, "password": true, "token": true, "secret": true}

func hide(_ []string, a slog.Attr) slog.Attr {
	if hidden[strings.ToLower(a.Key)] {
		return slog.String(a.Key, "***")
	}
	return a
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
