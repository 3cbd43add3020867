package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// The views are the contract of -o json: 64-bit numbers are text, times RFC 3339 in UTC, what is not known is left out.

type messageView struct {
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

func viewRow(m relay.MessageRow) messageView {
	return messageView{m.ID.String(), m.MessageID, m.Topic, m.Key, m.Type, m.CreatedAt, m.Size, m.State, m.Detail, m.Passed, m.Destination, m.Attempts, m.DueAt,
		m.Outcome, m.Class, m.Code, m.Error}
}

type messageInfoView struct {
	messageView
	ContentType   string      `json:"content_type,omitempty"`
	Traceparent   string      `json:"traceparent,omitempty"`
	HeaderNames   []string    `json:"header_names"`
	DeliverAfter  time.Time   `json:"deliver_after,omitzero"`
	FirstFailedAt time.Time   `json:"first_failed_at,omitzero"`
	SentAt        time.Time   `json:"sent_at,omitzero"`
	DiscardedAt   time.Time   `json:"discarded_at,omitzero"`
	DiscardedBy   string      `json:"discarded_by,omitempty"`
	Reason        string      `json:"reason,omitempty"`
	Sending       bool        `json:"sending,omitempty"`
	Before        string      `json:"before,omitempty"`
	Behind        string      `json:"behind,omitempty"`
	Head          string      `json:"waits_for,omitempty"`
	Places        []placeView `json:"places"`
}

type placeView struct {
	Destination string    `json:"destination"`
	Lane        string    `json:"lane"`
	Offset      string    `json:"offset,omitempty"`
	AckedAt     time.Time `json:"acked_at"`
	Epoch       string    `json:"epoch"`
	Detail      string    `json:"detail,omitempty"`
}

func viewMessage(m relay.MessageInfo) messageInfoView {
	v := messageInfoView{messageView: viewRow(m.MessageRow), ContentType: m.ContentType, Traceparent: m.Traceparent, HeaderNames: m.HeaderNames,
		DeliverAfter: m.DeliverAfter, FirstFailedAt: m.FirstFailedAt, DiscardedAt: m.DiscardedAt, DiscardedBy: m.DiscardedBy, Reason: m.Reason, Sending: m.Sending,
		Places: []placeView{}}
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
		place := placeView{Destination: p.Destination, Lane: p.Lane, AckedAt: p.AckedAt, Epoch: strconv.FormatInt(int64(p.Epoch), 10), Detail: p.Detail}
		if p.HasOffset {
			place.Offset = strconv.FormatInt(p.Offset, 10)
		}
		v.Places, v.SentAt = append(v.Places, place), p.AckedAt
	}
	return v
}

type attemptView struct {
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

func viewAttempt(a relay.AttemptInfo) attemptView {
	return attemptView{a.N, a.At, strconv.FormatInt(int64(a.Epoch), 10), a.Instance, a.Lane, a.Outcome, a.Class, a.Code, a.Error, float64(a.Took.Microseconds()) / 1000}
}

type keyView struct {
	Topic    string    `json:"topic"`
	Key      string    `json:"key"`
	Head     string    `json:"head"`
	State    string    `json:"head_state"`
	Class    string    `json:"class,omitempty"`
	Error    string    `json:"error,omitempty"`
	Since    time.Time `json:"since"`
	NextAt   time.Time `json:"next_attempt_at,omitzero"`
	Attempts int       `json:"attempts"`
	Behind   string    `json:"behind"`
}

func viewKey(k relay.KeyInfo) keyView {
	return keyView{k.Topic, k.Key.Key, k.Head.String(), string(k.State), k.Class, k.Error, k.Since, k.DueAt, k.Attempts, k.Behind.String()}
}

type actView struct {
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

// stateOf is a message's state in one word.
func stateOf(m relay.MessageRow) string {
	if m.Detail != "" {
		return m.Detail
	}
	return m.State
}

// clock writes a moment for people; empty = none.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000Z")
}

func age(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := now.Sub(t)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

type operationView struct {
	ID          string            `json:"id"`
	Action      string            `json:"action"`
	Filter      string            `json:"filter"`
	State       string            `json:"state"`
	Cause       string            `json:"cause,omitempty"`
	Actor       string            `json:"actor"`
	Reason      string            `json:"reason,omitempty"`
	Careful     bool              `json:"careful"`
	Rate        int               `json:"rate,omitempty"`
	StopAt      float64           `json:"stop_at"`
	PlannedAt   time.Time         `json:"planned_at"`
	ExpiresAt   time.Time         `json:"expires_at,omitzero"`
	StartedAt   time.Time         `json:"started_at,omitzero"`
	EndedAt     time.Time         `json:"ended_at,omitzero"`
	Total       int               `json:"total"`
	LeftOut     int               `json:"left_out"`
	Handled     int               `json:"handled"`
	Step        int               `json:"step"`
	Sent        int               `json:"sent"`
	FailedAgain int               `json:"failed_again"`
	Waits       int               `json:"waits"`
	Acted       int               `json:"acted"`
	Changed     int               `json:"changed"`
	Plan        relay.PlanSummary `json:"plan,omitzero"`
}

func viewOperation(o relay.Operation) operationView {
	v := operationView{o.ID.String(), o.Action, o.Filter, string(o.State), o.Cause, o.Actor, o.Reason, o.Careful, o.Rate, o.StopAt, o.PlannedAt, o.ExpiresAt, o.StartedAt, o.EndedAt,
		o.Total, o.LeftOut, o.Handled, o.Step, o.Sent, o.FailedAgain, o.Waits, o.Acted, o.Changed, o.Summary}
	if o.State != relay.OperationPlanned {
		v.ExpiresAt = time.Time{}
	}
	return v
}

type operationItemView struct {
	ID      string `json:"id"`
	State   string `json:"planned_as"`
	Step    int    `json:"step"`
	Outcome string `json:"outcome,omitempty"`
}
