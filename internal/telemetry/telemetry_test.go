package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func observed(t *testing.T, log io.Writer) *Telemetry {
	t.Helper()
	return New(Options{Outbox: "orders", Version: "1", Destinations: []string{"kafka-a", "kafka-b"}, TopicsMax: 2, Retention: 60, Log: slog.New(slog.NewTextHandler(log, nil))})
}

func scrape(t *testing.T, tel *Telemetry) string {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Handler("/metrics", func() Health { return Health{} }).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(text, l+"\n") {
			name, _, _ := strings.Cut(l, "{")
			var near []string
			for _, s := range strings.Split(text, "\n") {
				if strings.HasPrefix(s, name) {
					near = append(near, s)
				}
			}
			t.Errorf("%s is missing; there are:\n%s", l, strings.Join(near, "\n"))
		}
	}
}

// A destination that never sent anything has its series all the same.
func TestSeriesFromTheStart(t *testing.T) {
	text := scrape(t, observed(t, io.Discard))
	for _, d := range []string{"kafka-a", "kafka-b"} {
		has(t, text,
			`waybill_messages_sent_total{destination="`+d+`",outbox="orders",topic="__other__"} 0`,
			`waybill_messages_dead_total{class="too_large",destination="`+d+`",outbox="orders",topic="__other__"} 0`,
			`waybill_publish_outcomes_total{class="",destination="`+d+`",outbox="orders",outcome="acked"} 0`,
			`waybill_publish_outcomes_total{class="timeout",destination="`+d+`",outbox="orders",outcome="unknown"} 0`,
			`waybill_possible_duplicates_total{cause="owner",destination="`+d+`",outbox="orders"} 0`,
			`waybill_delivery_latency_seconds_count{destination="`+d+`",outbox="orders"} 0`,
			`waybill_messages{destination="`+d+`",outbox="orders",state="dead"} 0`,
			`waybill_destination_up{destination="`+d+`",outbox="orders"} 1`,
			`waybill_breaker_open{destination="`+d+`",outbox="orders"} 0`)
	}
	has(t, text, `waybill_owner{outbox="orders"} 0`, `waybill_wakeups_total{cause="notify",outbox="orders"} 0`, `waybill_build_info{outbox="orders",version="1"} 1`)
}

func TestEveryMetricHasHelp(t *testing.T) {
	families, err := observed(t, io.Discard).registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", f.GetName())
		}
	}
}

func TestPublished(t *testing.T) {
	tel := observed(t, io.Discard)
	e := tel.Events()
	batch, outcomes := []*relay.Message{}, []relay.Outcome{}
	for i, topic := range []string{"a", "a", "b", "c", "d", "a"} {
		batch = append(batch, &relay.Message{ID: relay.ID(i + 1), Topic: topic, CreatedAt: time.Now().Add(-time.Second), Payload: []byte("canary"), Size: 6})
		outcomes = append(outcomes, relay.Outcome{Kind: relay.Acked})
	}
	outcomes[5] = relay.Outcome{Kind: relay.Rejected, Class: relay.ClassTooLarge}
	e.Published("kafka-a", relay.Lane{Topic: "a"}, batch, outcomes, time.Millisecond)
	has(t, scrape(t, tel),
		`waybill_messages_sent_total{destination="kafka-a",outbox="orders",topic="a"} 2`,
		`waybill_messages_sent_total{destination="kafka-a",outbox="orders",topic="b"} 1`,
		`waybill_messages_sent_total{destination="kafka-a",outbox="orders",topic="__other__"} 2`,
		`waybill_publish_outcomes_total{class="",destination="kafka-a",outbox="orders",outcome="acked"} 5`,
		`waybill_publish_outcomes_total{class="too_large",destination="kafka-a",outbox="orders",outcome="rejected"} 1`,
		`waybill_delivery_latency_seconds_count{destination="kafka-a",outbox="orders"} 5`,
		`waybill_batch_messages_count{destination="kafka-a",outbox="orders"} 1`)
}

// However many topics there are, the number of series stays below the bound that a monitoring system is promised.
func TestSeriesLimit(t *testing.T) {
	var destinations []string
	for i := range 8 {
		destinations = append(destinations, fmt.Sprintf("kafka-%d", i))
	}
	tel := New(Options{Outbox: "orders", Destinations: destinations, TopicsMax: 100, Log: slog.New(slog.DiscardHandler)})
	e := tel.Events()
	for i := range 10_000 {
		m := &relay.Message{Topic: fmt.Sprintf("topic-%d", i), CreatedAt: time.Now()}
		d := destinations[i%8]
		e.Published(d, relay.Lane{}, []*relay.Message{m}, []relay.Outcome{{Kind: relay.Acked}}, 0)
		e.Held(d, m.Topic, relay.Dead, &relay.Failure{Outcome: relay.Rejected, Class: relay.ClassInvalid})
	}
	if n := strings.Count(scrape(t, tel), "\nwaybill_"); n >= 5000 {
		t.Errorf("%d series", n)
	}
}

