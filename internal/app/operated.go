package app

import (
	"context"
	"errors"

	"github.com/waybillmq/waybill/internal/telemetry"
	"github.com/waybillmq/waybill/relay"
)

// operated feeds the metrics of operations from the rows that the owner looks at anyway. It belongs to the goroutine that runs operations.
type operated struct {
	tel  *telemetry.Telemetry
	seen map[relay.OperationID]relay.Operation // as they stood at the last look
}

func newOperated(tel *telemetry.Telemetry) *operated {
	return &operated{tel: tel, seen: map[relay.OperationID]relay.Operation{}}
}

// forget begins anew: what happened while another relay was the owner, that one has counted.
func (m *operated) forget() {
	clear(m.seen)
	m.tel.SetOperations(nil)
}

// running takes what runs now. One that has gone since is asked for once more: its last outcomes came behind the last look.
func (m *operated) running(ctx context.Context, list []relay.Operation, ask func(context.Context, relay.OperationID) (relay.Operation, error)) {
	now, count := map[relay.OperationID]bool{}, map[string]int{}
	for _, o := range list {
		now[o.ID] = true
		count[o.Action]++
		m.note(o)
	}
	m.tel.SetOperations(count)
	for id := range m.seen {
		if now[id] {
			continue
		}
		o, err := ask(ctx, id)
		if err == nil {
			m.note(o)
		}
		if err == nil || errors.Is(err, relay.ErrNotFound) {
			delete(m.seen, id)
		}
	}
}

// note counts what an operation has come to since the last look; the first look only remembers.
func (m *operated) note(o relay.Operation) {
	if was, ok := m.seen[o.ID]; ok {
		before := outcomesOf(was)
		for outcome, n := range outcomesOf(o) {
			m.tel.Operated(o.Action, outcome, n-before[outcome])
		}
	}
	m.seen[o.ID] = o
}

// outcomesOf are the messages of an operation by outcome, as its metric names them.
func outcomesOf(o relay.Operation) map[string]int {
	switch o.Action {
	case relay.PlanSkip:
		return map[string]int{relay.OutcomeSkipped: o.Acted, relay.OutcomeChanged: o.Changed}
	case relay.PlanDiscard:
		return map[string]int{relay.OutcomeDiscarded: o.Acted, relay.OutcomeChanged: o.Changed}
	default:
		return map[string]int{relay.OutcomeSent: o.Sent, relay.OutcomeFailedAgain: o.FailedAgain, relay.OutcomeWaits: o.Waits, relay.OutcomeChanged: o.Changed}
	}
}
