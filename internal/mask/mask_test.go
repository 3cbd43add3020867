package mask

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for text, want := range map[string]Path{
		"$":                              nil,
		"$.card.number":                  {{name: "card"}, {name: "number"}},
		"$..email":                       {{name: "email", deep: true}},
		"$.lines[*].address[0]":          {{name: "lines"}, {kind: anyChild}, {name: "address"}, {kind: byIndex}},
		"$['card number'][\"]\"]..['.']": {{name: "card number"}, {name: "]"}, {name: ".", deep: true}},
		"$.*..*":                         {{kind: anyChild}, {kind: anyChild, deep: true}},
		"$..[3]":                         {{kind: byIndex, index: 3, deep: true}},
		"$.größe-2_x":                    {{name: "größe-2_x"}},
	} {
		if got, err := ParsePath(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "email", "$email", "$.", "$..", "$...a", "$.a.", "$[", "$[]", "$[-1]", "$[+1]", "$[1", "$['a'", "$['a]", "$['a\\'b']", "$[a]", "$[1:2]", "$[?(@.a)]", "$.a b", "$.a]", "$.a*",
		"$.a,b", "$[1,2]", "$" + strings.Repeat(".a", maxSteps+1)} {
		if got, err := ParsePath(text); err == nil {
			t.Errorf("%s is read as %+v", text, got)
		}
	}
}

func TestPayload_S13(t *testing.T) {
	for _, c := range []struct {
		name   string
		paths  string // blank between
		in     string
		want   string // "" = nothing may be shown
		hidden int
	}{
		{"a name", "$.a", `{"a":1,"b":2}`, `{"a":"●●●","b":2}`, 1},
		{"only there", "$.a", `{"b":{"a":1}}`, `{"b":{"a":1}}`, 0},
		{"at any depth", "$..a", `{"a":1,"b":[{"a":{"a":2}},{"c":{"a":[3]}}]}`, `{"a":"●●●","b":[{"a":"●●●"},{"c":{"a":"●●●"}}]}`, 3},
		{"below any depth", "$..b.c", `{"a":{"b":{"b":{"c":1},"c":2}},"c":3}`, `{"a":{"b":{"b":{"c":"●●●"},"c":"●●●"}},"c":3}`, 2},
		{"two of any depth", "$..a..b", `{"a":{"b":1,"a":{"x":{"b":2}}},"b":3}`, `{"a":{"b":"●●●","a":{"x":{"b":"●●●"}}},"b":3}`, 2},
		{"an index", "$.a[1]", `{"a":[1,2,3]}`, `{"a":[1,"●●●",3]}`, 1},
		{"an index is no name", "$.a[0]", `{"a":{"0":1}}`, `{"a":{"0":1}}`, 0},
		{"a name is no index", "$.a.0", `{"a":[1]}`, `{"a":[1]}`, 0},
		{"all", "$.a[*].b", `{"a":[{"b":1,"c":2},{"b":3}]}`, `{"a":[{"b":"●●●","c":2},{"b":"●●●"}]}`, 2},
		{"everything", "$", `{"a":1}`, `"●●●"`, 1},
		{"a value whole", "$.a", `{"a":{"b":[1,{"c":"}]"}]},"d":1}`, `{"a":"●●●","d":1}`, 1},
		{"in any case", "$..email", `{"Email":"x","eMAIL":"y"}`, `{"Email":"●●●","eMAIL":"●●●"}`, 2},
		{"an escaped name", "$.email", `{"em\u0061il":"x"}`, `{"em\u0061il":"●●●"}`, 1},
		{"a name twice", "$.a", `{"a":1,"a":2}`, `{"a":"●●●","a":"●●●"}`, 2},
		{"several paths", "$.a $.b.c", `{"a":1,"b":{"c":2,"d":3}}`, `{"a":"●●●","b":{"c":"●●●","d":3}}`, 2},
		{"numbers as they are", "$.a", `{"a":1,"b":12345678901234567890,"c":1e400,"d":-0.0}`, `{"a":"●●●","b":12345678901234567890,"c":1e400,"d":-0.0}`, 1},
		{"blanks and escapes as they are", "$.a", " {\n\t\"a\" : \"x\\\"y\" ,\r\n \"b\" : \"\\\\\" } ", " {\n\t\"a\" : \"●●●\" ,\r\n \"b\" : \"\\\\\" } ", 1},
		{"a text alone", "$.a", `"a"`, `"a"`, 0},
		{"empty ones", "$..a", `{"b":{},"c":[],"d":[ ]}`, `{"b":{},"c":[],"d":[ ]}`, 0},
		{"deep enough", "$..a", strings.Repeat("[", maxDepth) + "1" + strings.Repeat("]", maxDepth), strings.Repeat("[", maxDepth) + "1" + strings.Repeat("]", maxDepth), 0},
		{"empty payload", "$.a", "", "", 0},

		{"no JSON", "$.a", "a=1", "", 0},
		{"cut", "$.a", `{"a":1,"b":2`, "", 0},
		{"two values", "$.a", `{"a":1}{"b":2}`, "", 0},
		{"a byte order mark", "$.a", "\ufeff{\"a\":1}", "", 0},
		{"UTF-16", "$.a", "{\x00}\x00", "", 0},
		{"too deep", "$..a", strings.Repeat("[", maxDepth+1) + "1" + strings.Repeat("]", maxDepth+1), "", 0},
		{"too deep in what is hidden", "$.a", `{"a":` + strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1) + "}", "", 0},
		{"very deep", "$..a", strings.Repeat("[", 100_000), "", 0},
		{"a path that is none", "$.b $.", `{"a":1}`, "", 0},
	} {
		m, _ := New([]Rule{{Topics: []string{"t"}, Paths: strings.Fields(c.paths)}})
		in := []byte(c.in)
		got, hidden, err := m.Payload("t", in)
		if string(got) != c.want || hidden != c.hidden || (err != nil) != (c.want == "" && c.in != "") || string(in) != c.in {
			t.Errorf("%s: %s, %d, %v", c.name, got, hidden, err)
		}
		if other, _, err := m.Payload("other", in); err != nil || string(other) != c.in {
			t.Errorf("%s: of another topic %s, %v", c.name, other, err)
		}
	}
	if _, err := New([]Rule{{Topics: []string{"*"}, Paths: []string{"$.a", "$."}}}); err == nil {
		t.Error("a path that is none is no error")
	}
}

