package deploy_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/waybillmq/waybill/internal/telemetry"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

const alertsFile = "prometheus/alerts.yaml"

type alertRule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func readAlerts(t *testing.T) []alertRule {
	t.Helper()
	text, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []alertRule } }
	if err := yaml.Unmarshal(text, &file); err != nil || len(file.Groups) != 1 {
		t.Fatalf("%s: %v", alertsFile, err)
	}
	return file.Groups[0].Rules
}

// evalTimes are for alerts that take longer than two hours.
var evalTimes = map[string]string{"WaybillPausedTooLong": "5h"}

// alertCases are, for each alert, series of two hours with a sample a minute: with which it fires at the end, and with which it does not.
var alertCases = map[string]struct{ fires, silent []string }{
	"WaybillNotPublishing": {
		[]string{`waybill_messages{outbox="o",destination="d",state="pending"} 5x130`, `waybill_messages_sent_total{outbox="o",destination="d",topic="__other__"} 0x130`},
		[]string{`waybill_messages{outbox="o",destination="d",state="pending"} 5x130`, `waybill_messages_sent_total{outbox="o",destination="d",topic="__other__"} 0+1x130`,
			`waybill_messages{outbox="o",destination="idle",state="pending"} 0x130`, `waybill_messages_sent_total{outbox="o",destination="idle",topic="__other__"} 0x130`,
			`waybill_messages{outbox="o",destination="p",state="pending"} 5x130`, `waybill_messages_sent_total{outbox="o",destination="p",topic="__other__"} 0x130`,
			`waybill_destination_paused{outbox="o",destination="p",reason="person"} 1x130`}},
	"WaybillOldestPendingTooOld": {
		[]string{`waybill_oldest_message_age_seconds{outbox="o",destination="",state="pending"} 61x130`},
		[]string{`waybill_oldest_message_age_seconds{outbox="o",destination="",state="pending"} 60x130`, `waybill_oldest_message_age_seconds{outbox="o",destination="",state="sent"} 9000x130`}},
	"WaybillLatencyBudgetFastBurn": {
		[]string{`waybill_delivery_latency_seconds_bucket{outbox="o",destination="d",le="5"} 0+98x130`, `waybill_delivery_latency_seconds_count{outbox="o",destination="d"} 0+100x130`},
		[]string{`waybill_delivery_latency_seconds_bucket{outbox="o",destination="d",le="5"} 0+99x130`, `waybill_delivery_latency_seconds_count{outbox="o",destination="d"} 0+100x130`}},
	"WaybillMessagesDead": {
		[]string{`waybill_messages_dead_total{outbox="o",destination="d",topic="__other__",class="invalid"} 0x115 1x15`},
		[]string{`waybill_messages_dead_total{outbox="o",destination="d",topic="__other__",class="invalid"} 0x60 1x70`}},
	"WaybillKeysBlocked": {
		[]string{`waybill_blocked_keys{outbox="o",instance="a"} 2x130`, `waybill_blocked_keys{outbox="o",instance="b"} 0x130`},
		[]string{`waybill_blocked_keys{outbox="o"} 0x110 2x20`}},
	"WaybillDestinationUnreachable": {
		[]string{`waybill_destination_up{outbox="o",destination="d",instance="a"} 0x130`, `waybill_destination_up{outbox="o",destination="d",instance="b"} 1x130`},
		[]string{`waybill_destination_up{outbox="o",destination="d"} 0x130`, `waybill_destination_paused{outbox="o",destination="d",reason="config"} 1x130`,
			`waybill_destination_up{outbox="o",destination="e"} 1x118 0x12`}},
	"WaybillCacheFull": {
		[]string{`waybill_cache_full{outbox="o",destination="d",instance="a"} 1x130`, `waybill_cache_full{outbox="o",destination="d",instance="b"} 0x130`},
		[]string{`waybill_cache_full{outbox="o",destination="d"} 0x117 1x4 0x9`}},
	"WaybillDestinationConfig": {
		[]string{`waybill_destination_paused{outbox="o",destination="d",reason="config"} 1x130`},
		[]string{`waybill_destination_paused{outbox="o",destination="d",reason="config"} 0x119 1x11`}},
	"WaybillPausedTooLong": {
		[]string{`waybill_destination_paused{outbox="o",destination="d",reason="person",instance="a"} 1x310`, `waybill_destination_paused{outbox="o",destination="d",reason="person",instance="b"} 0x310`},
		[]string{`waybill_destination_paused{outbox="o",destination="d",reason="person"} 0x65 1x250`, `waybill_destination_paused{outbox="o",destination="d",reason="config"} 1x310`}},
	"WaybillDown":    {[]string{`up{job="waybill",instance="a"} 0x130`}, []string{`up{job="waybill",instance="a"} 1x130`, `up{job="other"} 0x130`}},
	"WaybillNoOwner": {[]string{`waybill_owner{outbox="o",instance="a"} 0x130`, `waybill_owner{outbox="o",instance="b"} 0x130`}, []string{`waybill_owner{outbox="o",instance="a"} 0x130`, `waybill_owner{outbox="o",instance="b"} 1x130`}},
	"WaybillFenced":  {[]string{`waybill_fenced_total{outbox="o"} 0x115 1 3 5x15`}, []string{`waybill_fenced_total{outbox="o"} 0x115 1x15`}},
	"WaybillLongTransaction": {
		[]string{`waybill_oldest_transaction_age_seconds{outbox="o"} 301x130`}, []string{`waybill_oldest_transaction_age_seconds{outbox="o"} 300x130`}},
	"WaybillOldHole":  {[]string{`waybill_oldest_hole_age_seconds{outbox="o"} 61x130`}, []string{`waybill_oldest_hole_age_seconds{outbox="o"} 60x130`}},
	"WaybillLateRows": {[]string{`waybill_late_rows_total{outbox="o"} 0x115 1x15`}, []string{`waybill_late_rows_total{outbox="o"} 3x130`}},
	"WaybillRetentionStalled": {
		[]string{`waybill_oldest_message_age_seconds{outbox="o",destination="",state="sent"} 151x130`, `waybill_retention_seconds{outbox="o"} 100x130`},
		[]string{`waybill_oldest_message_age_seconds{outbox="o",destination="",state="sent"} 150x130`, `waybill_retention_seconds{outbox="o"} 100x130`,
			`waybill_oldest_message_age_seconds{outbox="ever",destination="",state="sent"} 999999x130`, `waybill_retention_seconds{outbox="ever"} _x115 Inf Inf Inf Inf Inf Inf Inf`}},
	"WaybillOutboxBig": {
		[]string{`waybill_table_bytes{outbox="o",table="message_log"} 60000000000x130`, `waybill_table_bytes{outbox="o",table="receipts"} 10000000000x130`},
		[]string{`waybill_table_bytes{outbox="o",table="message_log"} 60000000000x130`, `waybill_table_bytes{outbox="p",table="message_log"} 60000000000x130`}},
	"WaybillPartitionsShort": {[]string{`waybill_partitions_ahead{outbox="o"} 0x130`}, []string{`waybill_partitions_ahead{outbox="o"} 1x130`}},
	"WaybillTableBloat": {
		[]string{`waybill_table_dead_tuples{outbox="o",table="message_held"} 100021x130`, `waybill_table_live_tuples{outbox="o",table="message_held"} 10x130`},
		[]string{`waybill_table_dead_tuples{outbox="o",table="message_held"} 100020x130`, `waybill_table_live_tuples{outbox="o",table="message_held"} 10x130`}},
	"WaybillAlertsLost":     {[]string{`waybill_alert_posts_failed_total{outbox="o"} 0x115 1x15`}, []string{`waybill_alert_posts_failed_total{outbox="o"} 2x130`}},
	"WaybillDatabaseErrors": {[]string{`waybill_db_errors_total{outbox="o",op="claim"} 0+1x130`}, []string{`waybill_db_errors_total{outbox="o",op="claim"} 7x130`}},
}

