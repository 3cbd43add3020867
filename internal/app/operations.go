package app

import (
	"context"
	"errors"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// How the owner runs operations.
const (
	operationsIdle = time.Second            // between two looks for something that runs
	operationsBusy = 100 * time.Millisecond // the shortest pause between two turns: 5,000 messages a second at most
	operationsKeep = 30 * 24 * time.Hour    // items and outcomes of operations that ended
)

// operate runs what people have started, while this relay is the owner. The place of each operation lies in the database, so a crash or another owner goes on
// where the last transaction ended.
func (c *chores) operate() {
	rates, metrics, said := map[relay.OperationID]*tokens{}, newOperated(c.tel), ""
	for wait := operationsIdle; pause(c.ctx, wait); {
		began := time.Now()
		running, err := c.turn(rates, metrics)
		switch {
		case c.ctx.Err() != nil:
			return
		case err != nil && !errors.Is(err, relay.ErrBusy):
			if err.Error() != said {
				said = err.Error()
				c.log.Warn("operations wait and go on later", "err", err)
			}
			wait = schemaEvery
			var wrong *relay.ConfigError
			if !errors.As(err, &wrong) {
				wait = 2 * operationsIdle
			}
		case running:
			said = ""
			wait = max(operationsBusy, time.Since(began)) // never more than half of the time at work
		default:
			wait = operationsIdle
		}
	}
}

// turn gives each running operation one transaction of its own.
func (c *chores) turn(rates map[relay.OperationID]*tokens, metrics *operated) (running bool, err error) {
	if !c.e.relay.Status().Owner {
		metrics.forget()
		return false, nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	list, err := c.look.Running(ctx)
	if err != nil {
		return false, err
	}
	metrics.running(ctx, list, c.look.Operation)
	if len(list) == 0 && len(rates) > 0 {
		clear(rates)
		c.e.store.RestOperations()
	}
	var errs []error
	for i := range list {
		o := &list[i]
		if rates[o.ID] == nil {
			rates[o.ID] = &tokens{rate: o.Rate, at: time.Now()}
		}
		errs = append(errs, c.advance(ctx, o, rates[o.ID]))
	}
	return len(list) > 0, errors.Join(errs...)
}

// advance does one thing for an operation: acts on its next messages, looks at what became of the last ones, or ends it.
func (c *chores) advance(ctx context.Context, o *relay.Operation, rate *tokens) error {
	if o.Action == relay.PlanRetry && o.StepJudged < o.StepHandled {
		judged, err := c.e.store.JudgeOperation(ctx, o.ID)
		if err == nil && judged > 0 {
			*o, err = c.look.Operation(ctx, o.ID)
		}
		if err != nil || o.State != relay.OperationRunning {
			return err
		}
	}
	m := o.Next(rate.allowed(time.Now()))
	if m.End != "" {
		err := c.e.store.EndOperation(ctx, o.ID, m.End, m.Cause)
		if err == nil {
			c.log.Info("an operation ended", "operation", o.ID, "state", m.End, "cause", m.Cause)
		}
		return err
	}
	if m.Act == 0 {
		return nil
	}
	acted, err := c.e.store.StepOperation(ctx, o, m)
	rate.take(acted)
	return err
}

// tokens is a bucket of one second's messages.
type tokens struct {
	rate int // messages a second, 0 = no limit
	have float64
	at   time.Time
}

// allowed is how many messages may be handled now.
func (t *tokens) allowed(now time.Time) int {
	if t.rate == 0 {
		return relay.MaxActed
	}
	t.have = min(t.have+now.Sub(t.at).Seconds()*float64(t.rate), float64(t.rate))
	t.at = now
	return int(t.have)
}

func (t *tokens) take(n int) {
	if t.rate > 0 {
		t.have -= float64(n)
	}
}
