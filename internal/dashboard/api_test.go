package dashboard

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// call asks the API as a program does: no cookie, no page it comes from.
func (d *desk) call(method, path, body string, change func(*http.Request)) (*httptest.ResponseRecorder, map[string]any) {
	d.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, path, in)
	r.Host, r.RemoteAddr = "127.0.0.1:8088", "127.0.0.1:50000"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		d.t.Fatalf("%s %s: %d, %v: %s", method, path, w.Code, err, w.Body)
	}
	return w, got
}

func withToken(r *http.Request) { r.Header.Set("Authorization", "Bearer "+testToken) }

// wantProblem holds an answer to RFC 9457 and to its type.
func wantProblem(t *testing.T, name string, res *httptest.ResponseRecorder, got map[string]any, code int, kind string) {
	t.Helper()
	if res.Code != code || got["type"] != problemURI(kind) || got["status"] != float64(code) || res.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: %d %s %v, want %d %s", name, res.Code, res.Header().Get("Content-Type"), got, code, kind)
	}
	if detail, _ := got["detail"].(string); len(detail) < 20 || got["title"] == "" {
		t.Errorf("%s: no sentence for a person: %v", name, got)
	}
	if problemTypes[kind] == "" {
		t.Errorf("%s: the type %s is not explained", name, kind)
	}
}

func items(got map[string]any) (all []map[string]any) {
	list, _ := got["items"].([]any)
	for _, x := range list {
		all = append(all, x.(map[string]any))
	}
	return all
}

// What is read is what the database holds.
func TestAPIReads(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	for path, want := range map[string]map[string]string{
		"/overview":                   {"epoch": "7", "last_id": "7", "owner": "t"},
		"/why":                        {"verdict": "dead"},
		"/messages/3":                 {"id": "3", "state": "dead", "behind": "2"},
		"/messages/t3":                {"id": "3", "message_id": "t3"},
		"/messages/1":                 {"state": "sent"},
		"/messages/7":                 {"state": "discarded", "reason": "t"},
		"/messages/3/why":             {"verdict": "dead"},
		"/failures/000000000000000f":  {"id": "000000000000000f", "dead": "1", "closed_keys": "1"},
		"/key?topic=t&key=t":          {"head": "3", "behind": "2"},
		"/destinations/kafka-a":       {"name": "kafka-a", "kind": "kafka", "state": "open"},
		"/operations/1":               {"id": "1", "state": "running"},
		"/problems/not-found":         {"type": problemURI("not-found")},
		"/messages?q=state:dead":      {"id": "3"},
		"/messages/3/attempts":        {"outcome": "rejected", "error": "t"},
		"/failures":                   {"destination": "kafka-a"},
		"/keys":                       {"topic": "t", "key": "t"},
		"/destinations":               {"name": "kafka-a"},
		"/operations":                 {"id": "1"},
		"/operations/1/items":         {"id": "3", "planned_as": "dead"},
		"/doctor":                     {"id": "database.trigger", "level": "fail"},
		"/activity":                   {"action": "discard", "actor": "cli:t"},
		"/messages?q=id:1&limit=1":    {"id": "1"},
		"/operations?before=2":        {"id": "1"},
		"/operations/1/items?after=2": {"id": "3"},
	} {
		res, got := d.call("GET", apiBase+path, "", withToken)
		if res.Code != http.StatusOK || res.Header().Get("Content-Type") != "application/json" || got["version"] != 1.0 {
			t.Errorf("%s: %d %v", path, res.Code, got)
			continue
		}
		item, _ := got["item"].(map[string]any)
		if list := items(got); len(list) > 0 {
			item = list[0]
		}
		for name, value := range want {
			if item[name] != value {
				t.Errorf("%s: %s is %v, want %s", path, name, item[name], value)
			}
		}
	}
	if res, _ := d.call("GET", apiBase+"/overview", "", func(r *http.Request) { r.SetBasicAuth("somebody", "of a proxy") }); res.Code != http.StatusOK {
		t.Errorf("a login of somebody else's keeps one from looking: %d", res.Code)
	}
}

