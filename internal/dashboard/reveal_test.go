package dashboard

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/mask"
	"github.com/waybillmq/waybill/relay"
)

const canary = "canary-4711"

// revealing is a desk where names have roles, with masks, and with messages from id 8 on: 8 JSON of topic order.paid, 9 text of mail, 10 bytes, 11 a tombstone, 12 an empty one, 13
// JSON that a mask of topic cut cannot be applied to, 14 of topic secret, 15 too large.
func revealing(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t, withNames(t))
	d.fill("t")
	var err error
	if d.showing.Masks, err = mask.New([]mask.Rule{{Topics: []string{"order.*", "cut"}, Paths: []string{"$..email"}, Headers: []string{"authorization"}}}); err != nil {
		t.Fatal(err)
	}
	d.showing.Topics = []string{"order.*", "mail", "bytes", "cut", "t", "large"}
	d.exec(`INSERT INTO outbox.message_log (topic, content_type, headers, payload) VALUES
		('order.paid', 'application/json', '{"Authorization": "masked-header", "x": "` + canary + `-header"}', '{"id": 12345678901234567890, "email": "masked-value", "note": "` + canary + `"}'),
		('mail', NULL, NULL, '` + canary + `'), ('bytes', NULL, NULL, '\x00ff` + strings.Repeat("41", 5000) + `'), ('t', NULL, NULL, NULL), ('t', NULL, NULL, ''),
		('cut', NULL, '{"x": "` + canary + `-header"}', '{"email": "masked-value", ` + canary + `'), ('secret', NULL, NULL, '` + canary + `'), ('large', NULL, NULL, convert_to(repeat('x', 1048577), 'UTF8'))`)
	return d
}

// S13: a payload is seen by whoever has the role, for its topic, after asking for it; the row of the log says who, why and what, and has nothing of it. Masks hide.
func TestReveal_S13(t *testing.T) {
	d := revealing(t)
	b := d.as("pavel")
	if body := b.get("/messages/8").Body.String(); strings.Contains(body, canary) || !strings.Contains(body, "/messages/8/reveal") {
		t.Errorf("the page of the message: %s", body)
	}
	rows := d.lastAct().ID
	form := b.form("/messages/8/reveal")
	if strings.Contains(b.get("/messages/8/reveal").Body.String(), canary) || d.lastAct().ID != rows {
		t.Error("asking whether it shall be shown shows it, or writes something down")
	}
	form.Set("reason", " the customer asks ")
	res := b.post("/messages/8/reveal", form)
	body := html.UnescapeString(res.Body.String())
	for _, want := range []string{canary, canary + "-header", "12345678901234567890", "application/json", "2 values are hidden", mask.Hidden} {
		if res.Code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%d, it lacks %q: %s", res.Code, want, body)
		}
	}
	if strings.Contains(body, "masked-") || res.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("it shows what is masked, or may be kept: %s", body)
	}
	last := d.lastAct()
	if last.ID != rows+1 || last.Action != "reveal" || last.Actor != "ui:pavel" || last.Via != "ui" || last.Reason != "the customer asks" || last.Address != "127.0.0.1" || !slices.Equal(last.IDs, []relay.ID{8}) {
		t.Errorf("the log says %+v", last)
	}
	for id, wants := range map[string][]string{"9": {canary, "shown as text"}, "10": {"00000000  00 ff 41 41", "shown as bytes. This is its beginning."}, "11": {"a tombstone"}, "12": {"It is empty"},
		"13": {canary + "-header", "Nothing of it is shown: privacy.masks has paths for topic cut, and they cannot be applied: it is no JSON."}} {
		body := html.UnescapeString(b.post("/messages/"+id+"/reveal", form).Body.String())
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("message %s lacks %q: %s", id, want, body)
			}
		}
		if id == "13" && (strings.Contains(body, canary+"<") || strings.Contains(body, "masked-value")) {
			t.Errorf("a payload that cannot be masked is shown: %s", body)
		}
	}
	rows = d.lastAct().ID
	for id, code := range map[string]int{"14": http.StatusForbidden, "15": http.StatusConflict, "99": http.StatusNotFound} {
		for _, res := range []interface{ Result() *http.Response }{b.get("/messages/" + id + "/reveal"), b.post("/messages/"+id+"/reveal", form)} {
			if got := res.Result().StatusCode; got != code {
				t.Errorf("message %s: %d, want %d", id, got, code)
			}
		}
	}
	form.Set("reason", strings.Repeat("x", maxReason+1))
	if res := b.post("/messages/8/reveal", form); res.Code != http.StatusBadRequest || strings.Contains(res.Body.String(), canary) {
		t.Errorf("a long reason: %d", res.Code)
	}
	if d.lastAct().ID != rows {
		t.Error("what was refused was written down as shown")
	}
	if body := b.get("/messages/14").Body.String(); strings.Contains(body, "/reveal") {
		t.Error("the page offers what is refused")
	}
	if strings.Contains(d.log.String(), canary) {
		t.Errorf("the log of the program has it: %s", d.log)
	}
}

