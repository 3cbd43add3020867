package postgres

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

var byAna = relay.Act{Actor: "cli:ana@host", Via: "cli", Reason: "limit raised"}

// store is what the owner works with.
func (d *desk) store(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: d.url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func (d *desk) plan(t *testing.T, action, filter string) relay.Operation {
	t.Helper()
	f, err := relay.ParseFilter(filter)
	if err != nil {
		t.Fatal(err)
	}
	o, err := d.operator.Plan(t.Context(), relay.PlanRequest{Action: action, Filter: f, Text: filter}, byAna)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (d *desk) operation(t *testing.T, id relay.OperationID) relay.Operation {
	t.Helper()
	o, err := d.inspector.Operation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// outcomes are those of each message; "" = none yet.
func (d *desk) outcomes(t *testing.T, id relay.OperationID) map[relay.ID]string {
	t.Helper()
	items, err := d.inspector.OperationItems(t.Context(), id, "", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := map[relay.ID]string{}
	for _, x := range items {
		m[x.ID] = x.Outcome
	}
	return m
}

func (d *desk) text(t *testing.T, sql string) (s string) {
	t.Helper()
	if err := d.conn.QueryRow(t.Context(), sql).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return s
}

const held = `SELECT md5(string_agg(h::text, ';' ORDER BY h.id)) FROM outbox.message_held h`

// A plan counts exactly, and changes nothing.
func TestPlanCounts(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint("PostgreSQL ", major), func(t *testing.T) {
			d := newDesk(t, major)
			d.fill(t)
			before := d.text(t, held)
			for _, c := range []struct {
				action, filter string
				ids            []relay.ID
				left           int
			}{
				{relay.PlanRetry, "", []relay.ID{3, 6}, 0},
				{relay.PlanRetry, "destination:kafka-a", []relay.ID{3}, 0},
				{relay.PlanRetry, "state:dead,discarded", []relay.ID{3, 8}, 0},
				{relay.PlanRetry, "state:pending", []relay.ID{6}, 4},
				{relay.PlanRetry, "id:3,own-7,99", []relay.ID{3}, 0},
				{relay.PlanRetry, "topic:order.* age<1h", []relay.ID{3}, 0},
				{relay.PlanSkip, "", []relay.ID{3}, 0},
				{relay.PlanDiscard, "", []relay.ID{3, 4, 5, 6, 7}, 0},
				{relay.PlanDiscard, "key:k -state:dead", []relay.ID{4, 5}, 0},
				{relay.PlanDiscard, "topic:nothing", nil, 0},
			} {
				o := d.plan(t, c.action, c.filter)
				if ids := slices.Sorted(maps.Keys(d.outcomes(t, o.ID))); !slices.Equal(ids, c.ids) || o.Total != len(c.ids) || o.LeftOut != c.left || o.State != relay.OperationPlanned {
					t.Errorf("%s %q: messages %v, %+v, want %v", c.action, c.filter, ids, o, c.ids)
				}
			}
			o := d.plan(t, relay.PlanRetry, "")
			s := o.Summary
			if s.Keys != 1 || s.Behind != 2 || s.Unknown != 1 || s.Causes != 2 || s.States["dead"] != 1 || s.States["retrying"] != 1 ||
				!slices.Equal(s.Destinations, []relay.DestinationCount{{Name: "kafka-a", Count: 1}, {Name: "kafka-b", Count: 1}}) ||
				len(s.Failures) != 2 || s.Failures[0].Class != "too_large" || s.Failures[0].Count != 1 {
				t.Errorf("%+v", s)
			}
			if rows, err := d.inspector.Activity(t.Context(), 0, 1); err != nil || rows[0].Action != "plan" || rows[0].Requested != 2 || rows[0].Target != "operation "+o.ID.String() {
				t.Errorf("%+v, %v", rows, err)
			}
			if after := d.text(t, held); after != before {
				t.Error("a plan changed a message")
			}
			f, _ := relay.ParseFilter("state:sent")
			if _, err := d.operator.Plan(t.Context(), relay.PlanRequest{Action: relay.PlanRetry, Filter: f}, byAna); err == nil {
				t.Error("a plan to retry what was sent")
			}
		})
	}
}

// Each message of a step is judged by its first outcome, and one that changed since the plan is left alone.
func TestOperationOutcomes(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint("PostgreSQL ", major), func(t *testing.T) {
			d := newDesk(t, major)
			s, ctx := d.store(t), t.Context()
			// 1, 2 pass; 3 fails again; 4 waits behind 3; 5 is discarded in between; 6 was retried by somebody else; 7 has no answer yet
			d.exec(t, `INSERT INTO outbox.message_log (topic, key) SELECT 't', CASE WHEN i IN (3, 4) THEN 'k' END FROM generate_series(1, 7) AS i ORDER BY i`)
			d.exec(t, `DELETE FROM outbox.message_pending`)
			d.exec(t, `INSERT INTO outbox.message_held (id, state, topic, key, destination, attempts) SELECT id, 'dead', topic, key, 'a', 3 FROM outbox.message_log`)
			o := d.plan(t, relay.PlanRetry, "state:dead")
			if o.Total != 7 {
				t.Fatalf("%+v", o)
			}
			if n, err := s.StepOperation(ctx, &o, relay.Move{Act: 500, Step: 1}); err != nil || n != 0 {
				t.Fatalf("a plan was run: %d, %v", n, err)
			}
			if err := d.operator.Start(ctx, o.ID, relay.DefaultPace(), byAna); err != nil {
				t.Fatal(err)
			}
			d.exec(t, `UPDATE outbox.message_held SET state = 'retrying', due_at = now() + interval '1 h' WHERE id = 6`)
			if n, err := s.StepOperation(ctx, &o, relay.Move{Act: 5, Step: 1}); err != nil || n != 5 {
				t.Fatalf("%d, %v", n, err)
			}
			if n, err := s.StepOperation(ctx, &o, relay.Move{Act: 5, Step: 1}); err != nil || n != 0 {
				t.Fatalf("somebody who had not seen the last step acted on %d, %v", n, err)
			}
			o = d.operation(t, o.ID)
			if n, err := s.StepOperation(ctx, &o, relay.Move{Act: 5, Step: 1}); err != nil || n != 2 {
				t.Fatalf("%d, %v", n, err)
			}
			if n, err := s.JudgeOperation(ctx, o.ID); err != nil || n != 0 {
				t.Fatalf("judged %d before anything came of it, %v", n, err)
			}
			d.exec(t, `DELETE FROM outbox.message_held WHERE id IN (1, 2)`)
			d.exec(t, `UPDATE outbox.message_held SET attempts = 1, due_at = now() + interval '1 min' WHERE id = 3`)
			d.exec(t, `WITH d AS (DELETE FROM outbox.message_held WHERE id = 5 RETURNING id) INSERT INTO outbox.message_discarded (id, activity_id, attempts) SELECT id, 1, 0 FROM d`)
			d.exec(t, `UPDATE outbox.message_held SET sending = true WHERE id = 7`)
			if n, err := s.JudgeOperation(ctx, o.ID); err != nil || n != 5 {
				t.Fatalf("judged %d, %v", n, err)
			}
			want := map[relay.ID]string{1: "sent", 2: "sent", 3: "failed_again", 4: "waits", 5: "changed", 6: "changed", 7: ""}
			if got := d.outcomes(t, o.ID); !maps.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
			got := d.operation(t, o.ID)
			if got.Handled != 7 || got.StepHandled != 7 || got.StepJudged != 6 || got.Sent != 2 || got.FailedAgain != 1 || got.Waits != 1 || got.Changed != 2 || got.StepSent != 2 || got.StepFailed != 1 {
				t.Errorf("%+v", got)
			}
			if err := s.EndOperation(ctx, o.ID, relay.OperationStopped, "too many"); err != nil {
				t.Fatal(err)
			}
			if n, err := s.StepOperation(ctx, &got, relay.Move{Act: 5, Step: 1}); err != nil || n != 0 {
				t.Errorf("a stopped operation went on: %d, %v", n, err)
			}
			log := d.text(t, `SELECT string_agg(action || ' ' || via || ' ' || changed, ', ' ORDER BY id) FROM outbox.activity WHERE operation_id = `+o.ID.String())
			if log != "plan cli 0, start cli 0, retry cli 5, retry cli 1, stop auto 5" {
				t.Errorf("the activity log: %s", log)
			}
			if bad := d.text(t, `SELECT count(*)::text FROM outbox.activity a WHERE a.hash <> outbox.activity_hash(a)`); bad != "0" {
				t.Errorf("%s rows of the activity log have a wrong hash", bad)
			}
			if _, err := d.operator.Retry(ctx, []relay.ID{3}, byAna); err != nil {
				t.Fatal(err)
			}
			if of := d.text(t, `SELECT coalesce(operation_id::text, 'none') FROM outbox.activity ORDER BY id DESC LIMIT 1`); of != "none" {
				t.Errorf("an act of a person belongs to operation %s", of)
			}
		})
	}
}

