package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

// planned makes a plan as a person does, and returns its page.
func (b *browser) planned(action, q string) string {
	b.d.t.Helper()
	form := b.form(planURL(action, q))
	form.Set("q", q)
	res := b.post("/plans/"+action, form)
	if res.Code != http.StatusSeeOther {
		b.d.t.Fatalf("a plan to %s %s: %d %s", action, q, res.Code, res.Body)
	}
	return res.Header().Get("Location")
}

func (d *desk) operationAt(page string) relay.Operation {
	d.t.Helper()
	id, err := strconv.ParseInt(page[strings.LastIndex(page, "/")+1:], 10, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	o, err := d.inspector.Operation(d.t.Context(), relay.OperationID(id))
	if err != nil {
		d.t.Fatal(err)
	}
	return o
}

// many writes n more dead messages of topic bulk.
func (d *desk) many(n int) {
	d.t.Helper()
	d.exec(`WITH m AS (INSERT INTO outbox.message_log (topic) SELECT 'bulk' FROM generate_series(1, $1) RETURNING id)
		INSERT INTO outbox.message_held (id, state, topic, destination, attempts, outcome, class) SELECT id, 'dead', 'bulk', 'kafka-a', 1, 'rejected', 'invalid' FROM m`, n)
	d.exec(`DELETE FROM outbox.message_pending p USING outbox.message_held h WHERE h.id = p.id`)
}

// From a failure group and from a filter a person comes to a plan with exact counts, starts it, and steers it.
func TestPlanStartSteer(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	d.many(300)
	b := d.browser().signIn()
	for page, link := range map[string]string{"/failures/000000000000000f": planURL("retry", "failure:000000000000000f"), "/messages?q=topic:bulk": planURL("discard", "topic:bulk")} {
		if body := b.get(page).Body.String(); !strings.Contains(body, strings.ReplaceAll(link, "&", "&amp;")) {
			t.Errorf("%s has no link to %s", page, link)
		}
	}
	if body := b.get("/messages?q=state:sent").Body.String(); strings.Contains(body, "/plans/") {
		t.Error("what was sent can be planned for")
	}
	if body := b.get(planURL("retry", "topic:bulk")).Body.String(); !strings.Contains(body, "topic:bulk state:dead,retrying") {
		t.Errorf("the states that are meant are not said: %s", body)
	}
	page := b.planned("retry", "topic:bulk")
	body := b.get(page).Body.String()
	for _, want := range []string{"Plan: retry 300 messages", "Nothing has happened", "By destination", "invalid", "Start: retry 300 messages", "Drop the plan"} {
		if !strings.Contains(body, want) {
			t.Errorf("the plan lacks %q: %s", want, body)
		}
	}
	if o := d.operationAt(page); o.State != relay.OperationPlanned || o.Total != 300 || o.Actor != "ui:ana" {
		t.Errorf("%+v", o)
	}
	form := b.form(page)
	form.Set("careful", "1")
	form.Set("stop_at", "12.5")
	form.Set("rate", "40")
	form.Set("reason", "mended")
	if res := b.post(page+"/start", form); res.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", res.Code, res.Body)
	}
	o := d.operationAt(page)
	if o.State != relay.OperationRunning || !o.Careful || o.StopAt != 0.125 || o.Rate != 40 || o.Reason != "mended" {
		t.Errorf("%+v", o)
	}
	if a := d.lastAct(); a.Action != "start" || a.Actor != "ui:ana" || a.Via != "ui" || a.Address != "127.0.0.1" || a.Reason != "mended" {
		t.Errorf("%+v", a)
	}
	for _, c := range []struct {
		verb, state string
		code        int
	}{{"start", "running", 409}, {"resume", "running", 409}, {"explode", "running", 404}, {"pause", "paused", 303}, {"pause", "paused", 409}, {"resume", "running", 303}, {"stop", "stopped", 303}, {"stop", "stopped", 409}} {
		form.Set("stop_at", "5")
		if res := b.post(page+"/"+c.verb, form); res.Code != c.code || string(d.operationAt(page).State) != c.state {
			t.Errorf("%s: %d and %s, want %d and %s", c.verb, res.Code, d.operationAt(page).State, c.code, c.state)
		}
	}
	if a := d.lastAct(); a.Action != "stop" || a.Target != "operation "+o.ID.String() {
		t.Errorf("%+v", a)
	}
	drop := b.planned("skip", "key:t")
	if res := b.post(drop+"/stop", b.form(drop)); res.Code != http.StatusSeeOther || d.operationAt(drop).State != relay.OperationStopped {
		t.Errorf("%d, %+v", res.Code, d.operationAt(drop))
	}
}

