package app

import (
	"context"
	"fmt"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/relay"
)

// demoTightTopic is the topic whose limit is lowered, demoTightBatch what is left of it: a third of the shop's orders do not pass.
const (
	demoTightTopic = "order.paid"
	demoTightBatch = 2576
)

// demoTooLarge means what died of it.
const demoTooLarge = "state:dead class:too_large"

// breakMessage lets the broker refuse large orders. The outbox learns of a limit only every ten minutes, so outbox.publish still takes them.
func (f *faults) breakMessage(_ context.Context, say sayer) error {
	if f.broker.limited(demoTightTopic) {
		return notNow("the limit of topic %s is low already: waybill demo fix message restores it", demoTightTopic)
	}
	f.broker.limit(demoTightTopic, demoTightBatch)
	t, _ := whicheverNode{f.broker}.Topic(demoTightTopic)
	say("  ✓ the broker takes messages of %d bytes at most in topic %s now. Larger orders become dead, and later ones of their customers wait behind them; everything", waybillbroker.Largest(t), demoTightTopic)
	say("    else flows. see it on the dashboard: http://%s   put it right: waybill demo fix message", f.pages())
	return nil
}

// fixMessage restores the limit, and says how what died of it is sent.
func (f *faults) fixMessage(ctx context.Context, say sayer) error {
	if !f.broker.limited(demoTightTopic) {
		return notNow("the limit is as usual: waybill demo break message lowers it; waybill demo fix message --retry retries what died of it")
	}
	if f.databaseDown() {
		return errDatabaseFirst
	}
	if err := f.restoreLimit(ctx); err != nil {
		return err
	}
	o, err := f.people.Overview(ctx)
	if err != nil {
		return err
	}
	say("  ✓ the limit of topic %s is restored. %s messages are dead, %s keys are closed with %s messages behind them", demoTightTopic, o.Held[relay.Dead], o.Closed, o.Held[relay.Blocked])
	if o.Held[relay.Dead] > 0 {
		say("    retry them on the dashboard: http://%s   or: waybill demo fix message --retry", f.pages())
	}
	return nil
}

// restoreLimit also tells the outbox, which may have learned of the low limit meanwhile.
func (f *faults) restoreLimit(ctx context.Context) error {
	f.broker.limit(demoTightTopic, 0)
	cfg, err := storeConfig(f.demo.config)
	if err != nil {
		return err
	}
	store, err := postgres.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	limits := map[string]int{}
	for _, t := range (whicheverNode{f.broker}).Topics() {
		limits[t.Name] = waybillbroker.Largest(t)
	}
	return store.SetLimits(ctx, limits, limitSource)
}

// retryMessages restores the limit if nobody has, and retries what died of it as `waybill message retry --filter` does: a plan, then an operation, carefully.
func (f *faults) retryMessages(ctx context.Context, say sayer) error {
	switch {
	case f.databaseDown():
		return errDatabaseFirst
	case f.broker.down():
		return notNow("the broker is stopped, nothing could be sent: first waybill demo fix broker")
	case f.broker.limited(demoTightTopic):
		if err := f.fixMessage(ctx, say); err != nil {
			return err
		}
	}
	filter, err := relay.ParseFilter(demoTooLarge)
	if err != nil {
		return err
	}
	o, err := f.people.Plan(ctx, ActRetry, filter, demoTooLarge)
	if err != nil {
		return err
	}
	if o.Total == 0 {
		say("  ✓ nothing is dead of it")
		return f.people.Withdraw(ctx, o.ID)
	}
	if _, err := f.people.StartPlan(ctx, o.ID, relay.DefaultPace(), "the limit of the topic is restored"); err != nil {
		return err
	}
	if o, err = f.awaitOperation(ctx, o.ID); err != nil {
		return err
	}
	if o.State != relay.OperationDone || o.Sent != o.Total {
		return fmt.Errorf("operation %d ended as %s, %d of %d sent: %s; look at it on the dashboard: http://%s/operations/%d", o.ID, o.State, o.Sent, o.Total, orUnknown(o.Cause), f.pages(), o.ID)
	}
	say("  ✓ %d of %d sent (operation %d), and what waited behind them follows in the order of its key", o.Sent, o.Total, o.ID)
	return nil
}

// awaitOperation waits for the end of an operation.
func (f *faults) awaitOperation(ctx context.Context, id relay.OperationID) (o relay.Operation, err error) {
	err = await(ctx, mendLimit, func() (_ bool, err error) {
		o, err = f.people.Operation(ctx, id)
		return o.State.Ended(), err
	})
	if err != nil {
		err = fmt.Errorf("operation %d has not ended yet; the relay goes on with it: %w", id, err)
	}
	return o, err
}

// pages is the address of the dashboard.
func (f *faults) pages() string {
	at, _ := f.demo.config.Dashboard.Listen.Get()
	return at
}
