package view

import (
	"reflect"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Operation is a plan, or the running of it.
type Operation struct {
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

// OfOperation shows a plan or operation.
func OfOperation(o relay.Operation) Operation {
	v := Operation{o.ID.String(), o.Action, o.Filter, string(o.State), o.Cause, o.Actor, o.Reason, o.Careful, o.Rate, o.StopAt, o.PlannedAt, o.ExpiresAt, o.StartedAt, o.EndedAt,
		o.Total, o.LeftOut, o.Handled, o.Step, o.Sent, o.FailedAgain, o.Waits, o.Acted, o.Changed, ofSummary(o.Summary)}
	if o.State != relay.OperationPlanned {
		v.ExpiresAt = time.Time{}
	}
	return v
}

// ofSummary leaves out what a list does not have, and has no null in what it shows.
func ofSummary(s relay.PlanSummary) relay.PlanSummary {
	if reflect.ValueOf(s).IsZero() {
		return s
	}
	if s.States == nil {
		s.States = map[string]int{}
	}
	if s.Destinations == nil {
		s.Destinations = []relay.DestinationCount{}
	}
	if s.Failures == nil {
		s.Failures = []relay.FailureCount{}
	}
	return s
}

// OperationItem is one message of an operation.
type OperationItem struct {
	ID      string `json:"id"`
	State   string `json:"planned_as"`
	Step    int    `json:"step"`
	Outcome string `json:"outcome,omitempty"`
}

// OfOperationItem shows a message of an operation.
func OfOperationItem(x relay.OperationItem) OperationItem {
	return OperationItem{x.ID.String(), x.State, x.Step, x.Outcome}
}
