package rocketmq

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

// warnings is a log that keeps what is said at level warn, as text; what does not fit is dropped.
type warnings chan string

func (warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (w warnings) WithAttrs([]slog.Attr) slog.Handler             { return w }
func (w warnings) WithGroup(string) slog.Handler                  { return w }

func (w warnings) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	select {
	case w <- text:
	default:
	}
	return nil
}

// TestMissingSlaveIsToldOnce: at the third answer since the last ack, once for each time that it comes back; other answers neither count nor end it.
func TestMissingSlaveIsToldOnce(t *testing.T) {
	warned := make(warnings, 10)
	before := log.Swap(slog.New(warned))
	t.Cleanup(func() { log.Store(before) })
	l := &lane{p: &Publisher{}, at: relay.Lane{Topic: "orders"}, queue: queue{broker: "b1", id: 3}}
	told := 0
	for i, step := range []struct {
		sig  signal
		told int
	}{
		{sigNoSlave, 0}, {sigNoSlave, 0}, {sigStored, 0}, // a slave that restarts
		{sigNoSlave, 0}, {sigNoSlave, 0}, {sigCut, 0}, {12, 0}, {sigNoSlave, 1}, {sigNoSlave, 1}, {sigNoSlave, 1}, {sigNoSlave, 1},
		{sigStored, 1}, {sigNoSlave, 1}, {sigNoSlave, 1}, {sigNoSlave, 2}, {sigNoSlave, 2},
	} {
		batch := ids("orders", "k", 1)
		c := &call{batch: batch, out: make([]relay.Outcome, 1), most: 1, after: 1}
		l.index = []int{0}
		if l.settle(c, answer{sig: step.sig}); c.out[0].Kind == relay.Acked && step.sig != sigStored {
			t.Fatalf("step %d: %+v", i, c.out[0])
		}
		for len(warned) > 0 {
			told++
			if text := <-warned; !strings.Contains(text, "start its slave") || !strings.HasSuffix(text, "broker=b1 topic=orders queue=3") {
				t.Errorf("a person reads %s", text)
			}
		}
		if told != step.told {
			t.Errorf("step %d: told %d times, want %d", i, told, step.told)
		}
	}
}
