package app

import (
	"context"
	"errors"

	"github.com/waybillmq/waybill/relay"
)

// Plan fixes which messages match a filter now and what would be done to them; nothing has happened yet.
func (p *People) Plan(ctx context.Context, name ActName, f relay.Filter, text string) (relay.Operation, error) {
	return p.operator.Plan(ctx, relay.PlanRequest{Action: string(name), Filter: f, Text: text}, relay.Act{Actor: Actor(), Via: "cli"})
}

// StartPlan lets the owner begin with a plan. It says whether there is an owner: without one the operation begins when there is.
func (p *People) StartPlan(ctx context.Context, id relay.OperationID, pace relay.Pace, reason string) (owned bool, err error) {
	if err := p.operator.Start(ctx, id, pace, relay.Act{Actor: Actor(), Via: "cli", Reason: reason}); err != nil {
		return false, err
	}
	o, err := p.Overview(ctx)
	return o.Alive, err
}

// Steer pauses, resumes or stops an operation.
func (p *People) Steer(ctx context.Context, id relay.OperationID, verb relay.Verb, reason string) error {
	return p.operator.Steer(ctx, id, verb, relay.Act{Actor: Actor(), Via: "cli", Reason: reason})
}

// Withdraw takes back a plan that is not to be started; one that is no plan any more is left alone.
func (p *People) Withdraw(ctx context.Context, id relay.OperationID) error {
	err := p.Steer(ctx, id, relay.Stop, "not started")
	var state *relay.StateError
	if errors.As(err, &state) {
		return nil
	}
	return err
}
