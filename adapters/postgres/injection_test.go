package postgres_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// S4: whatever a person writes into filters, searches, reasons and names, the server gets it as the value of a parameter and never as part of a statement.
func TestNothingWrittenBecomesSQL_S4(t *testing.T) {
	server := testservices.PostgresServer(t, majors(t)[0], testservices.Setting("log_statement", "all"))
	d := outboxAt(t, server.URL("postgres"))
	d.insert(3, 10)
	d.exec(`INSERT INTO outbox.message_held (id, state, topic, key, destination) SELECT id, 'dead', 't', key, 'k' FROM outbox.message_log`)
	look, err := postgres.OpenInspector(postgres.Config{URL: d.url})
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	act, err := postgres.OpenOperator(postgres.Config{URL: d.url})
	if err != nil {
		t.Fatal(err)
	}
	defer act.Close()

	const canary = "canary7f3a"
	asked := 0
	for _, nasty := range []string{`' OR '1'='1`, `'; DROP TABLE outbox.message_log; --`, `\' OR 1=1 --`, `$1) OR true --`, `%' UNION SELECT payload FROM outbox.message_log --`, `"; --`, `E'\x27`, `$$; SELECT 1; $$`, "/*", `*?_`} {
		nasty += canary
		for _, name := range relay.FilterNames {
			for _, not := range []bool{false, true} {
				for _, state := range []string{"", relay.StateDead, relay.StatePending, relay.StateSent} {
					f := relay.Filter{Terms: []relay.Term{{Name: name, Not: not, Op: ':', Values: []string{nasty}}}}
					if state != "" {
						f.Terms = append(f.Terms, relay.Term{Name: "state", Op: ':', Values: []string{state}})
					}
					list, err := look.Messages(t.Context(), f, 0, 10)
					if err != nil {
						t.Errorf("%s %q: %v", name, nasty, err)
					}
					if asked++; len(list.Items) > 0 && !not && name != "age" && name != "since" && name != "until" {
						t.Errorf("%s:%q finds %d messages", name, nasty, len(list.Items))
					}
				}
			}
		}
		reason := relay.Act{Actor: "cli:" + nasty, Via: "cli", Reason: nasty}
		_, _ = look.Find(t.Context(), nasty)
		_, _ = look.Key(t.Context(), relay.Key{Topic: nasty, Key: nasty})
		_, _ = look.Keys(t.Context(), relay.Key{Topic: nasty, Key: nasty}, 10)
		_, _ = look.OperationItems(t.Context(), 1, nasty, 0, 10)
		_, _ = act.Plan(t.Context(), relay.PlanRequest{Action: relay.PlanRetry, Text: nasty, Filter: relay.Filter{Terms: []relay.Term{{Name: "topic", Op: ':', Values: []string{nasty}}}}}, reason)
		_, _ = act.Retry(t.Context(), []relay.ID{1}, reason)
		_, _ = act.Pause(t.Context(), nasty, time.Time{}, reason)
		_, _ = act.Resume(t.Context(), nasty, reason)
		_, _ = act.Adopt(t.Context(), nasty, nasty, reason)
	}
	if n := one[int64](d, `SELECT count(*) FROM outbox.message_log`); n != 3 {
		t.Errorf("%d messages are left of 3", n)
	}

	raw, err := os.ReadFile(server.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	begin := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \S+ \[\d+\] `)
	parameters, statements := 0, 0
	for _, entry := range begin.Split(string(raw), -1) {
		values := regexp.MustCompile(`^DETAIL:\s+[Pp]arameters: `).MatchString(entry)
		seen := strings.Contains(entry, canary)
		switch {
		case seen && values:
			parameters++
		case seen && !strings.HasPrefix(entry, "ERROR:"): // an error may quote a value
			t.Fatalf("the server got it in: %s", entry)
		case strings.HasPrefix(entry, "LOG:  execute "):
			statements++
		}
	}
	if parameters < asked/2 || statements < parameters {
		t.Errorf("%d statements and %d values were found in the log of %d questions: nothing is shown", statements, parameters, asked)
	}
	t.Logf("%d statements, %d with what was written as a value", statements, parameters)
}
