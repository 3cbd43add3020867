package telemetry

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

const page = "../../docs/operations.md"

// The table of metrics in the documentation is what is registered: UPDATE_DOCS=1 writes it anew. Names in the page's alerts exist.
func TestMetricsPage(t *testing.T) {
	tel := observed(t, io.Discard)
	tel.Watch(func() relay.Status { return relay.Status{Owner: true} })
	tel.SetCounts(Counts{At: time.Now(), Tables: []Table{{Name: "message_log"}}, Sessions: []Sessions{{Pool: "reader", State: "idle"}}})
	families, err := tel.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("\n| metric `waybill_…` | type | labels | meaning |\n|---|---|---|---|\n")
	var names []string
	for _, f := range families {
		name, ours := strings.CutPrefix(f.GetName(), "waybill_")
		if !ours {
			continue
		}
		names = append(names, name)
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			if l.GetName() != "outbox" {
				labels = append(labels, l.GetName())
			}
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(text), "TestMetricsPage -->\n")
	was, after, ok2 := strings.Cut(rest, "\n<!-- end -->")
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", page)
	}
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(page, []byte(before+"TestMetricsPage -->\n"+table.String()+"\n<!-- end -->"+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if was != table.String() {
		t.Errorf("the table of metrics in %s is not what is registered; write it with UPDATE_DOCS=1", page)
	}
	for _, part := range strings.Split(after, "waybill_")[1:] {
		if end := strings.IndexFunc(part, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }); !slices.Contains(names, part[:max(end, 0)]) {
			t.Errorf("%s names waybill_%.30s, which does not exist", page, part)
		}
	}
}
