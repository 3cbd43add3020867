package dashboard

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// contract holds answers to the document that is served. It is stricter than the document: a field that is not in it is wrong.
type contract struct{ document map[string]any }

func (d *desk) contract() contract {
	d.t.Helper()
	res, got := d.call("GET", apiBase+"/openapi.json", "", nil)
	if res.Code != http.StatusOK || got["openapi"] != "3.1.0" {
		d.t.Fatalf("%d %v", res.Code, got)
	}
	return contract{got}
}

func (c contract) at(path ...string) any {
	var v any = c.document
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func (c contract) check(s map[string]any, v any, at string) (wrong []string) {
	if ref, ok := s["$ref"].(string); ok {
		target, ok := c.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...).(map[string]any)
		if !ok {
			return []string{at + ": " + ref + " leads nowhere"}
		}
		return c.check(target, v, at)
	}
	if want, ok := s["const"]; ok {
		if v != want {
			return []string{fmt.Sprintf("%s is %v, want %v", at, v, want)}
		}
		return nil
	}
	kind, is := s["type"].(string), true
	switch v := v.(type) {
	case string:
		is = kind == "string"
		if _, err := time.Parse(time.RFC3339Nano, v); s["format"] == "date-time" && (err != nil || !strings.HasSuffix(v, "Z")) {
			return []string{fmt.Sprintf("%s is %q: no moment in UTC", at, v)}
		}
	case float64:
		is = kind == "number" || kind == "integer" && v == float64(int64(v))
	case bool:
		is = kind == "boolean"
	case nil:
		is = false
	case []any:
		is = kind == "array"
		for i, x := range v {
			wrong = append(wrong, c.check(s["items"].(map[string]any), x, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		is = kind == "object"
		wrong = c.object(s, v, at)
	}
	if kind != "" && !is {
		return []string{fmt.Sprintf("%s is %T, want %s", at, v, kind)}
	}
	return wrong
}

func (c contract) object(s, v map[string]any, at string) (wrong []string) {
	known, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s lacks %s", at, name))
		}
	}
	for name, x := range v {
		below, ok := known[name].(map[string]any)
		if !ok {
			below, ok = s["additionalProperties"].(map[string]any)
		}
		switch {
		case ok:
			wrong = append(wrong, c.check(below, x, at+"."+name)...)
		case known != nil:
			wrong = append(wrong, at+"."+name+" is not in the document")
		}
	}
	return wrong
}

// sample is a request for one operation of the document.
type sample struct {
	operation, path, body string
	as                    string // who may; empty = whoever has the token
}

var readSamples = []sample{
	{"getOpenapiJson", "/openapi.json", "", ""}, {"getProblemsType", "/problems/busy", "", ""}, {"getOverview", "/overview", "", ""}, {"getWhy", "/why", "", ""},
	{"getMessages", "/messages", "", ""}, {"getMessages", "/messages?q=state:dead&limit=1", "", ""}, {"getMessages", "/messages?limit=2", "", ""},
	{"getMessagesId", "/messages/1", "", ""}, {"getMessagesId", "/messages/2", "", ""}, {"getMessagesId", "/messages/3", "", ""}, {"getMessagesId", "/messages/4", "", ""},
	{"getMessagesId", "/messages/6", "", ""}, {"getMessagesId", "/messages/7", "", ""}, {"getMessagesIdWhy", "/messages/3/why", "", ""}, {"getMessagesIdAttempts", "/messages/3/attempts", "", ""},
	{"getMessagesIdAttempts", "/messages/1/attempts", "", ""}, {"getFailures", "/failures", "", ""}, {"getFailuresId", "/failures/000000000000000f", "", ""}, {"getKeys", "/keys", "", ""},
	{"getKey", "/key?topic=t&key=t", "", ""}, {"getDestinations", "/destinations", "", ""}, {"getDestinationsName", "/destinations/kafka-a", "", ""}, {"getDestinationsName", "/destinations/idle", "", ""},
	{"getOperations", "/operations", "", ""}, {"getOperationsId", "/operations/1", "", ""}, {"getOperationsIdItems", "/operations/1/items", "", ""},
	{"getOperationsIdItems", "/operations/1/items?outcome=sent", "", ""}, {"getDoctor", "/doctor", "", ""}, {"getActivity", "/activity", "", ""},
	{"getAuditRuns", "/audit/runs", "", ""}, {"getAuditRunsId", "/audit/runs/41", "", ""}, {"getAuditRunsId", "/audit/runs/40", "", ""},
}

// actSamples are in an order in which they can be done one after the other: operation 2 is the plan, 1 was running before.
var actSamples = []sample{
	{"postMessagesIdRetry", "/messages/6/retry", "", ""}, {"postMessagesIdSkip", "/messages/3/skip", `{"reason":"r"}`, ""}, {"postMessagesIdDiscard", "/messages/3/discard", `{"reason":"r"}`, ""},
	{"postOperations", "/operations", `{"action":"retry","q":"topic:t"}`, ""}, {"postOperationsIdStart", "/operations/2/start", `{"careful":true,"rate":10,"stop_at":0.1}`, ""},
	{"postDestinationsPause", "/destinations/pause", `{"reason":"r"}`, ""}, {"postDestinationsNamePause", "/destinations/kafka-a/pause", `{"reason":"r"}`, ""},
	{"postDestinationsNameResume", "/destinations/kafka-a/resume", "", ""}, {"postDestinationsResume", "/destinations/resume", "", ""},
	{"postOperationsIdPause", "/operations/1/pause", "{}", ""}, {"postOperationsIdResume", "/operations/1/resume", "", ""}, {"postOperationsIdStop", "/operations/1/stop", `{"reason":"r"}`, ""},
	{"postMessagesIdReveal", "/messages/3/reveal", `{"reason":"r"}`, "pavel"}, {"postMessagesIdReveal", "/messages/4/reveal", "", "pia"},
	{"postAuditRuns", "/audit/runs", `{"from":"1","to":"7","reason":"r"}`, ""}, {"postAuditRuns", "/audit/runs", "", ""},
}

// The document and the handlers are one: every operation of it answers with the code that it says, every answer is of its schema, every route is in it, and
// every problem has the form that is said for it.
func TestDocumentIsKept(t *testing.T) {
	idle := func(o *Options) { o.Destinations = append(o.Destinations, Destination{"idle", "rabbitmq"}) }
	t.Run("names", func(t *testing.T) {
		named := withNames(t)
		documentIsKept(t, newDesk(t, func(o *Options) { idle(o); named(o) }))
	})
	t.Run("no names", func(t *testing.T) { documentIsKept(t, newDesk(t, idle)) })
}

func documentIsKept(t *testing.T, d *desk) {
	d.fill("t")
	c := d.contract()
	paths := c.at("paths").(map[string]any)
	operations, routes := map[string]map[string]any{}, 0
	for path, methods := range paths {
		for method, o := range methods.(map[string]any) {
			o := o.(map[string]any)
			id := o["operationId"].(string)
			if operations[id] != nil {
				t.Errorf("two operations are called %s", id)
			}
			operations[id] = o
			o["method"] = strings.ToUpper(method)
			named := map[string]bool{}
			list, _ := o["parameters"].([]any)
			for _, p := range list {
				p := p.(map[string]any)
				named[p["name"].(string)] = p["in"] == "path" && p["required"] == true
			}
			for _, m := range inPath.FindAllStringSubmatch(path, -1) {
				if !named[m[1]] {
					t.Errorf("%s: the parameter %s is not described", path, m[1])
				}
			}
		}
	}
	for _, rt := range d.asks {
		routes++
		if o, _ := c.at("paths", apiBase+rt.pattern, strings.ToLower(rt.method)).(map[string]any); o == nil {
			t.Errorf("%s %s is not in the document", rt.method, rt.pattern)
		}
	}
	if routes != len(operations) {
		t.Errorf("%d routes, %d operations in the document", routes, len(operations))
	}
	tried := map[string]bool{}
	for _, s := range slices.Concat(readSamples, actSamples) {
		o := operations[s.operation]
		if o == nil {
			t.Errorf("there is no operation %s", s.operation)
			continue
		}
		tried[s.operation] = true
		who := cmp.Or(s.as, "token")
		res, got := d.call(o["method"].(string), apiBase+s.path, s.body, bearing(who))
		if s.as != "" && d.Logins == nil { // nobody has that name
			wantProblem(t, s.operation, res, got, http.StatusUnauthorized, "unauthenticated")
			continue
		}
		answer, ok := o["responses"].(map[string]any)[fmt.Sprint(res.Code)].(map[string]any)
		if !ok {
			t.Errorf("%s %s: %d is not in the document: %v", s.operation, s.path, res.Code, got)
			continue
		}
		shape := answer["content"].(map[string]any)[res.Header().Get("Content-Type")].(map[string]any)["schema"].(map[string]any)
		for _, wrong := range c.check(shape, any(got), "answer") {
			t.Errorf("%s %s: %s", s.operation, s.path, wrong)
		}
		// Without the token: refused where the document asks for it, and answered where it does not.
		_, secured := o["security"]
		res, got = d.call(o["method"].(string), apiBase+s.path, s.body, nil)
		if secured != (res.Code == http.StatusUnauthorized) {
			t.Errorf("%s without the token: %d", s.operation, res.Code)
		}
		if secured {
			form := o["responses"].(map[string]any)["default"].(map[string]any)["content"].(map[string]any)[res.Header().Get("Content-Type")].(map[string]any)["schema"].(map[string]any)
			for _, wrong := range c.check(form, any(got), "problem") {
				t.Errorf("%s: %s", s.operation, wrong)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(operations)) {
		if !tried[id] {
			t.Errorf("%s has no sample here: say how it is asked", id)
		}
	}
}

// The check of answers finds what is wrong with one.
func TestContractFindsWrongAnswers(t *testing.T) {
	c := contract{map[string]any{"x": map[string]any{"type": "object", "required": []any{"id"}, "properties": map[string]any{"id": map[string]any{"type": "string"},
		"at": map[string]any{"type": "string", "format": "date-time"}, "n": map[string]any{"type": "integer"},
		"all": map[string]any{"type": "array", "items": map[string]any{"type": "boolean"}}}}}}
	for text, want := range map[string]string{`{"id":"1","at":"2026-01-31T10:00:00Z","n":1,"all":[true]}`: "", `{}`: "lacks id", `{"id":1}`: "want string", `{"id":"1","at":"now"}`: "no moment",
		`{"id":"1","at":"2026-01-31T10:00:00+01:00"}`: "no moment", `{"id":"1","n":1.5}`: "want integer", `{"id":"1","all":[1]}`: "want boolean", `{"id":"1","all":null}`: "want array",
		`{"id":"1","more":1}`: "not in the document", `[]`: "want object"} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		wrong := strings.Join(c.check(map[string]any{"$ref": "#/x"}, v, "answer"), "; ")
		if (want == "") != (wrong == "") || !strings.Contains(wrong, want) {
			t.Errorf("%s: %q, want %q", text, wrong, want)
		}
	}
	if wrong := c.check(map[string]any{"$ref": "#/y"}, nil, "answer"); len(wrong) != 1 {
		t.Errorf("a reference that leads nowhere: %v", wrong)
	}
}

// Names of operations are what generated clients call their methods.
func TestOperationNames(t *testing.T) {
	name := regexp.MustCompile(`^(get|post)[A-Z][A-Za-z]+$`)
	for _, rt := range newDesk(t, nil).asks {
		if id := rt.operationID(); !name.MatchString(id) || rt.summary == "" || rt.code == 0 || rt.role == closed {
			t.Errorf("%s %s: %s", rt.method, rt.pattern, id)
		}
	}
}
