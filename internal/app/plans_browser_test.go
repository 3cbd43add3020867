package app

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// dead writes n messages that the broker refused while something was wrong: it would take them now. The relay never sees them pending.
func (w *ward) dead(topic string, n int, class string, fingerprint int64) {
	w.t.Helper()
	err := pgx.BeginFunc(w.t.Context(), w.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(w.t.Context(), `WITH m AS (INSERT INTO outbox.message_log (topic, key, type, payload) SELECT $1, 'c-' || i / 3, 'order', '{}'
				FROM generate_series(1, $2) AS i ORDER BY i RETURNING id, topic, key)
			INSERT INTO outbox.message_held (id, state, topic, key, destination, attempts, outcome, class, error_code, error, fingerprint, first_failed_at)
			SELECT id, 'dead', topic, key, 'local', 1, 'rejected', $3, 'TOPIC_AUTHORIZATION_FAILED', 'the topic refused this writer', $4, now() - interval '20 min' FROM m`,
			topic, n, class, fingerprint)
		if err == nil {
			_, err = tx.Exec(w.t.Context(), `DELETE FROM outbox.message_pending p USING outbox.message_held h WHERE h.id = p.id`)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// The person on call, in a real browser, with many messages: a failure → retry all that match → exact counts → start → progress → done; a filter → discard, with the
// number typed → the activity log has it.
func TestManyMessagesInARealBrowser_S1_S2(t *testing.T) {
	w := newWard(t)
	w.dead("order.paid", 400, "refused", 77)
	w.dead("order.image", 120, "invalid", 78)
	p := openTab(t, w.base)
	p.desk()
	failure := "/failures/000000000000004d"
	p.open("/login?next=" + failure + "#token=" + w.token)
	p.fill("#name", "ana")
	p.click("Sign in")
	p.sees("refused at local", "400 dead", "Retry all that match")
	p.click("Retry all that match")
	p.sees("every message that matches?", "failure:000000000000004d state:dead,retrying")
	p.click("Count them")
	p.sees("Plan: retry 400 messages", "Nothing has happened", "They hold 134 keys closed", "By destination", "By failure")
	p.screen("plan")
	if n := w.ask(`SELECT count(*) FROM outbox.message_held WHERE state = 'dead'`); n != 520 {
		t.Errorf("a plan changed something: %d are dead", n)
	}
	plan := eval[string](p, `location.pathname`)
	p.check([]string{failure, plan, "/plans/discard?q=topic:order.image", "/operations"})
	p.open(plan)
	p.fill("#rate", "60")
	p.fill("#reason", "right granted, OPS-318")
	p.click("Start: retry 400 messages")
	p.sees("Started.", "running", "at most 60 a second", "sent", "untouched")
	p.screen("operation")
	p.click("Pause")
	p.sees("Paused.", "paused", "Go on")
	p.click("Go on")
	p.sees("running")
	eventually(t, "all are sent", func() bool {
		return w.ask(`SELECT count(*) FROM outbox.operation WHERE state = 'done' AND sent = 400`) == 1
	})
	p.sees("done") // by itself
	p.check([]string{plan})

	p.open("/messages?q=topic:order.image")
	p.click("Discard all that match")
	p.click("Count them")
	p.sees("Plan: discard 120 messages", "Type 120 to confirm")
	p.check([]string{eval[string](p, `location.pathname`)})
	p.fill("#reason", "images were uploaded again")
	p.fill("#confirm", "12")
	p.click("Start: discard")
	p.sees("Type the number of messages, 120")
	p.forgive("status of 400")
	p.fill("#confirm", "120")
	p.click("Start: discard")
	p.sees("discarded", "120 of 120")
	p.open("/operations")
	p.sees("right granted, OPS-318", "images were uploaded again", "done")
	p.screen("operations")
	p.open("/activity")
	p.sees("images were uploaded again", "ui:ana", "plan", "start", "discard")
	p.withoutScripts([]string{plan, "/operations"})
}
