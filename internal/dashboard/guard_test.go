package dashboard

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// pathOf fills the wildcards of a route.
func pathOf(rt route, act string) string {
	asset := ""
	for name := range assetBodies {
		asset = name
	}
	return strings.NewReplacer("{$}", "", "{name}", asset, "/failures/{id}", "/failures/000000000000000f", "/operations/{id}", "/operations/1", "{id}", "3", "{act}", act, "{run}", "41", "/destinations/{name}/{verb}", "/destinations/kafka-a/pause", "{verb}", "pause").Replace(rt.pattern) +
		map[string]string{"/key": "?topic=t&key=t"}[rt.pattern]
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}

// S2, S8: every route of the table that the mux is made of × everybody × every method, where people have names and where they have none. The expected answer follows from
// the line of the route here alone, so a route that lets in more than this list says fails, and one without a role is closed.
func TestRouteMatrix_S2_S8(t *testing.T) {
	want := map[string]string{ // what askers need
		"GET /{$}": "look", "GET /failures/{id}": "look", "GET /messages": "look", "GET /messages/{id}": "look", "GET /keys": "look", "GET /key": "look",
		"GET /destinations": "look", "GET /doctor": "look", "GET /assets/{name}": "anybody", "GET /login": "anybody", "POST /login": "anybody",
		"GET /operations": "look", "GET /operations/{id}": "look", "GET /events": "look", "GET /audit": "look", "GET /audit/{run}": "look", "POST /audit": "act",
		"GET /plans/{act}": "act", "POST /plans/{act}": "act", "POST /operations/{id}/{verb}": "act",
		"GET /destinations/{verb}": "act", "POST /destinations/{verb}": "act", "GET /destinations/{name}/{verb}": "act", "POST /destinations/{name}/{verb}": "act",
		"POST /logout": "signed", "GET /activity": "log", "GET /messages/{id}/{act}": "act", "POST /messages/{id}/{act}": "act", "POST /doctor/alert": "act",
		"GET /messages/{id}/reveal": "reveal", "POST /messages/{id}/reveal": "reveal",
	}
	plain, named := newDesk(t, nil), newDesk(t, withNames(t))
	for _, a := range askers {
		d := plain
		if a.names {
			d = named
		}
		if d.findings == nil {
			d.fill("t")
		}
		byPattern := map[string]map[string]string{}
		for _, rt := range d.routes {
			who, known := want[rt.method+" "+rt.pattern]
			if !known {
				t.Errorf("%s %s has no line in this test: say who may use it", rt.method, rt.pattern)
			}
			if byPattern[rt.pattern] == nil {
				byPattern[rt.pattern] = map[string]string{}
			}
			byPattern[rt.pattern][rt.method] = who
			if rt.method == "GET" {
				byPattern[rt.pattern]["HEAD"] = who
			}
		}
		if lines := len(want) - map[bool]int{false: 2}[a.names]; lines != len(d.routes) { // without names nobody reveals, and the routes are not there
			t.Errorf("%d routes, %d lines here", len(d.routes), lines)
		}
		b := d.as(a.name)
		for _, rt := range d.routes {
			for _, method := range methods {
				res := b.do(method, pathOf(rt, "retry"), strings.NewReader(""), nil)
				name := fmt.Sprintf("%s %s by %q, names %t: %d", method, rt.pattern, a.name, a.names, res.Code)
				need := byPattern[rt.pattern][method]
				switch {
				case need == "":
					if res.Code != http.StatusMethodNotAllowed {
						t.Errorf("%s, want 405", name)
					}
				case !may(a.may, need) && nobody(a.name) && method != "POST":
					if res.Code != http.StatusSeeOther || !strings.HasPrefix(res.Header().Get("Location"), "/login?") {
						t.Errorf("%s, want the login", name)
					}
				case !may(a.may, need):
					if res.Code != http.StatusForbidden || !nobody(a.name) && method != "HEAD" && !strings.Contains(res.Body.String(), "Not in this role") {
						t.Errorf("%s, want 403: the role", name)
					}
				case method == "POST": // it may, or it is the login itself, without the form's token
					if res.Code != http.StatusForbidden || rt.pattern != "/login" && !strings.Contains(res.Body.String(), "Not from our form") {
						t.Errorf("%s, want 403: no form", name)
					}
				case res.Code != http.StatusOK:
					t.Errorf("%s, want 200", name)
				}
			}
		}
	}
	d := plain
	if res := d.browser().signIn().do("GET", "/nothing", nil, nil); res.Code != http.StatusNotFound {
		t.Errorf("no route: %d", res.Code)
	}
	for _, rt := range []route{{method: "GET", pattern: "/x"}, {method: "POST", pattern: "/x"}} {
		if err := d.refused(rt, httptest.NewRequest(rt.method, "/x", nil), &session{form: "f", person: holder("")}); err == nil {
			t.Errorf("a route without a role lets in a session by %s", rt.method)
		}
	}
}