// S13: the same by the API, whose answer no Idempotency-Key keeps.
func TestAPIReveal_S13(t *testing.T) {
	d := revealing(t)
	ask := func(id, body string, change func(*http.Request)) (int, map[string]any) {
		res, got := d.call("POST", apiBase+"/messages/"+id+"/reveal", body, change)
		return res.Code, got
	}
	for id, want := range map[string]map[string]any{
		"8":  {"encoding": "text", "payload": `{"id": 12345678901234567890, "email": "` + mask.Hidden + `", "note": "` + canary + `"}`, "masked": 2.0, "content_type": "application/json", "tombstone": false},
		"9":  {"encoding": "text", "payload": canary, "masked": 0.0},
		"10": {"encoding": "base64", "payload": base64.StdEncoding.EncodeToString([]byte("\x00\xff" + strings.Repeat("A", 5000))), "payload_bytes": 5002.0},
		"11": {"tombstone": true, "payload": nil, "encoding": nil}, "12": {"tombstone": false, "payload": nil, "encoding": "text"},
		"13": {"payload": nil, "encoding": nil, "hidden": "privacy.masks has paths for topic cut, and they cannot be applied: it is no JSON"},
	} {
		code, got := ask(id, `{"reason":"r"}`, bearing("pavel"))
		item, _ := got["item"].(map[string]any)
		for name, value := range want {
			if code != http.StatusOK || item[name] != value {
				t.Errorf("message %s: %d, %s is %v, want %v", id, code, name, item[name], value)
			}
		}
		if last := d.lastAct(); last.Actor != "api:pavel" || last.Reason != "r" || item["activity"] == "" {
			t.Errorf("the log says %+v", last)
		}
	}
	_, got := ask("8", "", bearing("pavel"))
	if headers := got["item"].(map[string]any)["headers"].(map[string]any); headers["Authorization"] != mask.Hidden || headers["x"] != canary+"-header" {
		t.Errorf("headers: %v", headers)
	}
	rows := d.lastAct().ID
	for name, c := range map[string]struct {
		id, who string
		code    int
		kind    string
	}{"operator": {"8", "otto", 403, "forbidden"}, "admin": {"8", "ada", 403, "forbidden"}, "token": {"8", "token", 403, "forbidden"}, "viewer": {"8", "vera", 403, "forbidden"}, "nobody": {"8", "", 401, "unauthenticated"},
		"another topic": {"14", "pavel", 403, "forbidden"}, "too large": {"15", "pavel", 409, "too-large"}, "not there": {"99", "pavel", 404, "not-found"}} {
		res, got := d.call("POST", apiBase+"/messages/"+c.id+"/reveal", "{}", bearing(c.who))
		wantProblem(t, name, res, got, c.code, c.kind)
	}
	res, got := d.call("POST", apiBase+"/messages/8/reveal", "{}", func(r *http.Request) { bearing("pavel")(r); r.Header.Set(onceHeader, "k") })
	wantProblem(t, "kept", res, got, http.StatusBadRequest, "invalid-parameter")
	var kept int
	if err := d.conn.QueryRow(t.Context(), `SELECT count(*) FROM outbox.idempotency`).Scan(&kept); err != nil || kept != 0 || d.lastAct().ID != rows {
		t.Errorf("%d answers are kept, %v", kept, err)
	}
	d.Dashboard.ReadOnly = true
	res, got = d.call("POST", apiBase+"/messages/8/reveal", "{}", bearing("pavel"))
	wantProblem(t, "read only", res, got, http.StatusForbidden, "read-only")
}

// S13: where it is read only nobody has anything shown, and nothing offers it.
func TestReadOnlyRevealsNothing_S13(t *testing.T) {
	named := withNames(t)
	d := newDesk(t, func(o *Options) { named(o); o.ReadOnly = true })
	d.fill(canary)
	b := d.as("pavel")
	if body := b.get("/messages/3").Body.String(); strings.Contains(body, "/reveal") {
		t.Errorf("the page offers it: %s", body)
	}
	for _, res := range []*httptest.ResponseRecorder{b.get("/messages/3/reveal"), b.post("/messages/3/reveal", b.form("/"))} {
		if res.Code != http.StatusNotFound {
			t.Errorf("%d %s", res.Code, res.Body)
		}
	}
}

// lying is a relay.Revealer whose answers are not to be believed.
type lying struct {
	relay.Revealed
	err error
}

func (l lying) Reveal(context.Context, relay.ID, relay.Act) (relay.Revealed, error) {
	return l.Revealed, l.err
}

