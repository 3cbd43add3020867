package postgres

import (
	"errors"
	"strings"
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

// Whoever resumes what is over is told so, whoever pauses again is told the end and how to change it, and what is over is named nowhere.
func TestResumeAfterTheEnd(t *testing.T) {
	d := newDesk(t, 15)
	act := relay.Act{Actor: "ana", Via: "ui", Reason: "rebalance"}
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	pause := func(name string, until time.Time) {
		t.Helper()
		if _, err := d.operator.Pause(t.Context(), name, until, act); err != nil {
			t.Fatal(err)
		}
	}
	over := func(name string) (at string) {
		t.Helper()
		end := until.Add(-2 * time.Hour)
		d.exec(t, `UPDATE outbox.pause SET at = $1, until = $2 WHERE destination = $3`, end.Add(-time.Hour), end, name)
		return end.Format(time.RFC3339)
	}
	refused := func(_ int64, err error) string {
		t.Helper()
		var state *relay.StateError
		if !errors.As(err, &state) {
			t.Fatalf("not refused: %v", err)
		}
		return state.Text
	}
	resumes := func() (n int) {
		t.Helper()
		if err := d.conn.QueryRow(t.Context(), `SELECT count(*) FROM outbox.activity WHERE action = 'resume' AND actor = 'ana'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}

	pause("kafka-a", until)
	text := refused(d.operator.Pause(t.Context(), "kafka-a", time.Time{}, act))
	if !strings.HasPrefix(text, "kafka-a is paused already, by ana since ") || !strings.HasSuffix(text, "Z until "+until.Format(time.RFC3339)+", because: rebalance (for another end or reason, resume first, then pause again)") {
		t.Error(text)
	}
	end := over("kafka-a")
	if text := refused(d.operator.Resume(t.Context(), "kafka-a", act)); text != "the pause of kafka-a by ana is over since "+end+", there is nothing to resume" {
		t.Error(text)
	}
	pause("", time.Time{})
	pause("kafka-b", until)
	end = over("kafka-b")
	if text := refused(d.operator.Resume(t.Context(), "kafka-b", act)); text != "the pause of kafka-b by ana is over since "+end+", there is nothing to resume; all destinations are paused by one act, resume all" {
		t.Error(text)
	}
	if n := resumes(); n != 0 {
		t.Errorf("%d refused resumes are in the activity log", n)
	}
	if _, err := d.operator.Resume(t.Context(), "", act); err != nil {
		t.Fatal(err)
	}
	pause("kafka-c", until)
	if text := refused(d.operator.Resume(t.Context(), "", act)); text != "there is no pause of all destinations; paused by themselves: kafka-c" {
		t.Errorf("beside a pause that is over: %s", text)
	}
	pause("", until)
	over("")
	if text := refused(d.operator.Resume(t.Context(), "kafka-d", act)); text != "kafka-d is not paused by itself" {
		t.Errorf("beside a pause of all that is over: %s", text)
	}
	if _, err := d.operator.Resume(t.Context(), "kafka-c", act); err != nil {
		t.Fatal(err)
	}
	var before string
	if err := d.conn.QueryRow(t.Context(), `SELECT before->>'until' FROM outbox.activity WHERE actor = 'ana' AND action = 'resume' ORDER BY id DESC LIMIT 1`).Scan(&before); err != nil || before == "" {
		t.Errorf("what was resumed had an end: %q, %v", before, err)
	}
}
