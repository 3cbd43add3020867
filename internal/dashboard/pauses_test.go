package dashboard

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// paused are the pauses in the database, with who and why.
func (d *desk) paused() (text string) {
	d.t.Helper()
	if err := d.conn.QueryRow(d.t.Context(), `SELECT coalesce(string_agg(concat_ws(' ', '"' || destination || '"', actor, reason), ', ' ORDER BY destination), '') FROM outbox.pause`).Scan(&text); err != nil {
		d.t.Fatal(err)
	}
	return text
}

func (d *desk) lastActivity() (text string) {
	d.t.Helper()
	if err := d.conn.QueryRow(d.t.Context(), `SELECT concat_ws(' ', actor, via, action, target, reason) FROM outbox.activity ORDER BY id DESC LIMIT 1`).Scan(&text); err != nil {
		d.t.Fatal(err)
	}
	return text
}

// A destination, or all of them, is paused and resumed on the page: with a reason, once, by whoever has signed in; everybody reads by whom and why.
func TestPauseOnThePage(t *testing.T) {
	for _, c := range []struct{ path, what, target string }{{"/destinations/kafka-a", "kafka-a", "destination kafka-a"}, {"/destinations", "all destinations", "all destinations"}} {
		t.Run(c.what, func(t *testing.T) {
			d := newDesk(t, nil)
			d.fill("t")
			b := d.browser().signIn()
			if page := b.get("/destinations").Body.String(); !strings.Contains(page, `href="`+c.path+`/pause"`) || strings.Contains(page, "/resume") {
				t.Error("the page does not lead to the pause, or to a resume of nothing")
			}
			form := b.form(c.path + "/pause")
			if res := b.post(c.path+"/pause", form); res.Code != http.StatusBadRequest || !strings.Contains(res.Body.String(), "Write why") || d.paused() != "" {
				t.Errorf("without a reason: %d, %s", res.Code, d.paused())
			}
			form.Set("reason", "rebalance <until> 12:00")
			if res := b.post(c.path+"/pause", form); res.Code != http.StatusSeeOther || res.Header().Get("Location") != "/destinations" {
				t.Errorf("%d: %s", res.Code, res.Body)
			}
			if got := d.lastActivity(); got != "ui:ana ui pause "+c.target+" rebalance <until> 12:00" {
				t.Errorf("the activity log says %q", got)
			}
			page := d.browser().get("/destinations").Body.String()
			for _, want := range []string{"ui:ana", "rebalance &lt;until&gt; 12:00", `<span class="state warn">paused</span>`, `href="` + c.path + `/resume"`} {
				if !strings.Contains(page, want) {
					t.Errorf("the page lacks %q", want)
				}
			}
			if page := b.get("/").Body.String(); !strings.Contains(page, "rebalance &lt;until&gt; 12:00") {
				t.Error("the overview does not say why")
			}
			if res := b.post(c.path+"/pause", form); res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "paused already") {
				t.Errorf("a second pause: %d", res.Code)
			}
			form = b.form(c.path + "/resume")
			if res := b.post(c.path+"/resume", form); res.Code != http.StatusSeeOther || d.paused() != "" {
				t.Errorf("resume: %d, %s", res.Code, d.paused())
			}
			if page := b.get("/destinations").Body.String(); strings.Contains(page, "/resume") || !strings.Contains(page, "resumed (activity") {
				t.Error("the page still says that it is paused")
			}
			if res := b.post(c.path+"/resume", form); res.Code != http.StatusConflict {
				t.Errorf("a second resume: %d", res.Code)
			}
		})
	}
}

func TestPauseNeedsADestinationThatSomebodyKnows(t *testing.T) {
	d := newDesk(t, nil)
	b := d.browser().signIn()
	form := b.form("/destinations/pause")
	form.Set("reason", "r")
	for _, path := range []string{"/destinations/kafka-x/pause", "/destinations/kafka-a/stop", "/destinations/stop"} {
		if res := b.get(path); res.Code != http.StatusNotFound {
			t.Errorf("GET %s: %d", path, res.Code)
		}
		if res := b.post(path, form); res.Code != http.StatusNotFound {
			t.Errorf("POST %s: %d", path, res.Code)
		}
	}
	d.exec(`SELECT outbox.pause('gone', 'cli:ben@host', 'r')`) // its configuration has gone since
	d.state.changed()
	if res := b.post("/destinations/gone/resume", url.Values{"form": form["form"]}); res.Code != http.StatusSeeOther || d.paused() != "" {
		t.Errorf("%d, %s", res.Code, d.paused())
	}
}

