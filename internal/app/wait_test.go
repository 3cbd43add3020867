package app

import (
	"testing"
	"time"
)

// patience bounds every wait for something that is expected.
const patience = 60 * time.Second

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	within(t, patience, what, cond)
}

// within is eventually with a limit of its own; picture adds what a person wants to see when the test fails.
func within(t *testing.T, limit time.Duration, what string, cond func() bool, picture ...func() string) {
	t.Helper()
	end, tick := time.NewTimer(limit), time.NewTicker(20*time.Millisecond)
	defer end.Stop()
	defer tick.Stop()
	for !cond() {
		select {
		case <-end.C:
			for _, p := range picture {
				t.Log(p())
			}
			t.Fatalf("not within %v: %s", limit, what)
		case <-tick.C:
		}
	}
}

// lasts lets traffic run for a time that is the fault itself, such as an outage.
func lasts(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal("the test ended")
	}
}

// drained waits until everything that can be sent was sent.
func (r *rig) drained() {
	r.t.Helper()
	within(r.t, patience, "everything is sent", func() bool { return r.waiting() == 0 }, r.picture)
}

// picture says where the messages are, for a test that failed.
func (r *rig) picture() string {
	s, _ := tryAsk[string](r, `SELECT format('pending %s (%s…%s), held %s, owner %s', (SELECT count(*) FROM outbox.message_pending),
		(SELECT min(id) FROM outbox.message_pending), (SELECT max(id) FROM outbox.message_pending),
		(SELECT json_object_agg(coalesce(state, '-'), n) FROM (SELECT concat_ws(' ', state, CASE WHEN due_at IS NOT NULL THEN 'due' END,
			CASE WHEN sending THEN 'sending' END) AS state, count(*) AS n FROM outbox.message_held GROUP BY 1) x),
		(SELECT row_to_json(o) FROM outbox.owner o))`)
	checks, _ := tryAsk[string](r, `SELECT string_agg(instance || ': ' || left((checks -> 'destinations')::text, 600), E'\n') FROM outbox.relay`)
	return s + "\n" + checks
}
