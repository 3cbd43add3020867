package relay

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseFilter(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []Term
	}{
		{"", nil},
		{"state:dead", []Term{{Name: "state", Op: ':', Values: []string{"dead"}}}},
		{" -topic:order.*,a  class:too_large ", []Term{{Name: "topic", Op: ':', Not: true, Values: []string{"order.*", "a"}}, {Name: "class", Op: ':', Values: []string{"too_large"}}}},
		{`key:"a b,c:d",e`, []Term{{Name: "key", Op: ':', Values: []string{"a b,c:d", "e"}}}},
		{"id:5,6f1c-7", []Term{{Name: "id", Op: ':', Values: []string{"5", "6f1c-7"}}}},
		{"age>10m", []Term{{Name: "age", Op: '>', Age: 10 * time.Minute}}},
		{"since:2d", []Term{{Name: "since", Op: ':', Age: 48 * time.Hour}}},
		{"until:2026-01-31", []Term{{Name: "until", Op: ':', At: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)}}},
		{"failure:00000000000000ff", []Term{{Name: "failure", Op: ':', Values: []string{"00000000000000ff"}}}},
		{"key:a:b", []Term{{Name: "key", Op: ':', Values: []string{"a:b"}}}},
	} {
		got, err := ParseFilter(c.in)
		if err != nil || !reflect.DeepEqual(got.Terms, c.want) {
			t.Errorf("%q: %+v, %v, want %+v", c.in, got.Terms, err, c.want)
		}
	}
}

func TestParseFilterErrors(t *testing.T) {
	for in, want := range map[string]string{
		"stat:dead":                 `there is no "stat", did you mean "state"?`,
		"tpoic:x":                   `did you mean "topic"?`,
		"destinaton:x":              `did you mean "destination"?`,
		"zzz:x":                     "there are state, topic",
		"dead":                      `"dead" has no value`,
		"state:deed":                `"deed" is no state; there are pending`,
		"state:":                    "a value is empty",
		"topic:a,":                  "a value is empty",
		`key:"a`:                    "a quote is not closed",
		`key:"a"b`:                  "after a closing quote",
		"failure:7":                 "is no failure group",
		"-failure:0000000000000007": "cannot be left out",
		"age:10m":                   "write age>10m",
		"age>10":                    `"10" is no duration`,
		"since:soon":                `"soon" is no duration`,
		"topic>a":                   "> compares nothing here",
		strings.Repeat("x", 5000):   "longer than 4096 bytes",
		"since:99999999999999999d":  "is no duration",
	} {
		if _, err := ParseFilter(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", in, err, want)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"state:dead", `-key:"a b",c age>10m`, "since:2026-01-31T10:00:00Z", "id:1,2,3", "-", ":", `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseFilter(s)
		if err != nil {
			return
		}
		for _, term := range got.Terms {
			if term.Op == ':' && term.At.IsZero() && len(term.Values) == 0 && term.Name != "since" && term.Name != "until" {
				t.Fatalf("a term without a value: %+v of %q", term, s)
			}
		}
	})
}