// The API does the same, and names the program.
func TestPauseByTheAPI(t *testing.T) {
	d := newDesk(t, nil)
	for _, s := range []struct {
		path, body string
		code       int
		says       string
	}{
		{"/destinations/kafka-a/pause", "", 400, "Write why"}, {"/destinations/kafka-x/pause", `{"reason":"r"}`, 404, "No such destination"},
		{"/destinations/kafka-a/pause", `{"reason":"r","until":"x"}`, 400, "until: write how long"}, {"/destinations/kafka-a/pause", `{"reason":"r","until":"2020-01-01T00:00:00Z"}`, 409, "is over already"},
		{"/destinations/kafka-a/resume", `{"until":"2h"}`, 400, "until"}, {"/destinations/kafka-a/pause", `{"until":"2h"}`, 400, "Write why"}, {"/destinations/kafka-a/resume", "", 409, "not paused by itself"},
		{"/destinations/kafka-a/pause", `{"reason":"r"}`, 200, ""}, {"/destinations/kafka-a/pause", `{"reason":"r"}`, 409, "paused already"},
		{"/destinations/pause", `{"reason":"all"}`, 200, ""},
	} {
		res, got := d.call("POST", apiBase+s.path, s.body, withToken)
		if res.Code != s.code || !strings.Contains(res.Body.String(), s.says) {
			t.Errorf("%s %s: %d %v", s.path, s.body, res.Code, got)
		}
	}
	if got := d.paused(); got != `"" api:token all, "kafka-a" api:token r` {
		t.Error(got)
	}
	_, got := d.call("GET", apiBase+"/destinations/kafka-a", "", nil)
	item, _ := got["item"].(map[string]any)
	by, _ := item["paused"].(map[string]any)
	if item["state"] != "paused" || by["by"] != "api:token" || by["reason"] != "r" || by["destination"] != "kafka-a" {
		t.Errorf("%v", got)
	}
}

// A pause may have an end: it is taken, told to everybody, and refused when it makes no sense.
func TestPauseUntil(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	b := d.browser().signIn()
	form := b.form("/destinations/kafka-a/pause")
	form.Set("reason", "rebalance")
	for _, until := range []string{"soon", "-1h"} {
		form.Set("until", until)
		if res := b.post("/destinations/kafka-a/pause", form); res.Code != http.StatusBadRequest || !strings.Contains(res.Body.String(), "Until when?") || !strings.Contains(res.Body.String(), `value="rebalance"`) || d.paused() != "" {
			t.Errorf("until %s: %d", until, res.Code)
		}
	}
	form.Set("until", "2100-01-31T12:00:00Z")
	if res := b.post("/destinations/kafka-a/pause", form); res.Code != http.StatusSeeOther {
		t.Fatalf("%d: %s", res.Code, res.Body)
	}
	if page := b.get("/destinations").Body.String(); strings.Count(page, "2100-01-31T12:00:00Z") < 2 || !strings.Contains(page, "goes on by itself") {
		t.Error("the destinations do not say until when")
	}
	for path, want := range map[string]string{"/": "until 2100-01-31T12:00:00Z: rebalance", "/activity": "until 2100-01-31T12:00:00Z", "/destinations/kafka-a/resume": "2100-01-31T12:00:00Z"} {
		if page := b.get(path).Body.String(); !strings.Contains(page, want) {
			t.Errorf("%s does not say until when", path)
		}
	}
	_, got := d.call("GET", apiBase+"/destinations/kafka-a", "", nil)
	item, _ := got["item"].(map[string]any)
	if by, _ := item["paused"].(map[string]any); by["until"] != "2100-01-31T12:00:00Z" {
		t.Errorf("%v", got)
	}
	_, got = d.call("POST", apiBase+"/destinations/pause", `{"reason":"all","until":"2100-02-01T00:00:00+01:00"}`, withToken)
	if item, _ := got["item"].(map[string]any); item["until"] != "2100-01-31T23:00:00Z" {
		t.Errorf("%v", got)
	}
	d.exec(`UPDATE outbox.pause SET at = now() - interval '2 h', until = now() - interval '1 h'`)
	d.state.changed()
	if page := b.get("/destinations").Body.String(); strings.Contains(page, "/resume") || strings.Contains(page, "rebalance") {
		t.Error("it is over, and the page still says that it is paused")
	}
}