// S2: looking changes nothing: after every GET of every route, signed in, the database is as before.
func TestLookingChangesNothing_S2(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	digest := func() (text string) {
		for _, table := range []string{"message_log", "message_pending", "message_held", "message_discarded", "activity", "attempt", "receipts", "operation", "operation_item", "pause"} {
			var part string
			if err := d.conn.QueryRow(t.Context(), `SELECT coalesce(md5(string_agg(x::text, '|' ORDER BY x::text)), '') FROM outbox.`+table+` x`).Scan(&part); err != nil {
				t.Fatal(err)
			}
			text += part + " "
		}
		return text
	}
	before := digest()
	b := d.browser().signIn()
	for _, rt := range d.routes {
		for _, act := range []string{"retry", "skip", "discard"} {
			path := pathOf(rt, act)
			b.get(path)
			b.get(path + map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + "reason=r&form=x&confirm=1&token=" + testToken)
			b.do("HEAD", path, nil, nil)
		}
	}
	for _, s := range readSamples {
		d.call("GET", apiBase+s.path, "", withToken)
		d.call("HEAD", apiBase+s.path, "", withToken)
	}
	if after := digest(); after != before {
		t.Error("a GET changed the database")
	}
}

// S3: the name of the host is judged before anything else; also a right origin and a right session do not help a name that is not ours.
func TestHosts_S3(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.AllowedHosts = []string{"Ops.example", "192.0.2.7"} })
	d.fill("t")
	b := d.browser().signIn()
	for host, want := range map[string]int{
		"127.0.0.1:8088": 200, "localhost:8088": 200, "LOCALHOST": 200, "[::1]:8088": 200, "[::1]": 200, "127.8.9.1": 200, "ops.example": 200, "ops.example:443": 200, "192.0.2.7:8088": 200, "192.0.2.8:8088": 421,
		"evil.example": 421, "evil.example:8088": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421, "10.0.0.1:8088": 421, "169.254.169.254": 421,
		"0.0.0.0:8088": 421, "": 421, "a.ops.example": 421, "[fe80::1%25lo]:8088": 421, "localhost@evil.example": 421, "localhost.": 421,
	} {
		for _, method := range []string{"GET", "POST"} {
			res := b.do(method, "/messages/3/retry", nil, func(r *http.Request) {
				r.Host = host
				r.Header.Set("Origin", "http://"+host)
			})
			if (want == 421) != (res.Code == 421) {
				t.Errorf("%s for host %q: %d, want %d", method, host, res.Code, want)
			}
			if want == 421 && strings.Contains(res.Body.String(), "orders") {
				t.Errorf("host %q: the answer says something: %s", host, res.Body)
			}
		}
	}
}

// S2, S3: Host × Origin × Sec-Fetch-Site: only what comes from a page of our own, or from no browser at all, may write.
func TestCrossSiteWritesAreRefused_S2(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	for _, c := range []struct {
		origin, site string
		want         int
	}{
		{"http://127.0.0.1:8088", "same-origin", 303}, {"http://127.0.0.1:8088", "", 303}, {"", "", 303}, {"", "none", 303},
		{"http://evil.example", "cross-site", 403}, {"http://127.0.0.1:9999", "same-site", 403}, {"http://evil.example", "", 403}, {"null", "", 403}, {"null", "cross-site", 403},
		{"", "cross-site", 403},
	} {
		b := d.browser().signIn()
		form := b.form("/messages/6/retry")
		res := b.do("POST", "/messages/6/retry", strings.NewReader(form.Encode()), func(r *http.Request) {
			r.Header.Del("Sec-Fetch-Site")
			if c.site != "" {
				r.Header.Set("Sec-Fetch-Site", c.site)
			}
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
		})
		if res.Code != c.want {
			t.Errorf("origin %q, site %q: %d, want %d", c.origin, c.site, res.Code, c.want)
		}
	}
	b := d.browser().signIn()
	form := b.form("/messages/6/retry")
	other := d.browser().signIn()
	if res := other.post("/messages/6/retry", form); res.Code != 403 {
		t.Errorf("the form of another session: %d", res.Code)
	}
}

