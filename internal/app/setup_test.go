package app

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/doctor"
	"github.com/waybillmq/waybill/relay"
)

// What is wrong is said once, again when it changes or comes back, and what is no failure is not said.
func TestSetUpIsSaidOnce(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	finding := func(level relay.Level, text string) []doctor.Finding {
		return []doctor.Finding{{Finding: relay.Finding{ID: "database.trigger", Level: level, Subject: "outbox.message_log", Text: text, Fix: "the fix"}, Effect: "the effect"}}
	}
	u := setUp{}
	for i, c := range []struct {
		found []doctor.Finding
		lines int
	}{{finding(relay.LevelFail, "gone"), 1}, {finding(relay.LevelFail, "gone"), 0}, {finding(relay.LevelFail, "disabled"), 1}, {finding(relay.LevelOK, "fires"), 0}, {finding(relay.LevelFail, "disabled"), 1},
		{finding(relay.LevelWarn, "hm"), 0}, {finding(relay.LevelUnseen, "hm"), 0}} {
		b.Reset()
		u.warn(log, c.found)
		if n := strings.Count(b.String(), "check=database.trigger"); n != c.lines || n > 0 && !strings.Contains(b.String(), `effect="the effect" fix="the fix"`) {
			t.Errorf("step %d: %s", i, b.String())
		}
	}
}
