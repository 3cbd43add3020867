package dashboard

import (
	"net/http"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

func (d *desk) stateOf(id relay.ID) string {
	d.t.Helper()
	m, err := d.inspector.Message(d.t.Context(), id)
	if err != nil {
		d.t.Fatal(err)
	}
	return seen(&m)
}

func (d *desk) lastAct() relay.ActivityRow {
	d.t.Helper()
	rows, err := d.inspector.Activity(d.t.Context(), 0, 1)
	if err != nil || len(rows) != 1 {
		d.t.Fatalf("%v, %v", rows, err)
	}
	return rows[0]
}

// An act is shown, confirmed, done and written down, and the page then shows the new state.
func TestActs(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	b := d.browser().signIn()
	for _, c := range []struct {
		page, reason, says, after string
		id                        relay.ID
	}{
		{"/messages/6/retry", "", "may lie at the broker already", "retrying false", 6},
		{"/messages/7/retry", "", "later messages of its key went first", "retrying true", 7},
		{"/messages/3/skip", "agreed with the shop", "2 messages of its key wait behind it. They go on, in order.", "dead true", 3},
		{"/messages/3/discard", "never needed", "given up and never sent", "discarded false", 3},
	} {
		body := b.get(c.page).Body.String()
		if !strings.Contains(body, c.says) {
			t.Errorf("%s does not say %q: %s", c.page, c.says, body)
		}
		form := b.form(c.page)
		form.Set("reason", c.reason)
		res := b.post(c.page, form)
		if res.Code != http.StatusSeeOther || res.Header().Get("Location") != "/messages/"+c.id.String() {
			t.Fatalf("%s: %d %s", c.page, res.Code, res.Body)
		}
		if got := d.stateOf(c.id); got != c.after {
			t.Errorf("%s: message is %s, want %s", c.page, got, c.after)
		}
		name := c.page[strings.LastIndex(c.page, "/")+1:]
		a := d.lastAct()
		if a.Action != name || a.Actor != "ui:ana" || a.Via != "ui" || a.Reason != c.reason || a.Address != "127.0.0.1" || a.Changed != 1 || len(a.IDs) != 1 || a.IDs[0] != c.id {
			t.Errorf("%s wrote %+v", c.page, a)
		}
		if page := b.get("/messages/" + c.id.String()).Body.String(); !strings.Contains(page, "is done") {
			t.Errorf("%s: no word that it is done", c.page)
		}
		if page := b.get("/messages/" + c.id.String()).Body.String(); strings.Contains(page, "is done") {
			t.Errorf("%s: the notice is shown twice", c.page)
		}
	}
	if page := b.get("/activity").Body.String(); !strings.Contains(page, "agreed with the shop") || !strings.Contains(page, "ui:ana") {
		t.Errorf("the activity page: %s", page)
	}
}

// Skip and discard need a reason; what does not apply is refused; two people who see the same message do not undo each other's act.
func TestActsThatAreRefused(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	b := d.browser().signIn()
	before := d.lastAct().ID
	form := b.form("/messages/3/discard")
	form.Set("reason", " \t ")
	if res := b.post("/messages/3/discard", form); res.Code != http.StatusBadRequest || !strings.Contains(res.Body.String(), "Write why") {
		t.Errorf("no reason: %d", res.Code)
	}
	for path, want := range map[string]int{"/messages/1/retry": 409, "/messages/2/discard": 409, "/messages/4/skip": 409, "/messages/6/skip": 409, "/messages/99/retry": 404, "/messages/3/explode": 404} {
		form.Set("reason", "r")
		if res := b.post(path, form); res.Code != want {
			t.Errorf("%s: %d, want %d", path, res.Code, want)
		}
	}
	if d.lastAct().ID != before || d.stateOf(3) != "dead false" {
		t.Error("a refused act did something")
	}
	other := d.browser().signIn()
	theirs := other.form("/messages/3/discard")
	skip := b.form("/messages/3/skip")
	skip.Set("reason", "first")
	if res := b.post("/messages/3/skip", skip); res.Code != http.StatusSeeOther {
		t.Fatalf("%d", res.Code)
	}
	theirs.Set("reason", "second")
	if res := other.post("/messages/3/discard", theirs); res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "confirm again") || d.stateOf(3) != "dead true" {
		t.Errorf("the second one: %d, message is %s", res.Code, d.stateOf(3))
	}
	d.exec(`UPDATE outbox.message_held SET sending = true WHERE id = 6`)
	if res := b.post("/messages/6/retry", b.form("/messages/3/discard")); res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "being sent") {
		t.Errorf("a message on its way: %d", res.Code)
	}
}