// A relay dies while it sends what an operation retried. The next owner frees those messages with one try more, and no outcome: that is no failure, so the
// operation goes on. A failure that follows is one.
func TestCrashIsNoFailureOfAnOperation(t *testing.T) {
	d := newDesk(t, 18)
	s, ctx := d.store(t), t.Context()
	d.exec(t, `INSERT INTO outbox.message_log (topic) SELECT 't' FROM generate_series(1, 3)`)
	d.exec(t, `DELETE FROM outbox.message_pending`)
	d.exec(t, `INSERT INTO outbox.message_held (id, state, topic, destination, attempts) SELECT id, 'dead', topic, 'a', 3 FROM outbox.message_log`)
	o := d.plan(t, relay.PlanRetry, "state:dead")
	if err := d.operator.Start(ctx, o.ID, relay.DefaultPace(), byAna); err != nil {
		t.Fatal(err)
	}
	if n, err := s.StepOperation(ctx, &o, relay.Move{Act: 3, Step: 1}); err != nil || n != 3 {
		t.Fatalf("%d, %v", n, err)
	}
	owns := func(owner string) relay.Lease {
		lease, err := s.Acquire(ctx, relay.Terms{Owner: owner, Lease: time.Minute, Configured: []string{"a"}})
		if err != nil {
			t.Fatal(err)
		}
		return lease
	}
	takes := func(lease relay.Lease) []relay.HeldMessage {
		taken, err := s.Held(ctx, lease, []string{"a"}, relay.HeldLimit{Rows: 10, InlineBytes: 100, Bytes: 1000})
		if err != nil || len(taken.Messages) != 3 {
			t.Fatalf("%d taken, %v", len(taken.Messages), err)
		}
		return taken.Messages
	}
	for life := range 3 {
		lease := owns(fmt.Sprint("life ", life))
		if n, err := s.JudgeOperation(ctx, o.ID); err != nil || n != 0 {
			t.Fatalf("life %d: judged %d, %v: %v", life, n, err, d.outcomes(t, o.ID))
		}
		if taken := takes(lease); taken[0].Attempts != life+1 {
			t.Fatalf("attempt %d in life %d", taken[0].Attempts, life)
		}
		d.exec(t, `UPDATE outbox.owner SET lease_until = '-infinity', released = true`) // it is gone, and nobody waits for it
	}
	lease := owns("last")
	again := takes(lease)[0]
	hold := relay.Hold{ID: again.ID, State: relay.Retrying, Due: true, Delay: time.Hour, Attempts: again.Attempts, Destination: "a",
		Failure: &relay.Failure{Outcome: relay.Rejected, Class: relay.ClassInvalid, Code: "test/NO", Text: "no"}}
	if _, err := s.Settle(ctx, lease, relay.Settlement{Hold: []relay.Hold{hold}}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.JudgeOperation(ctx, o.ID); err != nil || n != 1 {
		t.Errorf("judged %d, %v", n, err)
	}
	if got := d.outcomes(t, o.ID)[again.ID]; got != relay.OutcomeFailedAgain {
		t.Errorf("the message that failed is %q", got)
	}
}

// What cannot be done in a state says so and does nothing: S = start, P = pause, R = resume, X = stop.
func TestOperationStates(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	s, ctx := d.store(t), t.Context()
	for script, last := range map[string]relay.OperationState{"S": "running", "SP": "paused", "SPR": "running", "SPX": "stopped", "SX": "stopped", "X": "stopped"} {
		o := d.plan(t, relay.PlanRetry, "id:6")
		do := map[rune]func() error{
			'S': func() error { return d.operator.Start(ctx, o.ID, relay.DefaultPace(), byAna) },
			'P': func() error { return d.operator.Steer(ctx, o.ID, relay.Pause, byAna) },
			'R': func() error { return d.operator.Steer(ctx, o.ID, relay.Resume, byAna) },
			'X': func() error { return d.operator.Steer(ctx, o.ID, relay.Stop, byAna) },
		}
		for _, step := range script {
			if err := do[step](); err != nil {
				t.Fatalf("%s, %c: %v", script, step, err)
			}
		}
		got := d.operation(t, o.ID)
		if got.State != last || got.State.Ended() == got.EndedAt.IsZero() {
			t.Errorf("%s: %+v", script, got)
		}
		allowed := map[relay.OperationState]string{"running": "PX", "paused": "RX", "stopped": ""}[last]
		for step, try := range do {
			var state *relay.StateError
			if fits := slices.Contains([]rune(allowed), step); !fits && !errors.As(try(), &state) {
				t.Errorf("%s: %c was done", script, step)
			}
		}
		if last != "running" {
			if n, err := s.StepOperation(ctx, &got, relay.Move{Act: 5, Step: 1}); err != nil || n != 0 {
				t.Errorf("%s: acted on %d, %v", script, n, err)
			}
		}
	}
	if err := d.operator.Start(ctx, 99, relay.DefaultPace(), byAna); !errors.Is(err, relay.ErrNotFound) {
		t.Error(err)
	}
	o := d.plan(t, relay.PlanDiscard, "id:6")
	if err := d.operator.Start(ctx, o.ID, relay.DefaultPace(), relay.Act{Actor: "a", Via: "cli"}); err == nil {
		t.Error("a discard without a reason was started")
	}
	d.exec(t, `UPDATE outbox.operation SET expires_at = now() WHERE id = $1`, o.ID)
	var state *relay.StateError
	if err := d.operator.Start(ctx, o.ID, relay.DefaultPace(), byAna); !errors.As(err, &state) {
		t.Errorf("an old plan was started: %v", err)
	}
}

// Plans that nobody starts, and operations that ended long ago, leave nothing behind.
func TestOperationsAreSwept(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	s, ctx := d.store(t), t.Context()
	fresh, old, ended, running := d.plan(t, relay.PlanRetry, ""), d.plan(t, relay.PlanRetry, ""), d.plan(t, relay.PlanRetry, ""), d.plan(t, relay.PlanRetry, "")
	d.exec(t, `UPDATE outbox.operation SET expires_at = now() - interval '1 s' WHERE id = $1`, old.ID)
	for _, o := range []relay.Operation{ended, running} {
		if err := d.operator.Start(ctx, o.ID, relay.DefaultPace(), byAna); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.EndOperation(ctx, ended.ID, relay.OperationDone, ""); err != nil {
		t.Fatal(err)
	}
	items := func(o relay.Operation) int { return len(d.outcomes(t, o.ID)) }
	if err := s.SweepOperations(ctx, time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := d.operation(t, old.ID); got.State != relay.OperationExpired || items(old) != 0 || items(fresh) != 2 || items(ended) != 2 || items(running) != 2 {
		t.Errorf("%+v, items %d %d %d %d", got, items(old), items(fresh), items(ended), items(running))
	}
	d.exec(t, `UPDATE outbox.operation SET ended_at = now() - interval '2 h' WHERE ended_at IS NOT NULL`)
	if err := s.SweepOperations(ctx, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := d.inspector.Operation(ctx, ended.ID); !errors.Is(err, relay.ErrNotFound) || items(ended) != 0 || items(running) != 2 {
		t.Errorf("%v", err)
	}
}