// Page after page, everything comes once, in its order, and the last page says that it is the last.
func TestAPIPages(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	d.many(5)
	for id := range 5 {
		if _, err := d.operator.Retry(t.Context(), []relay.ID{6}, relay.Act{Actor: "cli:a", Via: "cli"}); err != nil {
			t.Fatal(id, err)
		}
	}
	d.exec(`INSERT INTO outbox.operation_item (operation_id, id, state, step) SELECT 1, i, 'dead', 1 FROM generate_series(4, 12) AS i`)
	for range 4 {
		if _, err := d.operator.Plan(t.Context(), relay.PlanRequest{Action: relay.PlanRetry, Text: "topic:bulk", Filter: relay.Filter{Terms: []relay.Term{{Name: "topic", Op: ':', Values: []string{"bulk"}}}}},
			relay.Act{Actor: "cli:a", Via: "cli"}); err != nil {
			t.Fatal(err)
		}
	}
	for path, from := range map[string]string{"/messages?limit=5": "before", "/activity?limit=2": "before", "/operations/1/items?limit=4": "after", "/operations?limit=2": "before"} {
		var ids []string
		next := ""
		for page := 0; page == 0 || next != ""; page++ {
			at := apiBase + path
			if next != "" {
				at += "&" + from + "=" + next
			}
			res, got := d.call("GET", at, "", withToken)
			if res.Code != http.StatusOK || page > 20 {
				t.Fatalf("%s: %d %v", at, res.Code, got)
			}
			for _, x := range items(got) {
				ids = append(ids, x["id"].(string))
			}
			next, _ = got["next"].(string)
			if got["capped"] != (next != "") {
				t.Errorf("%s: capped %v, next %q", at, got["capped"], next)
			}
		}
		all := items(second(d.call("GET", apiBase+strings.Split(path, "?")[0], "", withToken)))
		if len(ids) != len(all) || len(slices.Compact(ids)) != len(all) {
			t.Errorf("%s: %v, in one page there are %d", path, ids, len(all))
		}
		for i, x := range all {
			if ids[i] != x["id"] {
				t.Errorf("%s: %v", path, ids)
				break
			}
		}
	}
	d.exec(`UPDATE outbox.message_log SET key = 'k' || id WHERE topic = 'bulk'`)
	d.exec(`UPDATE outbox.message_held SET key = 'k' || id WHERE topic = 'bulk'`)
	after, seen := "", map[string]bool{}
	for range 3 {
		_, got := d.call("GET", apiBase+"/keys?limit=2"+after, "", nil)
		for _, k := range items(got) {
			seen[k["key"].(string)] = true
			after = "&after_topic=" + k["topic"].(string) + "&after_key=" + k["key"].(string)
		}
	}
	if len(seen) != 6 {
		t.Errorf("keys page by page: %v", slices.Sorted(maps.Keys(seen)))
	}
}

func second[A, B any](_ A, b B) B { return b }

