package app

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/telemetry"
	"github.com/waybillmq/waybill/relay"
)

// What an on-call person looks at, scraped from a relay that runs: the numbers of the database follow what happens there.
func TestMetricsOfARunningRelay(t *testing.T) {
	r := sharedRig(t)
	r.config.Metrics.Listen = freeAddress(t)
	r.config.Relay.WriteLimits = false
	topic := r.topic("orders", 1, map[string]string{"max.message.bytes": "60000"})
	big := text(topic, "k")
	big.Payload = make([]byte, 90_000)
	r.publish(big)
	dead := relay.ID(r.newest())
	r.publish(text(topic, "k"), text(topic, "k"), text(topic, "other"))
	r.start("a")

	value := func(series string) float64 { return scraped(t, r.config.Metrics.Listen, series) }
	is := func(series string, want float64) {
		t.Helper()
		eventually(t, series, func() bool { return value(series) == want })
	}
	is(`stuck_messages{destination="kafka",outbox="test"}`, 3)
	is(`messages{destination="kafka",outbox="test",state="blocked"}`, 2)
	is(`estimated_drain_seconds{outbox="test"}`, 0)
	is(`retention_seconds{outbox="test"}`, 72*3600)
	is(`messages_discarded_total{outbox="test",via="cli"}`, 0)
	for _, at := range []string{`partitions_ahead{outbox="test"}`, `table_bytes{outbox="test",table="message_log"}`, `table_live_tuples{outbox="test",table="message_held"}`,
		`db_connections{outbox="test",pool="reader",state="idle"}`, `oldest_message_age_seconds{destination="",outbox="test",state="sent"}`} {
		eventually(t, at, func() bool { return value(at) > 0 })
	}
	got, err := r.people().Act(t.Context(), ActDiscard, []relay.ID{dead}, "test")
	if err != nil || got.Changed != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	is(`messages_discarded_total{outbox="test",via="cli"}`, 1)
	is(`stuck_messages{destination="kafka",outbox="test"}`, 0)
	r.drained()
	r.verdict(0)
}

// freeAddress is one that nobody listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// scraped is the value of a series, -1 when it is not there.
func scraped(t *testing.T, address, series string) float64 {
	res, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return -1
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return -1
	}
	found := regexp.MustCompile(`(?m)^waybill_` + regexp.QuoteMeta(series) + ` (\S+)$`).FindSubmatch(body)
	if found == nil {
		return -1
	}
	n, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Operations are counted while they run and by what became of their messages, each once, also those of the last moment.
func TestMetricsOfOperations(t *testing.T) {
	t.Parallel()
	b := newBulkRig(t, "orders")
	b.config.Metrics.Listen = freeAddress(t)
	b.dead("orders", 150, 0, 20)
	b.start("a")
	is := func(series string, want float64) {
		t.Helper()
		eventually(t, series, func() bool { return scraped(t, b.config.Metrics.Listen, series) == want })
	}
	const sent, running = `operation_items_total{action="retry",outbox="test",outcome="sent"}`, `operations_running{action="retry",outbox="test"}`
	is(sent, 0)
	is(running, 0)
	is(`operation_items_total{action="skip",outbox="test",outcome="skipped"}`, 0)
	id := b.retry(relay.Pace{Careful: true, Rate: 60, StopAt: 0.05})
	is(running, 1)
	is(sent, 150)
	is(running, 0)
	if o := b.operation(id); o.State != relay.OperationDone || o.Sent != 150 {
		t.Errorf("%+v", o)
	}
	is(sent, 150)
}

// What another owner has done is not counted again, and what a person ends between two looks is.
func TestOperatedCountsOnce(t *testing.T) {
	tel := telemetry.New(telemetry.Options{Outbox: "test", Log: slog.New(slog.DiscardHandler)})
	tel.Watch(func() relay.Status { return relay.Status{Owner: true} })
	server := httptest.NewServer(tel.Handler("/metrics", func() telemetry.Health { return telemetry.Health{} }))
	defer server.Close()
	m := newOperated(tel)
	at := strings.TrimPrefix(server.URL, "http://")
	var ended relay.Operation
	look := func(want float64, outcome string, list ...relay.Operation) {
		t.Helper()
		m.running(t.Context(), list, func(context.Context, relay.OperationID) (relay.Operation, error) {
			if ended.ID == 0 {
				return ended, relay.ErrUnavailable
			}
			return ended, nil
		})
		if got := scraped(t, at, `operation_items_total{action="`+ended.Action+`",outbox="test",outcome="`+outcome+`"}`); got != want {
			t.Errorf("%s: %v, want %v", outcome, got, want)
		}
	}
	ended.Action = relay.PlanDiscard
	o := relay.Operation{ID: 7, Action: relay.PlanDiscard, Acted: 500}
	look(0, relay.OutcomeDiscarded, o)
	o.Acted, o.Changed = 700, 2
	look(200, relay.OutcomeDiscarded, o)
	look(2, relay.OutcomeChanged) // it has gone, and cannot be asked for
	o.Acted = 750
	ended = o
	look(250, relay.OutcomeDiscarded)
	look(250, relay.OutcomeDiscarded)
	m.forget()
	ended.ID = 0
	look(250, relay.OutcomeDiscarded, o)
	o.Action, o.ID, ended.Action = relay.PlanRetry, 8, relay.PlanRetry
	look(0, relay.OutcomeSent, o)
	o.Sent, o.FailedAgain, o.Waits = 3, 2, 1
	look(3, relay.OutcomeSent, o)
	look(2, relay.OutcomeFailedAgain, o)
	if got := scraped(t, at, `operations_running{action="retry",outbox="test"}`); got != 1 {
		t.Errorf("%v run", got)
	}
}
