package dashboard

import (
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// words splits a command as a shell does, as far as the examples need it: blanks, and single quotes.
func words(line string) (all []string) {
	quoted, open := false, false
	for _, r := range line {
		switch {
		case r == '\'':
			if quoted = !quoted; !open {
				all, open = append(all, ""), true
			}
		case r == ' ' && !quoted:
			open = false
		default:
			if !open {
				all, open = append(all, ""), true
			}
			all[len(all)-1] += string(r)
		}
	}
	return all
}

// example is what a curl command asks.
type example struct {
	method, path, body string
	token              bool
	kind               string // of the body
}

func readExample(t *testing.T, line string) (e example) {
	t.Helper()
	e.method = "GET"
	query, inQuery := url.Values{}, false
	var data []string
	args := words(line)[1:]
	for i := 0; i < len(args); i++ {
		value := func() string {
			i++
			return args[i]
		}
		switch a := args[i]; {
		case a == "-G":
			inQuery = true
		case a == "-d", a == "--data-urlencode":
			data = append(data, value())
		case a == "-H":
			h := value()
			kind, is := strings.CutPrefix(h, "Content-Type: ")
			if is {
				e.kind = kind
			}
			if e.token = e.token || h == "@waybill.header"; !e.token && !is {
				t.Errorf("%s: the header %s", line, h)
			}
		case strings.HasPrefix(a, "http://127.0.0.1:8088"):
			e.path = strings.TrimPrefix(a, "http://127.0.0.1:8088")
		default:
			t.Errorf("%s: the test does not know %s", line, a)
		}
	}
	for _, x := range data {
		if name, value, _ := strings.Cut(x, "="); inQuery {
			query.Set(name, value)
		} else {
			e.method, e.body = "POST", x
		}
	}
	if len(query) > 0 {
		e.path += "?" + query.Encode()
	}
	return e
}

// The chapter about the API names every route and no other, and its examples work one after the other.
func TestDocumentedExamples(t *testing.T) {
	b, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, found := strings.Cut(string(b), "\n## The HTTP API\n")
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	d := newDesk(t, nil)
	d.fill("order.t")
	var routes, named []string
	for _, rt := range d.asks {
		routes = append(routes, rt.method+" "+rt.pattern)
	}
	for _, m := range regexp.MustCompile("`((?:GET|POST) /[^`]*)`").FindAllStringSubmatch(chapter, -1) {
		named = append(named, m[1])
	}
	slices.Sort(routes)
	slices.Sort(named)
	if !found || !slices.Equal(routes, named) {
		t.Errorf("routes %v\nin the chapter %v", routes, named)
	}
	tried := 0
	for line := range strings.Lines(chapter) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "curl ") {
			continue
		}
		tried++
		e := readExample(t, strings.NewReplacer("/messages/1048813", "/messages/3", "/operations/7", "/operations/2").Replace(line))
		res, got := d.call(e.method, e.path, e.body, func(r *http.Request) {
			if r.Header.Del("Content-Type"); e.kind != "" {
				r.Header.Set("Content-Type", e.kind)
			}
			if e.token {
				withToken(r)
			}
		})
		if res.Code < 200 || res.Code > 299 {
			t.Errorf("%s: %d %v", line, res.Code, got)
		}
	}
	if tried < 6 {
		t.Errorf("%d examples were found", tried)
	}
}