// Prometheus' own tool loads the rules, fires each alert with a series that should, and none with the series that should not.
func TestAlerts(t *testing.T) {
	promtool := testservices.Promtool(t)
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", alertsFile).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rules := readAlerts(t)
	if len(rules) != len(alertCases) {
		t.Errorf("%d alerts, %d cases", len(rules), len(alertCases))
	}
	whole, err := filepath.Abs(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		t.Run(r.Alert, func(t *testing.T) {
			c, ok := alertCases[r.Alert]
			if !ok {
				t.Fatal("no series that fires it, and none that does not")
			}
			// The expected alerts are left empty: promtool names what fired, which must be this alert and nothing else.
			if out := unitTest(t, promtool, whole, r.Alert, c.silent); out != "" {
				t.Errorf("it fires with what should leave it silent:\n%s", out)
			}
			out := unitTest(t, promtool, whole, r.Alert, c.fires)
			if !strings.Contains(out, `alertname="`+r.Alert+`"`) || !strings.Contains(out, `severity="`+r.Labels["severity"]+`"`) {
				t.Errorf("it does not fire:\n%s", out)
			}
			if strings.Contains(out, "no value") || strings.Contains(out, "error") {
				t.Errorf("its texts do not render:\n%s", out)
			}
		})
	}
}

