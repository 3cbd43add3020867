package dashboard

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

func (d *desk) post(path, body string) (int, map[string]any, http.Header) {
	d.t.Helper()
	res, got := d.call("POST", apiBase+path, body, withToken)
	return res.Code, got, res.Header()
}

// One message: what is answered is what became of it, and the log says who, why, and that it came by the API.
func TestAPIActs(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	for _, c := range []struct {
		path, body string
		id         relay.ID
		state      string
	}{
		{"/messages/6/retry", "", 6, "retrying false"}, {"/messages/t7/retry", `{"reason":"wanted after all"}`, 7, "retrying true"},
		{"/messages/3/skip", `{"reason":" later "}`, 3, "dead true"}, {"/messages/3/discard", `{"reason":"test order"}`, 3, "discarded false"},
	} {
		res, got := d.call("POST", apiBase+c.path, c.body, func(r *http.Request) {
			withToken(r)
			r.Header.Set(actorHeader, "nightly.job")
		})
		item, _ := got["item"].(map[string]any)
		last := d.lastAct()
		if res.Code != http.StatusOK || item["changed"] != 1.0 || item["requested"] != 1.0 || item["activity"] != strconv.FormatInt(last.ID, 10) {
			t.Errorf("%s: %d %v", c.path, res.Code, got)
		}
		if last.Actor != "api:nightly.job" || last.Via != "api" || last.Address != "127.0.0.1" || !strings.Contains(c.body, last.Reason) || last.Reason != strings.TrimSpace(last.Reason) {
			t.Errorf("%s: the log says %+v", c.path, last)
		}
		if state := d.stateOf(c.id); state != c.state {
			t.Errorf("%s: message %d is %s, want %s", c.path, c.id, state, c.state)
		}
	}
}

// What is refused is not done, and says why.
func TestAPIActsRefused(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	before := d.lastAct().ID
	long := strings.Repeat("x", maxReason+1)
	for _, c := range []struct {
		path, body string
		code       int
		kind       string
	}{
		{"/messages/3/skip", "", 400, "reason-required"}, {"/messages/3/discard", `{"reason":" \t"}`, 400, "reason-required"}, {"/messages/3/skip", `{"reason":"` + long + `"}`, 400, "invalid-body"},
		{"/messages/3/skip", `{"reason":"a\u0000b"}`, 400, "invalid-body"},
		{"/messages/3/retry", `{"why":"x"}`, 400, "invalid-body"}, {"/messages/3/retry", `{"reason":1}`, 400, "invalid-body"}, {"/messages/3/retry", `{"reason":"x"} {}`, 400, "invalid-body"},
		{"/messages/3/retry", `[]`, 400, "invalid-body"}, {"/messages/3/retry", `{`, 400, "invalid-body"}, {"/messages/3/retry", `{"reason":"` + strings.Repeat("x", maxBody) + `"}`, 413, "invalid-body"},
		{"/messages/1/retry", "{}", 409, "state-changed"}, {"/messages/2/discard", `{"reason":"r"}`, 409, "state-changed"}, {"/messages/4/skip", `{"reason":"r"}`, 409, "state-changed"},
		{"/messages/6/skip", `{"reason":"r"}`, 409, "state-changed"}, {"/messages/99/retry", "{}", 404, "not-found"}, {"/messages/3/explode", "{}", 404, "not-found"},
		{"/operations", "", 400, "invalid-body"}, {"/operations", `{"action":"explode","q":"topic:t"}`, 400, "invalid-body"}, {"/operations", `{"action":"retry","q":"stat:dead"}`, 400, "invalid-filter"},
		{"/operations", `{"action":"retry","q":" "}`, 400, "invalid-filter"}, {"/operations", `{"action":"discard"}`, 400, "invalid-filter"}, {"/operations", `{"action":"retry","q":"state:sent"}`, 400, "invalid-filter"},
		{"/operations/99/start", "{}", 404, "not-found"}, {"/operations/x/start", "{}", 404, "not-found"}, {"/operations/99/pause", "{}", 404, "not-found"},
		{"/operations/1/start", "{}", 409, "state-changed"}, {"/operations/1/resume", "{}", 409, "state-changed"}, {"/operations/1/start", `{"rate":0}`, 400, "invalid-body"},
		{"/operations/1/start", `{"stop_at":5}`, 400, "invalid-body"}, {"/operations/1/start", `{"stop_at":-0.1}`, 400, "invalid-body"},
	} {
		res, got := d.call("POST", apiBase+c.path, c.body, withToken)
		wantProblem(t, c.path+" "+c.body[:min(len(c.body), 60)], res, got, c.code, c.kind)
	}
	for name, change := range map[string]func(*http.Request){
		"no token": func(*http.Request) {}, "wrong token": func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") },
		"session and its form": func(r *http.Request) { r.AddCookie(d.browser().signIn().cookie) },
	} {
		res, got := d.call("POST", apiBase+"/messages/3/retry", "{}", change)
		wantProblem(t, name, res, got, http.StatusUnauthorized, "unauthenticated")
	}
	for name, change := range map[string]func(*http.Request){
		"name":       func(r *http.Request) { r.Header.Set(actorHeader, "two words") },
		"form":       func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
		"cross-site": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
	} {
		want := map[string]struct {
			code int
			kind string
		}{"name": {400, "invalid-parameter"}, "form": {415, "invalid-body"}, "cross-site": {403, "forbidden"}}[name]
		res, got := d.call("POST", apiBase+"/messages/3/retry", "{}", func(r *http.Request) { withToken(r); change(r) })
		wantProblem(t, name, res, got, want.code, want.kind)
	}
	if d.lastAct().ID != before || d.stateOf(3) != "dead false" {
		t.Error("a refused act did something")
	}
	d.exec(`UPDATE outbox.message_held SET sending = true WHERE id = 6`)
	if code, got, _ := d.post("/messages/6/retry", "{}"); code != http.StatusConflict || !strings.Contains(got["detail"].(string), "being sent") {
		t.Errorf("a message on its way: %d %v", code, got)
	}
}

