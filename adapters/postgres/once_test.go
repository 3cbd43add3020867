package postgres

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// retryOnce retries message 3 under a key and answers with the row of the activity log.
func (d *desk) retryOnce(ctx context.Context, asked relay.Asked) (relay.Answered, error) {
	return d.operator.Once(ctx, asked, func(ctx context.Context) (relay.Answered, error) {
		got, err := d.operator.Retry(ctx, []relay.ID{3}, relay.Act{Actor: asked.Actor, Via: "api"})
		return relay.Answered{Code: 200, Location: "/x", Body: fmt.Appendf(nil, "activity %d", got.Activity)}, err
	})
}

func (d *desk) count(t *testing.T, table string) (n int) {
	t.Helper()
	if err := d.conn.QueryRow(t.Context(), `SELECT count(*) FROM outbox.`+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOnce(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	asked := relay.Asked{Actor: "api:a", Key: "k1", Request: [32]byte{1}}
	before := d.count(t, "activity")
	first, err := d.retryOnce(t.Context(), asked)
	if err != nil || first.Code != 200 {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := d.retryOnce(t.Context(), asked)
	if err != nil || again.Code != first.Code || again.Location != first.Location || string(again.Body) != string(first.Body) {
		t.Errorf("%+v, %v; at first %+v", again, err, first)
	}
	if n := d.count(t, "activity") - before; n != 1 {
		t.Errorf("it was done %d times", n)
	}
	other := asked
	other.Request = [32]byte{2}
	if _, err := d.retryOnce(t.Context(), other); !errors.Is(err, relay.ErrOtherRequest) {
		t.Errorf("another request under the key: %v", err)
	}
	other.Actor = "api:b"
	if a, err := d.retryOnce(t.Context(), other); err != nil || string(a.Body) == string(first.Body) {
		t.Errorf("the same key of somebody else: %s, %v", a.Body, err)
	}
	d.exec(t, `UPDATE outbox.idempotency SET at = now() - interval '25 h'`)
	if a, err := d.retryOnce(t.Context(), asked); err != nil || string(a.Body) == string(first.Body) {
		t.Errorf("after a day: %s, %v", a.Body, err)
	}
	var swept int
	if err := d.conn.QueryRow(t.Context(), `SELECT outbox.once_sweep(10)`).Scan(&swept); err != nil || swept != 1 || d.count(t, "idempotency") != 1 {
		t.Errorf("swept %d, %v, %d are left", swept, err, d.count(t, "idempotency"))
	}
}

// What was done and what was answered are kept together, or neither is.
func TestOnceIsOneTransaction(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	before := d.count(t, "activity")
	refused := errors.New("refused")
	for name, answer := range map[string]func(context.Context) (relay.Answered, error){
		"the caller changes its mind": func(context.Context) (relay.Answered, error) { return relay.Answered{}, refused },
		"the answer cannot be kept": func(context.Context) (relay.Answered, error) {
			return relay.Answered{Code: 200, Body: make([]byte, 300_000)}, nil
		},
	} {
		_, err := d.operator.Once(t.Context(), relay.Asked{Actor: "a", Key: "k"}, func(ctx context.Context) (relay.Answered, error) {
			if _, err := d.operator.Retry(ctx, []relay.ID{3}, relay.Act{Actor: "a", Via: "api"}); err != nil {
				return relay.Answered{}, err
			}
			if _, err := d.operator.Pause(ctx, "kafka-a", time.Time{}, relay.Act{Actor: "a", Via: "api", Reason: "r"}); err != nil {
				return relay.Answered{}, err
			}
			return answer(ctx)
		})
		if err == nil || name == "the caller changes its mind" && !errors.Is(err, refused) {
			t.Errorf("%s: %v", name, err)
		}
		if a, p, k := d.count(t, "activity"), d.count(t, "pause"), d.count(t, "idempotency"); a != before || p != 0 || k != 0 {
			t.Errorf("%s: something stayed: %d acts, %d pauses, %d answers", name, a-before, p, k)
		}
	}
	if _, err := d.retryOnce(t.Context(), relay.Asked{Actor: "a", Key: "k"}); err != nil {
		t.Errorf("nothing was done, so the key is free: %v", err)
	}
}

// While the first runs the second is told so, at once; and an act that waits for a lock is tried again as a whole.
func TestOnceRunning(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	asked := relay.Asked{Actor: "a", Key: "k"}
	tries := 0
	_, err := d.operator.Once(t.Context(), asked, func(ctx context.Context) (relay.Answered, error) {
		if tries++; tries == 1 {
			if _, err := d.retryOnce(t.Context(), asked); !errors.Is(err, relay.ErrRunning) {
				t.Errorf("a second one beside it: %v", err)
			}
			lock, err := d.conn.Begin(t.Context())
			if err != nil {
				return relay.Answered{}, err
			}
			defer lock.Rollback(context.WithoutCancel(ctx))
			if _, err := lock.Exec(t.Context(), `SELECT FROM outbox.message_held WHERE id = 3 FOR UPDATE`); err != nil {
				return relay.Answered{}, err
			}
		}
		_, err := d.operator.Retry(ctx, []relay.ID{3}, relay.Act{Actor: "a", Via: "api"})
		return relay.Answered{Code: 200}, err
	})
	if err != nil || tries != 2 || d.count(t, "idempotency") != 1 {
		t.Errorf("%v after %d tries, %d answers", err, tries, d.count(t, "idempotency"))
	}
}

// A plan under a key is there with all its messages when it is answered, and operations are shown as the same transaction left them.
func TestOncePlans(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	f, err := relay.ParseFilter("state:dead")
	if err != nil {
		t.Fatal(err)
	}
	act := relay.Act{Actor: "a", Via: "api"}
	_, err = d.operator.Once(t.Context(), relay.Asked{Actor: "a", Key: "k"}, func(ctx context.Context) (relay.Answered, error) {
		o, err := d.operator.Plan(ctx, relay.PlanRequest{Action: relay.PlanRetry, Filter: f, Text: "state:dead"}, act)
		if err == nil {
			err = d.operator.Start(ctx, o.ID, relay.DefaultPace(), act)
		}
		if err == nil {
			o, err = d.operator.Planned(ctx, o.ID)
		}
		if err == nil && (o.State != relay.OperationRunning || o.Total == 0) {
			t.Errorf("%+v", o)
		}
		return relay.Answered{Code: 201}, err
	})
	if err != nil || d.count(t, "operation") != 1 || d.count(t, "operation_item") == 0 {
		t.Errorf("%v, %d operations", err, d.count(t, "operation"))
	}
}