// What gives up or breaks an order needs a reason, and above a hundred messages their number, typed; the numbers of a pace are checked on the server.
func TestStartsThatAreRefused(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	d.many(typeAbove + 1)
	b := d.browser().signIn()
	discards, retries, few := b.planned("discard", "topic:bulk"), b.planned("retry", "topic:bulk"), b.planned("discard", "id:6")
	number := strconv.Itoa(typeAbove + 1)
	for _, c := range []struct {
		page  string
		form  url.Values
		code  int
		state relay.OperationState
	}{
		{discards, url.Values{"confirm": {number}}, 400, relay.OperationPlanned},
		{discards, url.Values{"confirm": {number}, "reason": {" \t"}}, 400, relay.OperationPlanned},
		{discards, url.Values{"reason": {"r"}}, 400, relay.OperationPlanned},
		{discards, url.Values{"reason": {"r"}, "confirm": {"100"}}, 400, relay.OperationPlanned},
		{discards, url.Values{"reason": {strings.Repeat("x", maxReason+1)}, "confirm": {number}}, 400, relay.OperationPlanned},
		{discards, url.Values{"reason": {"r"}, "confirm": {number}, "rate": {"0"}}, 400, relay.OperationPlanned},
		{few, url.Values{"reason": {""}}, 400, relay.OperationPlanned},
		{few, url.Values{"reason": {"r"}}, 303, relay.OperationRunning},
		{retries, url.Values{"stop_at": {""}}, 400, relay.OperationPlanned},
		{retries, url.Values{"stop_at": {"101"}}, 400, relay.OperationPlanned},
		{retries, url.Values{"stop_at": {"NaN"}}, 400, relay.OperationPlanned},
		{retries, url.Values{"stop_at": {"5"}, "rate": {"fast"}}, 400, relay.OperationPlanned},
		{retries, url.Values{"stop_at": {"5"}}, 303, relay.OperationRunning},
		{discards, url.Values{"reason": {"r"}, "confirm": {number}}, 303, relay.OperationRunning},
	} {
		form := url.Values{"form": b.form("/messages/6/retry")["form"]}
		for k, v := range c.form {
			form[k] = v
		}
		if res := b.post(c.page+"/start", form); res.Code != c.code || d.operationAt(c.page).State != c.state {
			t.Errorf("%s %v: %d and %s, want %d and %s", c.page, c.form, res.Code, d.operationAt(c.page).State, c.code, c.state)
		}
	}
	if o := d.operationAt(retries); o.Careful {
		t.Errorf("a retry whose box is not ticked is careful: %+v", o)
	}
}

// Without the form's token, a session, or a right to act, nobody plans, starts or steers.
func TestPlansNeedARight_S2_S8(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	b := d.browser().signIn()
	page := b.planned("retry", "id:6")
	before := d.lastAct().ID
	stranger, other := d.browser(), d.browser().signIn()
	ours := b.form(page)
	ours.Set("stop_at", "5")
	ours.Set("q", "id:6")
	for _, path := range []string{page + "/start", page + "/stop", page + "/pause", "/operations/1/stop", "/plans/retry"} {
		for who, res := range map[string]int{"nobody": stranger.post(path, ours).Code, "another session's form": other.post(path, ours).Code, "no form": b.post(path, url.Values{"stop_at": {"5"}, "q": {"id:6"}}).Code,
			"another site": b.do("POST", path, strings.NewReader(ours.Encode()), func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }).Code} {
			if res != http.StatusForbidden {
				t.Errorf("%s by %s: %d", path, who, res)
			}
		}
	}
	if d.lastAct().ID != before || d.operationAt(page).State != relay.OperationPlanned || d.operationAt("/operations/1").State != relay.OperationRunning {
		t.Error("a refused request did something")
	}
	if body := stranger.get(page).Body.String(); strings.Contains(body, "<form method=\"post\" action=\"/operations") {
		t.Error("a viewer is shown the form")
	}
	for name, change := range map[string]func(*Options){"read only": func(o *Options) { o.ReadOnly = true }, "no planner": func(o *Options) { o.Planner = nil }, "no token": func(o *Options) { o.Token = "" }} {
		closed := newDesk(t, change)
		closed.fill("t")
		v := closed.browser()
		for _, path := range []string{"/plans/retry", "/operations/1/stop"} {
			if res := v.post(path, url.Values{"q": {"id:6"}}); res.Code != http.StatusNotFound && res.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s: %s answered %d", name, path, res.Code)
			}
		}
		for _, path := range []string{"/operations/1", "/failures/000000000000000f"} {
			if body := v.get(path).Body.String(); strings.Contains(body, "/plans/") || strings.Contains(body, "action=\"/operations") {
				t.Errorf("%s: %s offers a plan", name, path)
			}
		}
	}
}

// stuck never ends to plan before it is let go.
type stuck struct {
	relay.Planner
	begun, free chan struct{}
}

func (s stuck) Plan(ctx context.Context, p relay.PlanRequest, act relay.Act) (relay.Operation, error) {
	close(s.begun)
	<-s.free
	return s.Planner.Plan(ctx, p, act)
}

// One plan is made at a time, and acts on one message go on meanwhile.
func TestOnePlanAtATime_S11(t *testing.T) {
	slow := stuck{begun: make(chan struct{}), free: make(chan struct{})}
	d := newDesk(t, func(o *Options) { slow.Planner, o.Planner = o.Planner, &slow })
	d.fill("t")
	first, second := d.browser().signIn(), d.browser().signIn()
	form, other := first.form(planURL("retry", "id:6")), second.form(planURL("retry", "id:6"))
	form.Set("q", "id:6")
	other.Set("q", "id:6")
	done := make(chan int, 1)
	go func() { done <- first.post("/plans/retry", form).Code }()
	<-slow.begun
	if res := second.post("/plans/retry", other); res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "Another plan is being made") {
		t.Errorf("a second plan: %d", res.Code)
	}
	if res := second.post("/messages/6/retry", second.form("/messages/6/retry")); res.Code != http.StatusSeeOther {
		t.Errorf("an act meanwhile: %d", res.Code)
	}
	close(slow.free)
	if code := <-done; code != http.StatusSeeOther {
		t.Errorf("the first plan: %d", code)
	}
}
