package app

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

// One line per topic that concerns this relay, with everything that was found, said again only when it changes.
func TestRisksAreSaidOncePerTopic(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	said := func() (lines []string) {
		for line := range strings.Lines(out.String()) {
			lines = append(lines, line)
		}
		out.Reset()
		return lines
	}
	fail := func(id, subject, text string) relay.Finding {
		return relay.Finding{ID: id, Level: relay.LevelFail, Subject: subject, Text: text, Fix: "change " + text}
	}
	found := relay.Findings{Items: []relay.Finding{
		fail("kafka.replication_factor", "orders", "one replica"), {ID: "kafka.in_sync", Level: relay.LevelWarn, Subject: "orders", Text: "a warning"},
		fail("kafka.replication_factor", "of.others", "one replica"), fail("kafka.min_insync_replicas", "orders", "one in sync"),
	}}
	used := map[string]bool{"orders": true}
	concerns := func(f relay.Finding) bool { return used[f.Subject] }
	var r risks
	r.warn(log, "kafka-a", found, concerns)
	if lines := said(); len(lines) != 1 || !strings.Contains(lines[0], `found="one replica; one in sync"`) || !strings.Contains(lines[0], "subject=orders") ||
		!strings.Contains(lines[0], `fix="change one replica; change one in sync"`) {
		t.Errorf("%q", lines)
	}
	r.warn(log, "kafka-a", found, concerns)
	if lines := said(); len(lines) != 0 {
		t.Errorf("said again: %q", lines)
	}
	used["of.others"] = true
	r.warn(log, "kafka-a", found, concerns)
	if lines := said(); len(lines) != 1 || !strings.Contains(lines[0], "subject=of.others") {
		t.Errorf("in use since: %q", lines)
	}
	r.warn(log, "kafka-b", found, nil)
	if lines := said(); len(lines) != 2 {
		t.Errorf("another destination: %q", lines)
	}
	r.warn(log, "kafka-a", relay.Findings{}, concerns)
	r.warn(log, "kafka-a", found, concerns)
	if lines := said(); len(lines) != 2 {
		t.Errorf("mended and broken again: %q", lines)
	}
}