// S13: in doubt nothing is shown: the row cannot be written, was not written, the message is of another topic, a mask cannot be read.
func TestRevealFailsClosed_S13(t *testing.T) {
	d := revealing(t)
	b := d.as("pavel")
	form := b.form("/messages/8/reveal")
	both := func(name string, want string) {
		t.Helper()
		page := b.post("/messages/8/reveal", form)
		api, _ := d.call("POST", apiBase+"/messages/8/reveal", "{}", bearing("pavel"))
		for kind, res := range map[string]interface{ Result() *http.Response }{"page": page, "API": api} {
			var text bytes.Buffer
			_, _ = text.ReadFrom(res.Result().Body)
			if strings.Contains(text.String(), canary) || !strings.Contains(html.UnescapeString(text.String()), want) {
				t.Errorf("%s, %s: %d %s", name, kind, res.Result().StatusCode, &text)
			}
		}
	}
	d.exec(`ALTER TABLE outbox.activity ADD CONSTRAINT broken CHECK (action <> 'reveal') NOT VALID`)
	both("the row is refused", "did not answer")
	d.exec(`ALTER TABLE outbox.activity DROP CONSTRAINT broken`)
	seen := relay.Revealed{Activity: 1, ID: 8, Topic: "order.paid", Size: 9, Payload: []byte(canary), Headers: map[string]string{"x": canary}}
	real := d.showing.From
	d.showing.From = lying{seen, errors.New("lost on the way to the disk")}
	both("an answer with an error", "did not answer")
	unwritten, other := seen, seen
	unwritten.Activity, other.Topic = 0, "secret"
	d.showing.From = lying{unwritten, nil}
	both("no row", "Nothing was shown")
	d.showing.From = lying{other, nil}
	both("another topic", "Nothing was shown")
	d.showing.From = real
	d.exec(`UPDATE outbox.message_log SET headers = NULL, payload = '{"a": "` + canary + `"}' WHERE id = 8`)
	d.showing.Masks, _ = mask.New([]mask.Rule{{Topics: []string{"*"}, Paths: []string{"$.b", "email"}}})
	both("a bad path", "a mask cannot be read")
	d.showing.Masks, _ = mask.New(nil)
	if res := b.post("/messages/8/reveal", form); !strings.Contains(res.Body.String(), canary) {
		t.Errorf("this test sees nothing: %s", res.Body)
	}
	form.Set("form", "x")
	both2 := b.post("/messages/8/reveal", form)
	if both2.Code != http.StatusForbidden || strings.Contains(both2.Body.String(), canary) {
		t.Errorf("without the form: %d", both2.Code)
	}
}

// S1, S13: whatever a payload or a header holds is text on the page.
func TestPayloadsAreText_S1_S13(t *testing.T) {
	d := revealing(t)
	b := d.as("pavel")
	for i, vector := range markup {
		for _, payload := range []string{vector, `{"a":` + quoted(vector) + `}`} {
			var id relay.ID
			if err := d.conn.QueryRow(t.Context(), `INSERT INTO outbox.message_log (topic, content_type, headers, payload) VALUES ('mail', left($1, 100), jsonb_build_object($1::text, $1::text), convert_to($2, 'UTF8')) RETURNING id`,
				vector, payload).Scan(&id); err != nil {
				t.Fatal(err)
			}
			res := b.post("/messages/"+id.String()+"/reveal", url.Values{"form": {b.form("/messages/" + id.String() + "/reveal").Get("form")}})
			body := res.Body.String()
			if res.Code != http.StatusOK || strings.ContainsAny(vector, `<>"'`) && strings.Contains(body, vector) || strings.ContainsAny(body, "\u202e\u2066") {
				t.Errorf("%d: %d, %q as it is: %s", i, res.Code, payload, body)
			}
			if strings.Count(html.UnescapeString(body), visible(vector)) < 2 {
				t.Errorf("%q is not seen: %s", vector, body)
			}
		}
	}
}

func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func TestBody(t *testing.T) {
	for in, want := range map[string]body{
		"":                              {},
		"a\r\nb\tc\x1b[31m\u202e\u00ad": {"text", "a\\u000d\nb\tc\\u001b[31m\\u202e\\u00ad", false},
		`{"b":1e400,"a":[1]}`:           {"JSON", "{\n  \"b\": 1e400,\n  \"a\": [\n    1\n  ]\n}", false},
		"a\x00b":                        {"bytes", "00000000  61 00 62                                          |a.b|\n", false},
		"\xff":                          {"bytes", "00000000  ff                                                |.|\n", false},
		" ":                             {"text", " ", false},
	} {
		if got := bodyOf([]byte(in)); got != want {
			t.Errorf("%q: %+v", in, got)
		}
	}
	if got := bodyOf([]byte(strings.Repeat("ü", relay.MaxReveal/2))); got.Kind != "text" || !got.Cut || len(got.Text) > maxBodyText || strings.Contains(got.Text, "\ufffd") {
		t.Errorf("%s, %d bytes", got.Kind, len(got.Text))
	}
	if got := bodyOf([]byte(strings.Repeat("[", 9000) + strings.Repeat("]", 9000))); len(got.Text) > 8*maxBodyText {
		t.Errorf("deep JSON becomes %d bytes", len(got.Text))
	}
}