// A plan, its start with what that needs, and the steering of it.
func TestAPIOperation(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	d.many(300)
	code, got, header := d.post("/operations", `{"action":"discard","q":"topic:bulk"}`)
	item, _ := got["item"].(map[string]any)
	if code != http.StatusCreated || item["state"] != "planned" || item["total"] != 300.0 || item["actor"] != "api:token" {
		t.Fatalf("%d %v", code, got)
	}
	at := strings.TrimPrefix(header.Get("Location"), apiBase)
	for body, kind := range map[string]string{`{}`: "reason-required", `{"reason":"r"}`: "confirm-required", `{"reason":"r","confirm":"299"}`: "confirm-required",
		`{"reason":"r","confirm":"300","careful":true}`: "invalid-body"} {
		res, got := d.call("POST", apiBase+at+"/start", body, withToken)
		wantProblem(t, body, res, got, http.StatusBadRequest, kind)
	}
	if code, got, _ := d.post(at+"/start", `{"reason":"test orders","confirm":"300","rate":40}`); code != http.StatusAccepted || got["item"].(map[string]any)["state"] != "running" {
		t.Fatalf("start: %d %v", code, got)
	}
	if o := d.operationAt(at); o.Reason != "test orders" || o.Rate != 40 || o.State != relay.OperationRunning {
		t.Errorf("%+v", o)
	}
	if code, got, _ := d.post(at+"/start", `{"reason":"test orders","confirm":"300"}`); code != http.StatusConflict { // as a client does that did not hear the answer
		t.Errorf("a second start: %d %v", code, got)
	}
	for _, c := range []struct{ verb, state string }{{"pause", "paused"}, {"resume", "running"}, {"stop", "stopped"}} {
		if code, got, _ := d.post(at+"/"+c.verb, `{"reason":"r"}`); code != http.StatusOK || got["item"].(map[string]any)["state"] != c.state {
			t.Errorf("%s: %d %v", c.verb, code, got)
		}
	}
	_, got, header = d.post("/operations", `{"action":"retry","q":"topic:bulk"}`)
	at = strings.TrimPrefix(header.Get("Location"), apiBase)
	if code, _, _ := d.post(at+"/start", `{"careful":false,"stop_at":0.5}`); code != http.StatusAccepted {
		t.Fatalf("a retry: %d after %v", code, got)
	}
	if o := d.operationAt(at); o.Careful || o.StopAt != 0.5 {
		t.Errorf("%+v", o)
	}
	d.planning <- struct{}{}
	res, got := d.call("POST", apiBase+"/operations", `{"action":"retry","q":"topic:bulk"}`, withToken)
	wantProblem(t, "two plans at once", res, got, http.StatusConflict, "busy")
}

// Read only and without a token, nothing is changed whoever asks; the answer says why.
func TestAPINobodyCanAct_S18(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		why    string
	}{
		"no token":    {func(o *Options) { o.Token, o.NoToken = "", "the token file cannot be made" }, "cannot be made"},
		"read only":   {func(o *Options) { o.ReadOnly = true }, "dashboard.read_only"},
		"no operator": {func(o *Options) { o.Operator, o.Planner = nil, nil }, "Nobody can act"},
	} {
		d := newDesk(t, c.change)
		d.fill("t")
		before := d.lastAct().ID
		for _, s := range actSamples {
			if s.as != "" { // not an act
				continue
			}
			res, got := d.call("POST", apiBase+s.path, s.body, withToken)
			wantProblem(t, name+" "+s.path, res, got, http.StatusForbidden, "read-only")
			if detail, _ := got["detail"].(string); !strings.Contains(detail, c.why) {
				t.Errorf("%s: %s does not say why: %s", name, s.path, detail)
			}
		}
		if d.lastAct().ID != before {
			t.Errorf("%s: something was done", name)
		}
	}
}
