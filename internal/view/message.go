package view

import (
	"strconv"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Row is a message in a list.
type Row struct {
	ID          string    `json:"id"`
	MessageID   string    `json:"message_id"`
	Topic       string    `json:"topic"`
	Key         string    `json:"key,omitempty"`
	Type        string    `json:"type,omitempty"`
	CreatedAt   time.Time `json:"created_at"`
	Bytes       int       `json:"payload_bytes"`
	State       string    `json:"state"`
	Detail      string    `json:"detail,omitempty"`
	Passed      bool      `json:"passed,omitempty"`
	Destination string    `json:"destination,omitempty"`
	Attempts    int       `json:"attempts"`
	NextAt      time.Time `json:"next_attempt_at,omitzero"`
	Outcome     string    `json:"outcome,omitempty"`
	Class       string    `json:"class,omitempty"`
	Code        string    `json:"error_code,omitempty"`
	Error       string    `json:"error,omitempty"`
}

// OfRow shows a message of a list.
func OfRow(m relay.MessageRow) Row {
	return Row{m.ID.String(), m.MessageID, m.Topic, m.Key, m.Type, m.CreatedAt, m.Size, m.State, m.Detail, m.Passed, m.Destination, m.Attempts, m.DueAt,
		m.Outcome, m.Class, m.Code, m.Error}
}

// Message is one message, whole.
type Message struct {
	Row
	ContentType   string    `json:"content_type,omitempty"`
	Traceparent   string    `json:"traceparent,omitempty"`
	HeaderNames   []string  `json:"header_names"`
	DeliverAfter  time.Time `json:"deliver_after,omitzero"`
	FirstFailedAt time.Time `json:"first_failed_at,omitzero"`
	SentAt        time.Time `json:"sent_at,omitzero"`
	DiscardedAt   time.Time `json:"discarded_at,omitzero"`
	DiscardedBy   string    `json:"discarded_by,omitempty"`
	Reason        string    `json:"reason,omitempty"`
	Sending       bool      `json:"sending,omitempty"`
	Before        string    `json:"before,omitempty"`
	Behind        string    `json:"behind,omitempty"`
	Head          string    `json:"waits_for,omitempty"`
	Places        []Place   `json:"places"`
}

// Place is where a message lies at a broker.
type Place struct {
	Destination string    `json:"destination"`
	Lane        string    `json:"lane"`
	Offset      string    `json:"offset,omitempty"`
	AckedAt     time.Time `json:"acked_at"`
	Epoch       string    `json:"epoch"`
	Detail      string    `json:"detail,omitempty"`
}

// OfMessage shows a message, whole.
func OfMessage(m relay.MessageInfo) Message {
	v := Message{Row: OfRow(m.MessageRow), ContentType: m.ContentType, Traceparent: m.Traceparent, HeaderNames: m.HeaderNames,
		DeliverAfter: m.DeliverAfter, FirstFailedAt: m.FirstFailedAt, DiscardedAt: m.DiscardedAt, DiscardedBy: m.DiscardedBy, Reason: m.Reason, Sending: m.Sending,
		Places: []Place{}}
	if m.HeaderNames == nil {
		v.HeaderNames = []string{}
	}
	if m.State == relay.StatePending && m.Detail == "" {
		v.Before = m.Before.String()
	}
	if m.Behind > 0 {
		v.Behind = m.Behind.String()
	}
	if m.Head != 0 {
		v.Head = m.Head.String()
	}
	for _, p := range m.Places {
		place := Place{Destination: p.Destination, Lane: p.Lane, AckedAt: p.AckedAt, Epoch: ofEpoch(p.Epoch), Detail: p.Detail}
		if p.HasOffset {
			place.Offset = strconv.FormatInt(p.Offset, 10)
		}
		v.Places, v.SentAt = append(v.Places, place), p.AckedAt
	}
	return v
}

func ofEpoch(e relay.Epoch) string { return strconv.FormatInt(int64(e), 10) }

// Attempt is one failed try.
type Attempt struct {
	N        int       `json:"n"`
	At       time.Time `json:"at"`
	Epoch    string    `json:"epoch"`
	Instance string    `json:"instance,omitempty"`
	Lane     string    `json:"lane,omitempty"`
	Outcome  string    `json:"outcome"`
	Class    string    `json:"class,omitempty"`
	Code     string    `json:"error_code,omitempty"`
	Error    string    `json:"error,omitempty"`
	TookMS   float64   `json:"took_ms"`
}

// OfAttempt shows a failed try.
func OfAttempt(a relay.AttemptInfo) Attempt {
	return Attempt{a.N, a.At, ofEpoch(a.Epoch), a.Instance, a.Lane, a.Outcome, a.Class, a.Code, a.Error, float64(a.Took.Microseconds()) / 1000}
}

// Acted is what became of an act on messages.
type Acted struct {
	Act       string   `json:"act"`
	DryRun    bool     `json:"dry_run,omitempty"`
	Activity  string   `json:"activity,omitempty"`
	Requested int      `json:"requested"`
	Changed   int      `json:"changed"`
	Sending   int      `json:"sending"`
	Other     int      `json:"other"`
	Missing   int      `json:"missing"`
	Unchanged []string `json:"unchanged"`
}

// OfActed shows the answer to an act.
func OfActed(act string, got relay.Acted) Acted {
	v := Acted{Act: act, Requested: got.Requested, Changed: got.Changed, Sending: got.Sending, Other: got.Other, Missing: got.Missing, Unchanged: []string{}}
	if got.Activity != 0 {
		v.Activity = strconv.FormatInt(got.Activity, 10)
	}
	for _, id := range got.Unchanged {
		v.Unchanged = append(v.Unchanged, id.String())
	}
	return v
}