// unitTest expects no alert of that name and returns what promtool says; empty = there was none.
func unitTest(t *testing.T, promtool, rules, alert string, series []string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "rule_files: [%q]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n", rules)
	for _, s := range series {
		name, values, _ := strings.Cut(s, "} ")
		fmt.Fprintf(&b, "      - series: '%s}'\n        values: '%s'\n", name, values)
	}
	fmt.Fprintf(&b, "    alert_rule_test:\n      - { eval_time: %s, alertname: %s, exp_alerts: [] }\n", cmp.Or(evalTimes[alert], "2h"), alert)
	file := filepath.Join(t.TempDir(), "test.yaml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", file).CombinedOutput()
	if err == nil {
		return ""
	}
	if !strings.Contains(string(out), "got:") {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// scrape is what a relay shows that owns its outbox and has counted: the names of all series, with the labels that each has.
func scrape(t *testing.T) map[string][]string {
	t.Helper()
	tel := telemetry.New(telemetry.Options{Outbox: "o", Destinations: []string{"d"}, TopicsMax: 1, Log: slog.New(slog.DiscardHandler)})
	tel.Watch(func() relay.Status { return relay.Status{Owner: true} })
	tel.SetCounts(telemetry.Counts{At: time.Now(), Tables: []telemetry.Table{{Name: "message_log"}}, Sessions: []telemetry.Sessions{{Pool: "reader", State: "idle"}}})
	w := httptest.NewRecorder()
	tel.Handler("/metrics", func() telemetry.Health { return telemetry.Health{} }).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	labels := map[string][]string{"up": {"job", "instance"}} // Prometheus' own
	for _, m := range regexp.MustCompile(`(?m)^(waybill_\w+)\{(.*)\} `).FindAllStringSubmatch(w.Body.String(), -1) {
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(labels[m[1]], l[1]) {
				labels[m[1]] = append(labels[m[1]], l[1])
			}
		}
	}
	if len(labels) < 40 {
		t.Fatalf("only %d metrics were scraped", len(labels))
	}
	return labels
}

const boardFile = "grafana/waybill.json"

// The board's expressions ask for what exists and are what Prometheus can evaluate.
func TestBoard(t *testing.T) {
	text, err := os.ReadFile(boardFile)
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	labels := scrape(t)
	rules := "groups:\n  - name: board\n    rules:\n"
	n := 0
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$outbox", "o", "$destination", "d").Replace(target.Expr)
			if wrong := strange(labels, expr); len(wrong) > 0 {
				t.Errorf("%s: %v do not exist", p.Title, wrong)
			}
			rules += fmt.Sprintf("      - { record: 'board:%d', expr: %q }\n", n, expr)
			n++
		}
	}
	if n < 20 {
		t.Fatalf("only %d expressions were found", n)
	}
	file := filepath.Join(t.TempDir(), "board.yaml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), testservices.Promtool(t), "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

var (
	selector = regexp.MustCompile(`\b(waybill_\w+|up)\b(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(?:=~|!=|!~|=)`)
	grouping = regexp.MustCompile(`by \(([^)]*)\)`)
)

// strange names what an expression asks for that no relay shows. instance is Prometheus' own label.
func strange(labels map[string][]string, expr string) (wrong []string) {
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		have, ok := labels[m[1]]
		if !ok {
			wrong = append(wrong, m[1])
			continue
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(have, l[1]) {
				wrong = append(wrong, m[1]+"{"+l[1]+"}")
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for _, l := range strings.Split(g[1], ",") {
			l = strings.TrimSpace(l)
			found := l == "instance"
			for _, m := range selector.FindAllStringSubmatch(expr, -1) {
				found = found || slices.Contains(labels[m[1]], l)
			}
			if !found {
				wrong = append(wrong, "by ("+l+")")
			}
		}
	}
	return wrong
}

// Every metric and label of the alerts exists; each says how grave it is, what to do, and where to look, and has its row in the documentation.
func TestAlertsNameWhatExists(t *testing.T) {
	labels := scrape(t)
	if wrong := strange(labels, `sum by (kitchen) (waybill_owner{sink="1"}) / waybill_nothing`); len(wrong) != 3 {
		t.Errorf("this test sees nothing: %v", wrong)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range readAlerts(t) {
		if wrong := strange(labels, r.Expr); len(wrong) > 0 {
			t.Errorf("%s: %v do not exist", r.Alert, wrong)
		}
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if a := r.Annotations; a["summary"] == "" || !strings.HasPrefix(a["do"], "waybill ") || !strings.HasPrefix(a["page"], "/") {
			t.Errorf("%s: %v", r.Alert, a)
		}
		if !strings.Contains(string(text), "\n| "+r.Alert+" | "+r.Labels["severity"]+" | ") {
			t.Errorf("%s has no row in docs/operations.md, or another severity there", r.Alert)
		}
	}
}
