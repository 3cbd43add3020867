package postgres

import (
	"errors"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// A pause with an end is over when that has come, whether or not anybody has written it down; then it is, once, and another one may begin.
func TestPauseEnds(t *testing.T) {
	d := newDesk(t, 18)
	s := d.store(t)
	act := relay.Act{Actor: "ana", Via: "ui", Reason: "rebalance"}
	paused := func() []relay.PausedDestination {
		t.Helper()
		o, err := d.inspector.Overview(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return o.Paused
	}
	over := func() {
		d.exec(t, `UPDATE outbox.pause SET at = at - interval '2 h', until = until - interval '1 h' WHERE until IS NOT NULL`)
	}
	last := func() (text string) {
		t.Helper()
		if err := d.conn.QueryRow(t.Context(), `SELECT concat_ws(' ', actor, via, action, target, reason, result, before->>'reason', before ? 'until', after ? 'until') FROM outbox.activity ORDER BY id DESC LIMIT 1`).Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}

	var refused *relay.StateError
	for _, until := range []time.Time{time.Now().Add(-time.Minute), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if _, err := d.operator.Pause(t.Context(), "kafka-a", until, act); !errors.As(err, &refused) {
			t.Errorf("until %s: %v", until, err)
		}
	}
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for _, name := range []string{"kafka-a", ""} {
		if _, err := d.operator.Pause(t.Context(), name, until, act); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := last(), "ana ui pause all destinations rebalance until "+until.Format(time.RFC3339)+" t"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := d.operator.Pause(t.Context(), "kafka-b", time.Time{}, act); err != nil {
		t.Fatal(err)
	}
	if p := paused(); len(p) != 3 || !p[1].Until.Equal(until) || !p[2].Until.IsZero() || p[1].Text() != "by ana until "+until.Format(time.RFC3339)+": rebalance" || p[2].Text() != "by ana: rebalance" {
		t.Errorf("%+v", p)
	}
	if n, err := s.EndPauses(t.Context()); n != 0 || err != nil {
		t.Errorf("nothing is over: %d, %v", n, err)
	}
	if _, err := d.operator.Pause(t.Context(), "kafka-a", until, act); !errors.As(err, &refused) {
		t.Errorf("a second pause: %v", err)
	}
	over()
	if p := paused(); len(p) != 1 || p[0].Destination != "kafka-b" {
		t.Errorf("over, and not written down: %+v", p)
	}
	if n, err := s.EndPauses(t.Context()); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if got := last(); got != "waybill auto resume all destinations the pause was until now rebalance t" && got != "waybill auto resume destination kafka-a the pause was until now rebalance t" {
		t.Errorf("%q", got)
	}
	if n, err := s.EndPauses(t.Context()); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
	for range 2 { // the second begins where the first is over and still stands there
		if _, err := d.operator.Pause(t.Context(), "kafka-a", until, act); err != nil {
			t.Fatal(err)
		}
		over()
	}
}
