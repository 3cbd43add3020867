package dashboard

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// throughProxy is what the proxy of withNames does to a request of somebody; of nobody when the name is empty.
func throughProxy(name string) func(*http.Request) {
	return func(r *http.Request) {
		r.RemoteAddr = "10.0.0.7:40000"
		if name != "" {
			r.Header.Set("X-Forwarded-User", name)
		}
	}
}

// says sends headers from an address.
func says(address string, headers ...string) func(*http.Request) {
	return func(r *http.Request) {
		r.RemoteAddr = net.JoinHostPort(address, "40000")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Add(headers[i], headers[i+1])
		}
	}
}

// Headers from any other address than the proxy's are refused at the door, whatever else a request has, on pages and API alike.
func TestForgedProxyHeaders_S16_S18(t *testing.T) {
	d := newDesk(t, func(o *Options) {
		withNames(t)(o)
		o.Proxy.RoleHeader = "X-Forwarded-Role"
	})
	d.fill("t")
	for _, path := range []string{"/", "/login", "/events", "/messages/3/retry", apiBase + "/overview", apiBase + "/openapi.json"} {
		for name, change := range map[string]func(*http.Request){
			"a neighbour":      says("10.0.0.8", "X-Forwarded-User", "ada"),
			"this machine":     says("127.0.0.1", "X-Forwarded-User", "ada"),
			"no name":          says("127.0.0.1", "X-Forwarded-User", ""),
			"the role alone":   says("127.0.0.1", "X-Forwarded-Role", "admin"),
			"past the proxy":   says("10.0.0.8"),
			"a forwarded hint": says("10.0.0.8", "X-Forwarded-For", "10.0.0.7"),
			"no address":       func(r *http.Request) { r.RemoteAddr = "" },
			"an interface":     says("fe80::7%eth0", "X-Forwarded-User", "ada"),
			"a right token":    func(r *http.Request) { says("127.0.0.1", "X-Forwarded-User", "ada")(r); bearing("ada")(r) },
		} {
			res := d.browser().do("GET", path, nil, change)
			if res.Code != http.StatusForbidden {
				t.Errorf("%s by %s: %d", path, name, res.Code)
			}
		}
	}
	if res := d.as("otto").do("GET", "/", nil, says("127.0.0.1", "X-Forwarded-User", "otto")); res.Code != http.StatusForbidden {
		t.Errorf("with a session: %d", res.Code)
	}
	d.Secure = true
	if res := d.browser().do("GET", "/login", nil, says("10.0.0.8")); res.Code != http.StatusOK {
		t.Errorf("past the proxy, by https: %d", res.Code)
	}
	if res := d.browser().do("GET", "/", nil, says("10.0.0.8", "X-Forwarded-User", "ada")); res.Code != http.StatusForbidden {
		t.Errorf("forged, by https: %d", res.Code)
	}
}

