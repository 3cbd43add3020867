package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name   string
		in     string
		checks []string
		total  string
		want   []string // in the output, in this order
		absent string
		fails  bool
	}{
		{name: "all pass", total: "2 passed, 0 failed, 0 skipped", want: []string{"ok\tm/a\t1.5s\t2 tests\n", "?\tm/b\t[no test files]\n"}, absent: "chatter",
			in: `{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestX"}
{"Action":"output","Package":"m/a","Test":"TestX","Output":"chatter\n"}
{"Action":"pass","Package":"m/a","Test":"TestX/sub","Elapsed":0.1}
{"Action":"pass","Package":"m/a","Test":"TestX","Elapsed":0.1}
{"Action":"pass","Package":"m/a","Elapsed":1.5}
{"Action":"skip","Package":"m/b","Elapsed":0}
`},
		{name: "one fails: its output, not that of the one that passed", total: "1 passed, 1 failed, 0 skipped",
			want: []string{"bad news\nFAIL\tm/a\t2.0s\t2 tests, 1 failed, 0 skipped"}, absent: "chatter",
			in: `{"Action":"output","Package":"m/a","Test":"TestX","Output":"chatter\n"}
{"Action":"pass","Package":"m/a","Test":"TestX"}
{"Action":"output","Package":"m/a","Test":"TestY","Output":"bad news\n"}
{"Action":"fail","Package":"m/a","Test":"TestY"}
{"Action":"output","Package":"m/a","Output":"FAIL\n"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a\t2.001s\n"}
{"Action":"fail","Package":"m/a","Elapsed":2}
`},
		{name: "a skipped test says why", total: "0 passed, 0 failed, 1 skipped", want: []string{"no server here", "0 failed, 1 skipped"},
			in: `{"Action":"output","Package":"m/a","Test":"TestX","Output":"no server here\n"}
{"Action":"skip","Package":"m/a","Test":"TestX"}
{"Action":"pass","Package":"m/a","Elapsed":2}
`},
		{name: "a package that does not build", total: "0 passed, 1 failed, 0 skipped", want: []string{"undefined: x", "FAIL\tm/a"},
			in: `{"ImportPath":"m/a [m/a.test]","Action":"build-output","Output":"a.go:1: undefined: x\n"}
{"ImportPath":"m/a [m/a.test]","Action":"build-fail"}
{"Action":"fail","Package":"m/a","Elapsed":0,"FailedBuild":"m/a [m/a.test]"}
`},
		{name: "leftovers after the tests", total: "1 passed, 1 failed, 0 skipped", want: []string{"leftovers of the tests: x", "FAIL\tm/a"},
			in: `{"Action":"pass","Package":"m/a","Test":"TestX"}
{"Action":"output","Package":"m/a","Output":"leftovers of the tests: x\n"}
{"Action":"fail","Package":"m/a","Elapsed":0}
`},
		{name: "broken off", total: "1 passed, 1 failed, 0 skipped", want: []string{"FAIL\tm/a\tbroken off"},
			in: `{"Action":"pass","Package":"m/a","Test":"TestX"}
{"Action":"run","Package":"m/a","Test":"TestY"}`},
		{name: "checks that failed", total: "1 passed, 2 failed, 0 skipped", checks: []string{"gofmt", "staticcheck"}, want: []string{"FAIL\tcheck gofmt", "check staticcheck"},
			in: `{"Action":"pass","Package":"m/a","Test":"TestX"}
{"Action":"pass","Package":"m/a","Elapsed":2}
`},
		{name: "no test", total: "0 passed, 0 failed, 0 skipped", fails: true},
		{name: "other output", in: "go: cannot find main module\n", total: "0 passed, 0 failed, 0 skipped", fails: true},
	} {
		var out strings.Builder
		total, err := report(strings.NewReader(c.in), &out, c.checks)
		if total.String() != c.total || (err != nil) != c.fails {
			t.Errorf("%s: %s, %v; want %s", c.name, total, err, c.total)
		}
		rest := out.String()
		for _, part := range c.want {
			_, after, found := strings.Cut(rest, part)
			if !found {
				t.Errorf("%s: %q is missing or out of place in:\n%s", c.name, part, out.String())
			}
			rest = after
		}
		if c.absent != "" && strings.Contains(out.String(), c.absent) {
			t.Errorf("%s: %q was printed", c.name, c.absent)
		}
	}
}
