package app

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

var whyNow = time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)

// healthy is an outbox with an owner and nothing in the way.
func healthy() *relay.Overview {
	return &relay.Overview{Now: whyNow, Epoch: 7, Owner: "relay-1-ab12", Alive: true, LeaseUntil: whyNow.Add(28 * time.Second), LastID: 100, FirstID: 10, LowWater: 50,
		ReadUpTo: 100, Claimed: 60, Held: map[relay.HeldState]relay.Count{},
		Relays: []relay.RelayInfo{{Instance: "relay-1", Destinations: map[string]relay.DestinationStatus{"kafka-a": {State: relay.DestinationClosed}}}, {Instance: "relay-2"}}}
}

func with(change func(*relay.Overview)) *relay.Overview {
	o := healthy()
	change(o)
	return o
}

func reports(state string) *relay.Overview {
	return with(func(o *relay.Overview) {
		o.Relays[0].Destinations["kafka-a"] = relay.DestinationStatus{State: state, Since: whyNow.Add(-time.Minute), Detail: "the detail"}
		o.Pending = 3
	})
}

func message(change func(*relay.MessageInfo)) *relay.MessageInfo {
	m := &relay.MessageInfo{MessageRow: relay.MessageRow{ID: 70, Topic: "order.paid", Key: "4711", State: relay.StatePending, CreatedAt: whyNow.Add(-10 * time.Second)}}
	change(m)
	return m
}