// What the proxy says counts when it is clear, and not at all when it is not.
func TestProxySaysWhoAsks_S18(t *testing.T) {
	for _, c := range []struct {
		name, role string // header of roles; empty = there is none
		headers    []string
		code       int
		roles      string
	}{
		{"by name", "", []string{"X-Forwarded-User", "otto"}, 0, "operator"},
		{"no role", "", []string{"X-Forwarded-User", "zoe"}, 0, "no role"},
		{"nobody", "", nil, -1, ""},
		{"empty", "", []string{"X-Forwarded-User", ""}, 403, ""},
		{"blank", "", []string{"X-Forwarded-User", "ot to"}, 403, ""},
		{"two", "", []string{"X-Forwarded-User", "otto", "X-Forwarded-User", "ada"}, 403, ""},
		{"two in one", "", []string{"X-Forwarded-User", "otto,ada"}, 403, ""},
		{"long", "", []string{"X-Forwarded-User", strings.Repeat("a", 41)}, 403, ""},
		{"roles not asked for", "", []string{"X-Forwarded-User", "vera", "X-Forwarded-Role", "admin"}, 0, "viewer"},
		{"role", "X-Forwarded-Role", []string{"X-Forwarded-User", "zoe", "X-Forwarded-Role", "operator"}, 0, "operator"},
		{"roles", "X-Forwarded-Role", []string{"X-Forwarded-User", "zoe", "X-Forwarded-Role", "viewer, admin", "X-Forwarded-Role", "operator"}, 0, "admin"},
		{"less than by name", "X-Forwarded-Role", []string{"X-Forwarded-User", "ada", "X-Forwarded-Role", "viewer"}, 0, "viewer"},
		{"role is missing", "X-Forwarded-Role", []string{"X-Forwarded-User", "ada"}, 0, "no role"},
		{"role is none", "X-Forwarded-Role", []string{"X-Forwarded-User", "ada", "X-Forwarded-Role", "admin, root"}, 403, ""},
		{"role is empty", "X-Forwarded-Role", []string{"X-Forwarded-User", "ada", "X-Forwarded-Role", ""}, 403, ""},
		{"payload", "X-Forwarded-Role", []string{"X-Forwarded-User", "ada", "X-Forwarded-Role", "payload"}, 403, ""},
		{"payload by name", "X-Forwarded-Role", []string{"X-Forwarded-User", "pavel", "X-Forwarded-Role", "operator"}, 0, "operator and payload"},
		{"role without a name", "X-Forwarded-Role", []string{"X-Forwarded-Role", "admin"}, 403, ""},
	} {
		o := Options{}
		withNames(t)(&o)
		o.Proxy.RoleHeader = c.role
		d := &Dashboard{Options: o}
		d.Log = newDesk(t, nil).Log
		for _, address := range []string{"10.0.0.7", "::ffff:10.0.0.7"} {
			r := httptest.NewRequest("GET", "/", nil)
			says(address, c.headers...)(r)
			p, said, err := d.proxied(r)
			switch {
			case d.forged(r) != nil:
				t.Errorf("%s: the proxy is refused", c.name)
			case c.code == -1 && (said || err != nil || p.in):
				t.Errorf("%s: %+v, %v", c.name, p, err)
			case c.code == 403 && (err == nil || err.Code != 403 || p.in):
				t.Errorf("%s: %+v, %v", c.name, p, err)
			case c.code == 0 && (err != nil || !p.in || p.token || p.name != c.headers[1] || p.roles() != c.roles):
				t.Errorf("%s: %+v has %s, %v", c.name, p, p.roles(), err)
			}
		}
		forged := httptest.NewRequest("GET", "/", nil)
		says("10.0.0.8", c.headers...)(forged)
		if p, said, _ := d.proxied(forged); said || p.in {
			t.Errorf("%s: believed from elsewhere: %+v", c.name, p)
		}
		d.NoLogins = "the names cannot be read"
		r := httptest.NewRequest("GET", "/", nil)
		says("10.0.0.7", c.headers...)(r)
		if p, _, _ := d.proxied(r); p.roles() != "no role" {
			t.Errorf("%s: names cannot be read, and it has %s", c.name, p.roles())
		}
	}
}

// A session behind the proxy is for forms alone: without the header it is worth nothing, and with another name or other roles it ends.
func TestProxiedSession_S7_S18(t *testing.T) {
	d := newDesk(t, func(o *Options) {
		withNames(t)(o)
		o.Proxy.RoleHeader = "X-Forwarded-Role"
	})
	d.fill("t")
	as := func(b *browser, name, role string) *browser {
		b.way = says("10.0.0.7", "X-Forwarded-User", name, "X-Forwarded-Role", role)
		return b
	}
	b := as(d.browser(), "zoe", "operator")
	if res := b.post("/messages/6/retry", url.Values{}); res.Code != http.StatusForbidden || !strings.Contains(res.Body.String(), "Not signed in") || b.cookie != nil {
		t.Errorf("a POST begins a session: %d, %v", res.Code, b.cookie)
	}
	form := b.form("/messages/6/retry")
	if res := b.post("/messages/6/retry", url.Values{}); res.Code != http.StatusForbidden || !strings.Contains(res.Body.String(), "Not from our form") {
		t.Errorf("without the form: %d", res.Code)
	}
	if res := b.post("/messages/6/retry", form); res.Code != http.StatusSeeOther || d.lastAct().Actor != "ui:zoe" {
		t.Errorf("%d by %q", res.Code, d.lastAct().Actor)
	}
	cookie := b.cookie
	for name, way := range map[string]func(*http.Request){"past the proxy": nil, "the proxy says nothing": throughProxy("")} {
		other := &browser{d: d, cookie: cookie, way: way}
		if res := other.get("/"); res.Code != http.StatusSeeOther || !strings.HasPrefix(res.Header().Get("Location"), "/login") {
			t.Errorf("%s: %d", name, res.Code)
		}
		if res := other.post("/messages/6/retry", form); res.Code != http.StatusForbidden {
			t.Errorf("%s: a POST: %d", name, res.Code)
		}
	}
	if res := b.get("/"); res.Code != http.StatusOK || b.cookie.Value != cookie.Value {
		t.Errorf("the same person has another session: %d", res.Code)
	}
	for name, who := range map[string][2]string{"another name": {"max", "operator"}, "other roles": {"zoe", "viewer"}} {
		first := as(d.browser(), "zoe", "operator")
		form := first.form("/messages/6/retry")
		other := as(&browser{d: d, cookie: first.cookie}, who[0], who[1])
		if res := other.post("/messages/6/retry", form); res.Code != http.StatusForbidden {
			t.Errorf("%s: the form of before: %d", name, res.Code)
		}
		if res := first.post("/messages/6/retry", form); res.Code != http.StatusForbidden {
			t.Errorf("%s: the session of before goes on: %d", name, res.Code)
		}
		if res := other.get("/"); res.Code != http.StatusOK || other.cookie.Value == first.cookie.Value {
			t.Errorf("%s: %d in the session of before", name, res.Code)
		}
	}
	for kind, want := range map[string]int{"application/json": http.StatusOK, "application/x-www-form-urlencoded": http.StatusForbidden, "text/plain": http.StatusForbidden, "": http.StatusForbidden} {
		res, _ := d.call("POST", apiBase+"/messages/6/retry", "", func(r *http.Request) {
			b.way(r)
			r.Header.Set("Content-Type", kind)
		})
		if res.Code != want {
			t.Errorf("the API by %q: %d, want %d", kind, res.Code, want)
		}
	}
}