func TestGauges(t *testing.T) {
	tel := observed(t, io.Discard)
	tel.Watch(func() relay.Status {
		return relay.Status{Owner: true, Epoch: 7, Trust: 20 * time.Second, LowWater: 90, ReadUpTo: 100, Holes: 2, ClosedKeys: 3, Ahead: 9,
			Destinations: []relay.DestinationState{{Name: "kafka-a", BreakerOpen: true, Queued: 5, InFlight: 4, LanesBehind: 1, Topics: map[string]relay.Outcome{"x": {}}, Stopped: &relay.PausedDestination{Actor: "a"}}}}
	})
	tel.SetCounts(Counts{At: time.Now(), Pending: 12, TooOld: 3, Held: map[string]map[relay.HeldState]float64{"kafka-a": {relay.Dead: 2, relay.Blocked: 4}}, Ahead: 2,
		Tables: []Table{{"message_log", 4096, 10, 1}}, Sessions: []Sessions{{"reader", "idle", 1}}})
	tel.Acted("discard", "cli", 7)
	tel.Acted("note", "cli", 7) // not an act on messages
	tel.Late(2)
	tel.PartitionsDropped(3)
	has(t, scrape(t, tel), `waybill_stuck_messages{destination="kafka-a",outbox="orders"} 6`, `waybill_stuck_messages{destination="",outbox="orders"} 3`,
		`waybill_partitions_ahead{outbox="orders"} 2`, `waybill_table_bytes{outbox="orders",table="message_log"} 4096`, `waybill_retention_seconds{outbox="orders"} 60`,
		`waybill_table_live_tuples{outbox="orders",table="message_log"} 10`, `waybill_table_dead_tuples{outbox="orders",table="message_log"} 1`,
		`waybill_db_connections{outbox="orders",pool="reader",state="idle"} 1`, `waybill_messages_discarded_total{outbox="orders",via="cli"} 7`,
		`waybill_messages_retried_total{outbox="orders",via="cli"} 0`, `waybill_late_rows_total{outbox="orders"} 2`, `waybill_partitions_dropped_total{outbox="orders"} 3`)
	has(t, scrape(t, tel), `waybill_owner{outbox="orders"} 1`, `waybill_owner_epoch{outbox="orders"} 7`, `waybill_lease_remaining_seconds{outbox="orders"} 20`,
		`waybill_low_water_mark_lag_ids{outbox="orders"} 10`, `waybill_holes{outbox="orders"} 2`, `waybill_blocked_keys{outbox="orders"} 3`,
		`waybill_pending_messages{outbox="orders"} 12`,
		`waybill_messages{destination="kafka-a",outbox="orders",state="pending"} 9`, `waybill_messages{destination="kafka-a",outbox="orders",state="dead"} 2`,
		`waybill_breaker_open{destination="kafka-a",outbox="orders"} 1`, `waybill_destination_up{destination="kafka-a",outbox="orders"} 0`,
		`waybill_destination_paused{destination="kafka-a",outbox="orders",reason="config"} 1`, `waybill_destination_paused{destination="kafka-a",outbox="orders",reason="person"} 1`, `waybill_lanes_behind{destination="kafka-a",outbox="orders"} 1`)
}

// Who lost the outbox says nothing any more about what it once counted there: the new owner does.
func TestCountsEndWithOwnership(t *testing.T) {
	tel := observed(t, io.Discard)
	tel.Watch(func() relay.Status { return relay.Status{} })
	tel.SetCounts(Counts{At: time.Now(), Pending: 12, Held: map[string]map[relay.HeldState]float64{"kafka-a": {relay.Dead: 2}}, Ahead: 2})
	text := scrape(t, tel)
	has(t, text, `waybill_pending_messages{outbox="orders"} 0`, `waybill_messages{destination="kafka-a",outbox="orders",state="dead"} 0`)
	if strings.Contains(text, "waybill_partitions_ahead") {
		t.Error("a standby warns of missing partitions")
	}
}

func TestDrainTime(t *testing.T) {
	at := time.Now()
	count := func(after time.Duration, backlog int64, age time.Duration) Counts {
		return Counts{At: at.Add(after), Backlog: backlog, OldestAt: at.Add(after - age)}
	}
	for name, c := range map[string]struct {
		older, newer Counts
		want         float64
	}{
		"nothing waits":         {count(0, 100, time.Hour), Counts{At: at.Add(15 * time.Second)}, 0},
		"it keeps up":           {count(0, 90, time.Second), count(15*time.Second, 100, time.Second), 0},
		"the first count":       {Counts{}, count(15*time.Second, 100, time.Hour), math.Inf(1)},
		"it grows":              {count(0, 100, time.Hour), count(15*time.Second, 101, time.Hour), math.Inf(1)},
		"it stands":             {count(0, 100, time.Hour), count(15*time.Second, 100, time.Hour), math.Inf(1)},
		"it shrinks by 10 in 1": {count(0, 1000, time.Hour), count(15*time.Second, 850, time.Hour), 85},
		"the same moment":       {count(0, 100, time.Hour), count(0, 50, time.Hour), math.Inf(1)},
	} {
		if got := drainTime(c.older, c.newer); got != c.want {
			t.Errorf("%s: %v s, want %v", name, got, c.want)
		}
	}
}