func TestHeaders_S13(t *testing.T) {
	m, err := New([]Rule{{Topics: []string{"*"}, Headers: []string{"authorization", "X-Secret-*"}}, {Topics: []string{"mail.*"}, Headers: []string{"to"}, Paths: []string{"$.a"}}})
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]string{"Authorization": "a", "x-secret-1": "b", "x-secre": "c", "To": "d", "": "e"}
	for topic, want := range map[string]map[string]string{
		"order":    {"Authorization": Hidden, "x-secret-1": Hidden, "x-secre": "c", "To": "d", "": "e"},
		"mail.out": {"Authorization": Hidden, "x-secret-1": Hidden, "x-secre": "c", "To": Hidden, "": "e"},
	} {
		got, hidden := m.Headers(topic, given)
		if !maps.Equal(got, want) || hidden != len(given)-2-map[bool]int{true: 1}[topic == "order"] || given["To"] != "d" {
			t.Errorf("%s: %v, %d", topic, got, hidden)
		}
	}
	if got, hidden := m.Headers("order", nil); len(got) != 0 || hidden != 0 {
		t.Errorf("%v", got)
	}
}

// model hides by decoding, as one would do it without care for numbers, blanks and names that are there twice.
func model(v any, path Path) any {
	if len(path) == 0 {
		return Hidden
	}
	s := path[0]
	child := func(name string, index int, c any) any {
		if s.matches(name, index) {
			c = model(c, path[1:])
		}
		if s.deep && c != Hidden {
			c = model(c, path)
		}
		return c
	}
	switch v := v.(type) {
	case map[string]any:
		for name, c := range v {
			v[name] = child(name, -1, c)
		}
	case []any:
		for i, c := range v {
			v[i] = child("", i, c)
		}
	}
	return v
}

func FuzzPayload_S13(f *testing.F) {
	for _, in := range []string{`{"a":{"b":[1,{"a":"x"}]}}`, `[1,"a",{"A":null}]`, `{"a":1e400}`, `"\ud800"`, `{"a`, ``, ` {"b" : {"a": {"b": {} }}} `} {
		for _, path := range []string{"$..a", "$.a.b", "$[2]", "$..a..b", "$.*"} {
			f.Add([]byte(in), path)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, text string) {
		path, err := ParsePath(text)
		m, bad := New([]Rule{{Topics: []string{"*"}, Paths: []string{text}}})
		if (err == nil) != (bad == nil) {
			t.Fatalf("%v, %v", err, bad)
		}
		given := bytes.Clone(in)
		got, _, failed := m.Payload("t", in)
		if !bytes.Equal(in, given) {
			t.Fatal("the payload was changed")
		}
		if failed != nil {
			if got != nil || json.Valid(in) && err == nil && bytes.Count(in, []byte("["))+bytes.Count(in, []byte("{")) <= maxDepth {
				t.Fatalf("%q: %v", got, failed)
			}
			return
		}
		if len(in) == 0 && err == nil {
			return
		}
		var want, have any
		if err != nil || !json.Valid(got) {
			t.Fatalf("%q is shown as %q by %q", in, got, text)
		}
		if json.Unmarshal(in, &want) != nil || json.Unmarshal(got, &have) != nil { // a number too large for the model
			return
		}
		a, _ := json.Marshal(model(want, path))
		b, _ := json.Marshal(have)
		if !bytes.Equal(a, b) && !duplicated(in) {
			t.Fatalf("%q by %q is %s, the model says %s", in, text, b, a)
		}
	})
}

// duplicated says whether an object has a name twice, which the model cannot see.
func duplicated(in []byte) bool {
	var v any
	_ = json.Unmarshal(in, &v)
	return bytes.Count(in, []byte(":")) > colons(v)
}

func colons(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		for name, c := range v {
			n += 1 + strings.Count(name, ":") + colons(c)
		}
	case []any:
		for _, c := range v {
			n += colons(c)
		}
	case string:
		n = strings.Count(v, ":")
	}
	return n
}