// S9: every answer of every route, and every refusal, carries the headers.
func TestHeadersOfEveryAnswer_S9(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	b := d.browser().signIn()
	var answers []*httptest.ResponseRecorder
	for _, rt := range d.routes {
		answers = append(answers, b.get(pathOf(rt, "skip")), d.browser().do("POST", pathOf(rt, "skip"), nil, nil))
	}
	answers = append(answers, b.get("/nothing"), b.get("//x"), b.get("/messages/99"), b.get("/messages?q=bad"), b.do("GET", "/", nil, func(r *http.Request) { r.Host = "evil" }),
		b.do("POST", "/login", nil, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }))
	for _, s := range append(readSamples, sample{path: "/nothing"}, sample{path: "/messages?limit=x"}) {
		res, _ := d.call("GET", apiBase+s.path, "", withToken)
		answers = append(answers, res)
	}
	for _, res := range answers {
		h := res.Header()
		for name, want := range map[string]string{"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin"} {
			if h.Get(name) != want {
				t.Errorf("%d: %s is %q", res.Code, name, h.Get(name))
			}
		}
		policy := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "script-src 'self'", "style-src 'self'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%d: the policy lacks %s", res.Code, want)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
			t.Errorf("the policy is open: %s", policy)
		}
		if cache := h.Get("Cache-Control"); cache != "no-store" && !strings.HasSuffix(cache, "immutable") {
			t.Errorf("%d: Cache-Control %q", res.Code, cache)
		}
		body := res.Body.String()
		for _, inline := range []string{" style=", "<style", " onclick=", " onload=", "javascript:", "<script>"} {
			if strings.Contains(body, inline) {
				t.Errorf("%d: a page has %q", res.Code, inline)
			}
		}
	}
	for name := range assetBodies {
		if cache := b.get("/assets/" + name).Header().Get("Cache-Control"); !strings.HasSuffix(cache, "immutable") {
			t.Errorf("%s: %q", name, cache)
		}
	}
	if strings.Contains(b.get("/messages/3").Header().Get("Cache-Control"), "immutable") {
		t.Error("a page may be kept by a cache")
	}
}

// S9: after the login one comes to a page of ours, whatever the address asked for.
func TestNoOpenRedirect_S9(t *testing.T) {
	d := newDesk(t, nil)
	for next, want := range map[string]string{"/messages/3/retry": "/messages/3/retry", "/key?topic=a&key=b": "/key?topic=a&key=b", "": "/", "//evil.example": "/", "https://evil.example/": "/",
		"/\\evil.example": "/", "\\\\evil.example": "/", "evil.example": "/", "javascript:alert(1)": "/", "/a\r\nSet-Cookie: x=y": "/", "///evil.example": "/"} {
		res := d.browser().post("/login", url.Values{"token": {testToken}, "next": {next}})
		if got := res.Header().Get("Location"); res.Code != 303 || got != want {
			t.Errorf("next %q: %d to %q, want %q", next, res.Code, got, want)
		}
	}
}

// S11: bodies, requests at once.
func TestLimits_S11(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	b := d.browser().signIn()
	form := b.form("/messages/3/skip")
	form.Set("reason", strings.Repeat("x", maxReason+1))
	if res := b.post("/messages/3/skip", form); res.Code != http.StatusBadRequest {
		t.Errorf("a long reason: %d", res.Code)
	}
	form.Set("padding", strings.Repeat("x", maxBody))
	if res := b.post("/messages/3/skip", form); res.Code != http.StatusForbidden { // cut off before it can be read as a form
		t.Errorf("a huge body: %d", res.Code)
	}
	for range maxRequests {
		d.slots <- struct{}{}
	}
	if res := b.get("/"); res.Code != http.StatusServiceUnavailable || res.Header().Get("Retry-After") == "" {
		t.Errorf("with %d requests running: %d", maxRequests, res.Code)
	}
	s := newServer(d, d.Log)
	if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 || s.MaxHeaderBytes > 64<<10 {
		t.Errorf("a limit of the server is open: %+v", s)
	}
}

// S16: no secret is compared but by same, and same takes equal time: the sources say so, since a clock on a shared machine cannot.
func TestSecretsAreComparedInConstantTime_S16(t *testing.T) {
	if !same("a", "a") || same("a", "b") || same("", "a") {
		t.Error("same is wrong")
	}
	set := token.NewFileSet()
	found := false
	for _, name := range []string{"token.go", "session.go", "routes.go", "api.go", "logins.go"} {
		f, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "same" {
					ast.Inspect(n, func(n ast.Node) bool {
						sel, ok := n.(*ast.SelectorExpr)
						found = found || ok && sel.Sel.Name == "ConstantTimeCompare"
						return true
					})
				}
			case *ast.BinaryExpr:
				for _, side := range []ast.Expr{n.X, n.Y} {
					if sel, ok := side.(*ast.SelectorExpr); ok && (n.Op == token.EQL || n.Op == token.NEQ) && (sel.Sel.Name == "Token" || sel.Sel.Name == "form") {
						if lit, ok := n.Y.(*ast.BasicLit); !ok || lit.Value != `""` {
							t.Errorf("%s compares a secret with %s", set.Position(n.Pos()), n.Op)
						}
					}
				}
			}
			return true
		})
	}
	if !found {
		t.Error("same does not compare in constant time")
	}
}