// Whatever is refused is a problem with a sentence: paths and methods that are not there, and what is turned away at the door, too.
func TestAPIProblems(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	for _, c := range []struct {
		method, path string
		code         int
		kind         string
	}{
		{"GET", "/nothing", 404, "not-found"}, {"GET", "", 404, "not-found"}, {"POST", "/nothing", 404, "not-found"},
		{"POST", "/overview", 405, "method-not-allowed"}, {"DELETE", "/messages/3", 405, "method-not-allowed"}, {"PUT", "/openapi", 404, "not-found"},
		{"GET", "/messages?q=stat:dead", 400, "invalid-filter"}, {"GET", "/messages?q=3", 400, "invalid-filter"},
		{"GET", "/messages?limit=0", 400, "invalid-parameter"}, {"GET", "/messages?limit=201", 400, "invalid-parameter"}, {"GET", "/messages?limit=x", 400, "invalid-parameter"},
		{"GET", "/messages?limit=", 400, "invalid-parameter"}, {"GET", "/messages?before=-1", 400, "invalid-parameter"}, {"GET", "/messages?befor=1", 400, "invalid-parameter"},
		{"GET", "/messages?before=1&before=2", 400, "invalid-parameter"}, {"GET", "/messages?before=99999999999999999999", 400, "invalid-parameter"},
		{"GET", "/overview?q=x", 400, "invalid-parameter"}, {"GET", "/key?topic=t", 400, "invalid-parameter"},
		{"GET", "/operations/1/items?outcome=lost", 400, "invalid-parameter"},
		{"GET", "/messages/99", 404, "not-found"}, {"GET", "/messages/99/why", 404, "not-found"}, {"GET", "/messages/99/attempts", 404, "not-found"},
		{"GET", "/failures/x", 404, "not-found"}, {"GET", "/failures/00000000000000ff", 404, "not-found"}, {"GET", "/key?topic=t&key=u", 404, "not-found"},
		{"GET", "/destinations/nowhere", 404, "not-found"}, {"GET", "/operations/99", 404, "not-found"}, {"GET", "/operations/99/items", 404, "not-found"},
		{"GET", "/operations/x", 404, "not-found"}, {"GET", "/problems/nothing", 404, "not-found"},
		{"GET", "/activity", 401, "unauthenticated"},
	} {
		res, got := d.call(c.method, apiBase+c.path, "", nil)
		wantProblem(t, c.method+" "+c.path, res, got, c.code, c.kind)
		if allow := res.Header().Get("Allow"); (c.code == 405) != (allow == "GET") {
			t.Errorf("%s %s: Allow %q", c.method, c.path, allow)
		}
		if c.code == 401 && !strings.HasPrefix(res.Header().Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: how to log in is not said", c.path)
		}
	}
	for name, change := range map[string]func(*http.Request){
		"wrong token": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+testToken+"x") },
		"basic":       func(r *http.Request) { r.SetBasicAuth("token", testToken) },
		"session":     func(r *http.Request) { r.AddCookie(d.browser().signIn().cookie) },
		"empty":       func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") },
	} {
		res, got := d.call("GET", apiBase+"/activity", "", change)
		wantProblem(t, name, res, got, http.StatusUnauthorized, "unauthenticated")
	}
	if log := d.log.String(); strings.Contains(log, testToken) || !strings.Contains(log, "wrong token") {
		t.Errorf("the log: %s", log)
	}
	res, got := d.call("GET", apiBase+"/overview", "", func(r *http.Request) { r.Host = "evil.example" })
	wantProblem(t, "host", res, got, http.StatusMisdirectedRequest, "host-not-allowed")
	res, got = d.call("POST", apiBase+"/overview", "{}", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	wantProblem(t, "cross-site", res, got, http.StatusForbidden, "forbidden")
	for range maxRequests {
		d.slots <- struct{}{}
	}
	res, got = d.call("GET", apiBase+"/overview", "", nil)
	wantProblem(t, "too many", res, got, http.StatusServiceUnavailable, "rate-limited")
	if res.Header().Get("Retry-After") == "" {
		t.Error("when to try again is not said")
	}
}

// Without a token there is nothing that an empty one opens, and the answer says why there is none.
func TestAPIWithoutToken_S18(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.Token, o.NoToken = "", "the token file cannot be made" })
	for _, header := range []string{"", "Bearer", "Bearer ", "Bearer x"} {
		res, got := d.call("GET", apiBase+"/activity", "", func(r *http.Request) { r.Header.Set("Authorization", header) })
		wantProblem(t, header, res, got, http.StatusForbidden, "read-only")
		if !strings.Contains(got["detail"].(string), "cannot be made") {
			t.Errorf("%v", got)
		}
	}
}

// A database that does not answer is a problem of its own, and nothing of it is told but an id under which the log has it.
func TestAPIWithoutDatabase(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	d.inspector.Close()
	for _, path := range []string{"/overview", "/messages", "/messages/3", "/keys", "/failures", "/destinations", "/operations/1"} {
		began := time.Now()
		res, got := d.call("GET", apiBase+path, "", nil)
		wantProblem(t, path, res, got, http.StatusServiceUnavailable, "database-down")
		if detail := got["detail"].(string); strings.Contains(detail, "pool") || !strings.Contains(detail, "request") {
			t.Errorf("%s: %s", path, detail)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s took %s", path, took)
		}
	}
}