func TestEventLines(t *testing.T) {
	var log bytes.Buffer
	tel := observed(t, &log)
	e := tel.Events()
	e.Acquired(relay.Lease{Epoch: 7})
	e.Breaker("kafka-a", true, relay.Outcome{Kind: relay.Unavailable, Class: relay.ClassUnreachable, Detail: "connection refused"})
	e.Paused("kafka-a", relay.Lane{Topic: "x"}, relay.ScopeTopic, relay.Outcome{Kind: relay.Config, Class: relay.ClassUnknownTopic, Detail: "create it"})
	e.Resumed("kafka-a", relay.Lane{Topic: "x"}, relay.ScopeTopic)
	e.Held("kafka-a", "order.paid", relay.Dead, &relay.Failure{Outcome: relay.Rejected, Class: relay.ClassTooLarge, Text: "too big"})
	e.Held("kafka-a", "order.paid", relay.Blocked, nil)
	e.Reborn(errors.New("restarted"))
	e.Failed("read", errors.New("gone"))
	e.Lost(7, relay.ErrFenced)
	e.Lost(8, nil)
	e.Read(3, time.Millisecond)
	e.Claimed(3, time.Millisecond)
	e.Settled(3, 1, time.Millisecond)
	e.Repeats("kafka-a", "owner", 4)
	e.Woken("poll")
	for _, want := range []string{"epoch=7", `err="connection refused"`, `scope=topic lane=x/0`, "class=too_large", `err=gone`, "gave the outbox back"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not said:\n%s", want, log.String())
		}
	}
	has(t, scrape(t, tel), `waybill_fenced_total{outbox="orders"} 1`, `waybill_reborn_total{outbox="orders"} 1`, `waybill_db_errors_total{op="read",outbox="orders"} 1`,
		`waybill_messages_held_total{class="none",destination="kafka-a",outbox="orders",topic="order.paid"} 1`,
		`waybill_messages_dead_total{class="too_large",destination="kafka-a",outbox="orders",topic="order.paid"} 1`,
		`waybill_possible_duplicates_total{cause="owner",destination="kafka-a",outbox="orders"} 4`, `waybill_messages_settled_total{outbox="orders"} 3`)
}

func TestLogLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		l := NewLogger(&out, LogOptions{Format: "json", PerClassMax: 10, Outbox: "orders", Instance: "relay-1"})
		for range 4221 {
			l.Warn("it fails", "n", 1)
		}
		l.Warn("another")
		synctest.Wait()
		if n := strings.Count(out.String(), "it fails"); n != 10 {
			t.Errorf("%d lines at once", n)
		}
		time.Sleep(summaryAfter + time.Second) // simulated
		synctest.Wait()
		if s := out.String(); !strings.Contains(s, "said 4211 times more in 1m0s") || !strings.Contains(s, `"instance":"relay-1","repeated"`) {
			t.Error(s)
		}
		for range 15 {
			l.Warn("it fails")
		}
		l.Close()
		if s := out.String(); !strings.Contains(s, "said 5 times more") || strings.Count(s, `"another"`) != 1 {
			t.Errorf("after close: %s", s)
		}
		l.Warn("late") // nothing breaks
	})
}

func TestLogHides(t *testing.T) {
	var out lockedBuffer
	l := NewLogger(&out, LogOptions{Format: "auto"})
	l.Info("x", "key", "canary", "payload", []byte("canary"), "URL", "canary", slog.Group("g", "headers", "canary"), "topic", "t")
	l.Debug("not at this level")
	l.Close()
	s := out.String()
	var line map[string]any
	if err := json.Unmarshal([]byte(s), &line); err != nil || line["topic"] != "t" || line["key"] != "***" {
		t.Errorf("%v: %s", err, s)
	}
	if strings.Contains(s, "canary") || strings.Contains(s, "not at this level") {
		t.Error(s)
	}
	if ParseLevel("warn") != slog.LevelWarn || ParseLevel("loud") != slog.LevelInfo {
		t.Error("levels")
	}
}

// A pipe that nobody reads does not block whoever logs; what did not fit is counted.
func TestBlockedPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{open: make(chan struct{})}
		l := NewLogger(p, LogOptions{Format: "text"})
		for range writerLines + 100 {
			l.Info("x")
		}
		close(p.open)
		l.Close()
		if s := p.String(); !strings.Contains(s, "log lines were dropped") {
			t.Error("what was dropped is not said")
		}
	})
}

type pipe struct {
	lockedBuffer
	open chan struct{}
}

func (p *pipe) Write(b []byte) (int, error) {
	<-p.open
	return p.lockedBuffer.Write(b)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