func TestWhy(t *testing.T) {
	toKafka := &Routed{Route: "all", Destination: "kafka-a", Certain: true}
	dead := message(func(m *relay.MessageInfo) {
		m.State, m.Outcome, m.Class, m.Code, m.Error, m.Destination, m.Attempts, m.Behind = "dead", "rejected", relay.ClassTooLarge, "kafka/MESSAGE_TOO_LARGE", "too big", "kafka-a", 1, 212
	})
	retrying := message(func(m *relay.MessageInfo) {
		m.Detail, m.Destination, m.Outcome, m.Class, m.Attempts, m.DueAt = "retrying", "kafka-a", "unknown", "timeout", 2, whyNow.Add(12*time.Second)
	})
	blocked := message(func(m *relay.MessageInfo) { m.ID, m.Detail, m.Head, m.HeadState = 71, "blocked", 70, relay.Dead })
	plain := message(func(*relay.MessageInfo) {})
	late := message(func(m *relay.MessageInfo) { m.CreatedAt, m.Before = whyNow.Add(-time.Hour), 40 })
	scheduled := message(func(m *relay.MessageInfo) {
		m.Detail, m.DeliverAfter, m.DueAt = "scheduled", whyNow.Add(time.Hour), whyNow.Add(time.Hour)
	})
	paused := func(names ...string) *relay.Overview {
		return with(func(o *relay.Overview) {
			o.Pending = 3
			for _, name := range names {
				o.Paused = append(o.Paused, relay.PausedDestination{Destination: name, At: whyNow.Add(-14 * time.Minute), Actor: "cli:ben@host", Reason: "rebalance until 12:00"})
			}
		})
	}
	key := relay.Key{Topic: "order.paid", Key: "4711"}
	seen := map[Verdict]bool{}
	for name, c := range map[string]struct {
		s    Snapshot
		want Verdict
		text string // in evidence or next
	}{
		"ok":                   {Snapshot{Overview: healthy()}, WhyOK, "0 messages are pending"},
		"database down":        {Snapshot{Database: errors.New("connection refused")}, WhyDatabase, "connection refused"},
		"database, message":    {Snapshot{Ref: "7", Database: errors.New("connection refused")}, WhyDatabase, ""},
		"no owner ever":        {Snapshot{Overview: &relay.Overview{Now: whyNow}}, WhyNoOwner, "waybill run"},
		"no owner, released":   {Snapshot{Overview: with(func(o *relay.Overview) { o.Alive, o.Released = false, true })}, WhyNoOwner, "gave it back"},
		"no owner, expired":    {Snapshot{Overview: with(func(o *relay.Overview) { o.Alive, o.LeaseUntil = false, whyNow.Add(-time.Minute) })}, WhyNoOwner, "ended 1m0s ago"},
		"no owner, message":    {Snapshot{Ref: "70", Message: plain, Overview: with(func(o *relay.Overview) { o.Alive = false })}, WhyNoOwner, "standbys seen: relay-1, relay-2"},
		"owner stalled":        {Snapshot{Lease: 30 * time.Second, Overview: with(func(o *relay.Overview) { o.LeaseUntil = whyNow.Add(14 * time.Second) })}, WhyStalled, "renewed its lease 16s ago"},
		"breaker":              {Snapshot{Overview: reports(relay.DestinationOpen)}, WhyBreakerOpen, "the detail"},
		"breaker, message":     {Snapshot{Ref: "70", Message: plain, Routed: toKafka, Overview: reports(relay.DestinationOpen)}, WhyBreakerOpen, "lose no attempt"},
		"breaker, retrying":    {Snapshot{Ref: "70", Message: retrying, Overview: reports(relay.DestinationOpen)}, WhyBreakerOpen, ""},
		"breaker, destination": {Snapshot{Destination: "kafka-a", Overview: reports(relay.DestinationOpen)}, WhyBreakerOpen, ""},
		"config":               {Snapshot{Overview: reports(relay.DestinationConfig)}, WhyConfig, "the detail"},
		"some lanes":           {Snapshot{Overview: reports(relay.DestinationPartly)}, WhyPartly, "the detail"},
		"paused":               {Snapshot{Overview: paused("kafka-a")}, WhyPaused, "kafka-a is paused by cli:ben@host since 2026-01-31T09:46:00Z (14 min) because: rebalance until 12:00"},
		"paused, next":         {Snapshot{Overview: paused("kafka-a")}, WhyPaused, "waybill destination resume kafka-a"},
		"paused, all":          {Snapshot{Overview: paused("")}, WhyPaused, "waybill destination resume --all"},
		"paused, destination":  {Snapshot{Destination: "kafka-a", Overview: paused("kafka-a")}, WhyPaused, "14 min"},
		"paused, message":      {Snapshot{Ref: "70", Message: plain, Routed: toKafka, Overview: paused("kafka-a")}, WhyPaused, "lose no attempt"},
		"paused, all, unknown": {Snapshot{Ref: "70", Message: plain, Overview: paused("")}, WhyPaused, "all destinations"},
		"paused elsewhere":     {Snapshot{Ref: "70", Message: plain, Routed: toKafka, Overview: paused("rabbit")}, WhyQueued, "0 pending"},
		"paused, still told":   {Snapshot{Overview: reports(relay.DestinationPaused)}, WhyOK, "3 messages"},
		"paused and dead":      {Snapshot{Overview: with(func(o *relay.Overview) { o.Held[relay.Dead], o.Paused = 3, paused("kafka-a").Paused })}, WhyDead, "what people have paused"},
		"destination ok":       {Snapshot{Destination: "kafka-a", Overview: healthy()}, WhyOK, "kafka-a takes messages"},
		"destination no owner": {Snapshot{Destination: "kafka-a", Overview: with(func(o *relay.Overview) { o.Alive = false })}, WhyNoOwner, ""},
		"outbox dead":          {Snapshot{Overview: with(func(o *relay.Overview) { o.Held[relay.Dead] = 3; o.Closed = 1 })}, WhyDead, "waybill message list state:dead"},
		"outbox behind":        {Snapshot{Stuck: time.Minute, Overview: with(func(o *relay.Overview) { o.OldestAt, o.Pending = whyNow.Add(-time.Hour), relay.CountCap+1 })}, WhyBehind, "10000+ are pending"},
		"no route":             {Snapshot{Ref: "70", Message: plain, Routed: &Routed{Nearest: `"orders" (topic "orders.*" does not match)`}, Overview: healthy()}, WhyNoRoute, "the nearest is"},
		"sent": {Snapshot{Ref: "70", Overview: healthy(), Message: message(func(m *relay.MessageInfo) {
			m.State = "sent"
			m.Places = []relay.Place{{Destination: "kafka-a", Lane: "order.paid/3", Offset: 41, HasOffset: true, AckedAt: whyNow, Epoch: 7}}
		})}, WhySent, "order.paid/3 at offset 41"},
		"sent, receipt gone": {Snapshot{Ref: "70", Overview: healthy(), Message: message(func(m *relay.MessageInfo) { m.State = "sent" })}, WhySent, "receipt was already dropped"},
		"queued":             {Snapshot{Ref: "70", Message: plain, Routed: toKafka, Overview: healthy(), Stuck: time.Minute}, WhyQueued, "0 pending messages are before it"},
		"queued, quiet":      {Snapshot{Ref: "70", Message: plain, Overview: with(func(o *relay.Overview) { o.QuietUntil = whyNow.Add(4 * time.Second) })}, WhyQueued, "another 4s"},
		"in flight":          {Snapshot{Ref: "70", Overview: healthy(), Message: message(func(m *relay.MessageInfo) { m.Claimed = true })}, WhyInFlight, "not settled yet"},
		"in flight, held":    {Snapshot{Ref: "70", Overview: healthy(), Message: message(func(m *relay.MessageInfo) { m.Detail, m.Sending, m.Destination = "retrying", true, "kafka-a" })}, WhyInFlight, "handed to kafka-a"},
		"behind":             {Snapshot{Ref: "70", Message: late, Stuck: time.Minute, Overview: healthy()}, WhyBehind, "40 pending messages"},
		"scheduled":          {Snapshot{Ref: "70", Message: scheduled, Overview: with(func(o *relay.Overview) { o.Alive = false })}, WhyScheduled, "in 60 min"},
		"retrying":           {Snapshot{Ref: "70", Message: retrying, MaxAttempts: 20, Overview: healthy()}, WhyRetrying, "attempt 3 of 20 comes within 12s"},
		"dead":               {Snapshot{Ref: "70", Message: dead, Overview: healthy()}, WhyDead, "holds back 212 later messages"},
		"dead, passed":       {Snapshot{Ref: "70", Overview: healthy(), Message: message(func(m *relay.MessageInfo) { m.State, m.Passed = "dead", true })}, WhyDead, "goes on without it"},
		"blocked":            {Snapshot{Ref: "71", Message: blocked, Head: dead, Overview: healthy()}, WhyBlocked, "message retry 70"},
		"key":                {Snapshot{Key: key, KeyInfo: &relay.KeyInfo{Key: key, Head: 70, State: relay.Dead, Behind: 212}, KeyInfoOf: dead, Overview: healthy()}, WhyBlocked, "MESSAGE_TOO_LARGE"},
		"key open":           {Snapshot{Key: key, Overview: healthy()}, WhyOK, "the key is open"},
		"discarded":          {Snapshot{Ref: "70", Overview: healthy(), Message: message(func(m *relay.MessageInfo) { m.State, m.DiscardedBy, m.Reason = "discarded", "ana", "test" })}, WhyDiscarded, "given up by ana: test"},
		"removed":            {Snapshot{Ref: "5", RefID: 5, Overview: healthy()}, WhyRemoved, "lowest id kept is 10"},
		"never drawn":        {Snapshot{Ref: "500", RefID: 500, Overview: healthy()}, WhyUnknownID, "never drawn"},
		"gap":                {Snapshot{Ref: "50", RefID: 50, Overview: healthy()}, WhyUnknownID, "Gaps in ids are normal"},
		"unknown message id": {Snapshot{Ref: "x", Overview: healthy()}, WhyUnknownID, "never committed"},
	} {
		seen[c.want] = true
		t.Run(name, func(t *testing.T) {
			got := Why(c.s)
			if got.Verdict != c.want {
				t.Errorf("verdict %q, want %q: %+v", got.Verdict, c.want, got)
			}
			if all := strings.Join(append(got.Evidence, got.Next...), "\n"); !strings.Contains(all, c.text) {
				t.Errorf("%q is not said:\n%s", c.text, all)
			}
			if len(got.Evidence) == 0 {
				t.Error("no evidence")
			}
			if !got.Verdict.Healthy() && got.Verdict != WhyUnknownID && len(got.Next) == 0 {
				t.Error("no next step")
			}
		})
	}
	for _, v := range Verdicts {
		if !seen[v] {
			t.Errorf("%s has no case", v)
		}
	}
}
