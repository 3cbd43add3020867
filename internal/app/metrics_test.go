package app

import (
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

// What an on-call person looks at, scraped from a relay that runs: the numbers of the database follow what happens there.
func TestMetricsOfARunningRelay(t *testing.T) {
	r := sharedRig(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.config.Metrics.Listen = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r.config.Relay.WriteLimits = false
	topic := r.topic("orders", 1, map[string]string{"max.message.bytes": "60000"})
	big := text(topic, "k")
	big.Payload = make([]byte, 90_000)
	r.publish(big)
	dead := relay.ID(r.newest())
	r.publish(text(topic, "k"), text(topic, "k"), text(topic, "other"))
	r.start("a")

	value := func(series string) float64 {
		res, err := http.Get("http://" + r.config.Metrics.Listen + "/metrics")
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