// What the proxy's word has ended ends at once, with the live page that began with it; what it has not said ends nothing.
func TestProxyEndsASession_S7(t *testing.T) {
	d := newDesk(t, func(o *Options) {
		withNames(t)(o)
		o.Proxy.RoleHeader = "X-Forwarded-Role"
		o.Proxy.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	d.fill("t")
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	as := func(b *browser, name, role string) *browser {
		b.way = says("127.0.0.1", "X-Forwarded-User", name, "X-Forwarded-Role", role)
		return b
	}
	open := func() int {
		d.sessions.mu.Lock()
		defer d.sessions.mu.Unlock()
		return len(d.sessions.open)
	}
	for name, who := range map[string][2]string{"another name": {"max", "operator"}, "other roles": {"zoe", "viewer"}} {
		before := open()
		zoe := as(d.browser(), "zoe", "operator")
		zoe.get("/")
		_, lines, _ := follow(t, server.URL+eventsPath, func(r *http.Request) {
			zoe.way(r)
			r.AddCookie(zoe.cookie)
		})
		hears(t, lines, "retry: ")
		for what, way := range map[string]func(*http.Request){"nothing": says("127.0.0.1"), "two names": says("127.0.0.1", "X-Forwarded-User", "zoe", "X-Forwarded-User", "max"),
			"a forged name": says("10.0.0.8", "X-Forwarded-User", "max", "X-Forwarded-Role", "operator")} {
			(&browser{d: d, cookie: zoe.cookie, way: way}).get("/")
			if n := open(); n != before+1 {
				t.Errorf("%s said: %d sessions, there were %d", what, n, before+1)
			}
		}
		as(&browser{d: d, cookie: zoe.cookie}, who[0], who[1]).get("/login") // which begins no session
		if n := open(); n != before {
			t.Errorf("%s: %d sessions, there were %d", name, n, before)
		}
		ends(t, lines)
	}
	b := d.browser()
	b.signIn()
	if n := open(); as(b, "zoe", "operator").get("/").Code != http.StatusOK || open() != n {
		t.Errorf("the session of a token, replaced by one of the proxy, goes on: %d, there were %d", open(), n)
	}
}

// Others reach a listener without a certificate only where names are asked for by a proxy, and a Proxy that would believe anybody cannot be made.
func TestListenerBehindAProxy_S15(t *testing.T) {
	far := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}
	for _, c := range []struct{ names, private, want bool }{{true, true, true}, {true, false, false}, {false, true, false}, {false, false, false}} {
		if got := mayBeReached(far, c.names, c.private); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
	ok := newDesk(t, withNames(t)).Options
	for name, change := range map[string]func(*Options){
		"no names":   func(o *Options) { o.Logins = nil },
		"no header":  func(o *Options) { o.Proxy = &Proxy{Trusted: ok.Proxy.Trusted} },
		"no address": func(o *Options) { o.Proxy = &Proxy{UserHeader: "X-Forwarded-User", Trusted: []netip.Prefix{}} },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: it was made", name)
				}
			}()
			o := ok
			change(&o)
			New(o)
		}()
	}
}
