package dashboard

import (
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// namesOf are people with a name in each role; the token of each is tokenOf, and those of withNames have the password passwordOf too.
var namesOf = map[Role][]string{RoleViewer: {"vera", "pavel"}, RoleOperator: {"otto"}, RoleAdmin: {"ada"}, RolePayload: {"pia", "pavel"}}

func tokenOf(name string) string    { return "wbt_" + name + strings.Repeat("0", minToken) }
func passwordOf(name string) string { return "pass word of " + name }

// withNames gives everybody of namesOf, and nina who is in no role, a token, and ute, an operator, a password.
func withNames(t *testing.T) func(*Options) {
	t.Helper()
	tokens, roles := map[string]string{"nina": tokenOf("nina")}, maps.Clone(namesOf)
	for _, names := range namesOf {
		for _, name := range names {
			tokens[name] = tokenOf(name)
		}
	}
	roles[RoleOperator] = append(slices.Clone(roles[RoleOperator]), "ute")
	hash, err := bcrypt.GenerateFromPassword([]byte(passwordOf("ute")), bcrypt.MinCost) // the cost of a file is checked where it is read
	if err != nil {
		t.Fatal(err)
	}
	logins, err := NewLogins(map[string][]byte{"ute": hash}, tokens, roles)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) {
		o.Logins = logins
		o.Proxy = &Proxy{UserHeader: "X-Forwarded-User", Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/32")}}
	}
}

// as signs in with the token of a name; "" = nobody, "token" = the token of the token file.
func (d *desk) as(name string) *browser {
	d.t.Helper()
	b := d.browser()
	switch name {
	case "":
		return b
	case "token":
		return b.signIn()
	}
	if who, ok := strings.CutPrefix(name, "proxy:"); ok {
		b.way = throughProxy(who)
		return b
	}
	if res := b.post("/login", url.Values{"token": {tokenOf(name)}}); res.Code != http.StatusSeeOther {
		d.t.Fatalf("%s cannot sign in: %d", name, res.Code)
	}
	return b
}

// bearing sends the token of a name.
func bearing(name string) func(*http.Request) {
	switch name {
	case "":
		return nil
	case "token":
		return withToken
	}
	if who, ok := strings.CutPrefix(name, "proxy:"); ok {
		return throughProxy(who)
	}
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+tokenOf(name)) }
}

// askers are all kinds of people, and what routes are open to each. Routes ask for one of: anybody, signed, look, act, log, reveal.
var askers = []struct {
	name  string
	names bool // where people have names, else where there is the token alone
	may   string
}{
	{"", false, "anybody look"},
	{"token", false, "anybody signed look act log"},
	{"", true, "anybody"},
	{"nina", true, "anybody signed"},
	{"vera", true, "anybody signed look"},
	{"pia", true, "anybody signed reveal"},
	{"pavel", true, "anybody signed look reveal"},
	{"otto", true, "anybody signed look act"},
	{"ada", true, "anybody signed look act log"},
	{"token", true, "anybody signed look act log"},
	{"proxy:", true, "anybody"},
	{"proxy:nina", true, "anybody signed"},
	{"proxy:vera", true, "anybody signed look"},
	{"proxy:pia", true, "anybody signed reveal"},
	{"proxy:otto", true, "anybody signed look act"},
	{"proxy:ada", true, "anybody signed look act log"},
}

// nobody says that an asker has proved nothing.
func nobody(name string) bool { return name == "" || name == "proxy:" }

func may(open, need string) bool { return slices.Contains(strings.Fields(open), need) }

// S8, S18: every route of the API × everybody. A login that is wrong counts as none.
func TestAPIRouteMatrix_S8_S18(t *testing.T) {
	plain, named := newDesk(t, nil), newDesk(t, withNames(t))
	plain.fill("t")
	named.fill("t")
	need := func(rt apiRoute) string {
		switch {
		case strings.HasPrefix(rt.pattern, "/openapi") || strings.HasPrefix(rt.pattern, "/problems"):
			return "anybody"
		case rt.pattern == "/activity":
			return "log"
		case strings.HasSuffix(rt.pattern, "/reveal"):
			return "reveal"
		case rt.method == "POST":
			return "act"
		}
		return "look"
	}
	fill := strings.NewReplacer("{id}", "99", "{name}", "nowhere", "{type}", "busy")
	for _, a := range askers {
		d := plain
		if a.names {
			d = named
		}
		for _, rt := range d.asks {
			want := need(rt)
			res, _ := d.call(rt.method, apiBase+fill.Replace(rt.pattern), `{"no such field":1}`, bearing(a.name))
			refused := map[bool]int{true: http.StatusForbidden, false: http.StatusUnauthorized}[!nobody(a.name)]
			switch {
			case may(a.may, want) && (res.Code == http.StatusUnauthorized || res.Code == http.StatusForbidden):
				t.Errorf("%s %s by %q, names %t: %d, and it is open to them", rt.method, rt.pattern, a.name, a.names, res.Code)
			case !may(a.may, want) && res.Code != refused:
				t.Errorf("%s %s by %q, names %t: %d, want %d", rt.method, rt.pattern, a.name, a.names, res.Code, refused)
			}
		}
	}
	for name, change := range map[string]func(*http.Request){
		"token":           func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+tokenOf("vera")+"x") },
		"password":        func(r *http.Request) { r.SetBasicAuth("ute", passwordOf("ute")+"x") },
		"name":            func(r *http.Request) { r.SetBasicAuth("uta", passwordOf("ute")) },
		"token as Basic":  func(r *http.Request) { r.Header.Set("Authorization", "Basic "+tokenOf("vera")) },
		"somebody's hash": func(r *http.Request) { r.SetBasicAuth("ute", string(named.Logins.hashes["ute"])) },
		"session":         func(r *http.Request) { r.AddCookie(named.as("ada").cookie) },
	} {
		res, got := named.call("GET", apiBase+"/overview", "", change)
		wantProblem(t, "wrong "+name, res, got, http.StatusUnauthorized, "unauthenticated")
	}
	if res, got := named.call("GET", apiBase+"/overview", "", func(r *http.Request) { r.SetBasicAuth("ute", passwordOf("ute")) }); res.Code != http.StatusOK {
		t.Errorf("name and password: %d %v", res.Code, got)
	}
	for _, secret := range []string{tokenOf("vera"), passwordOf("ute"), "wbt_"} {
		if strings.Contains(named.log.String(), secret) {
			t.Errorf("a secret is in the log: %s", named.log)
		}
	}
}

// S18: the log has the name that was proved, whatever else somebody says, and the token's holder cannot be taken for somebody with a name.
func TestActorsAreProved_S18(t *testing.T) {
	d := newDesk(t, withNames(t))
	d.fill("t")
	retried := func(name string, said string) (int, string) {
		res, _ := d.call("POST", apiBase+"/messages/6/retry", "{}", func(r *http.Request) {
			bearing(name)(r)
			if said != "" {
				r.Header.Set(actorHeader, said)
			}
		})
		return res.Code, d.lastAct().Actor
	}
	for _, c := range []struct{ name, said, actor string }{{"otto", "", "api:otto"}, {"token", "", "api:token"}, {"token", "otto", "api:otto (token)"}} {
		if code, actor := retried(c.name, c.said); code != http.StatusOK || actor != c.actor {
			t.Errorf("%s as %q: %d, %q; want %q", c.name, c.said, code, actor, c.actor)
		}
	}
	if code, _ := retried("otto", "ada"); code != http.StatusBadRequest {
		t.Errorf("a name that is not one's own: %d", code)
	}
	pages := func(b *browser) string {
		if res := b.post("/messages/6/retry", b.form("/messages/6/retry")); res.Code != http.StatusSeeOther {
			t.Errorf("retry: %d", res.Code)
		}
		return d.lastAct().Actor
	}
	ute := d.browser()
	if res := ute.post("/login", url.Values{"user": {"ute"}, "password": {passwordOf("ute")}}); res.Code != http.StatusSeeOther {
		t.Fatalf("a password: %d", res.Code)
	}
	as := d.browser()
	as.post("/login", url.Values{"token": {tokenOf("otto")}, "name": {"ada"}})
	for want, b := range map[string]*browser{"ui:ute": ute, "ui:otto": as, "ui:ana (token)": d.as("token")} {
		if got := pages(b); got != want {
			t.Errorf("the log says %q, want %q", got, want)
		}
	}
}

// Who looks is told what he may not do, and by which role; nothing is offered that is refused.
func TestPagesSayWhichRoleIsMissing(t *testing.T) {
	d := newDesk(t, withNames(t))
	d.fill("t")
	body := d.as("vera").get("/messages/3").Body.String()
	if strings.Contains(body, "/messages/3/skip") || !strings.Contains(body, "takes the role operator. vera has viewer.") {
		t.Errorf("a viewer sees: %s", body)
	}
	for path, want := range map[string]string{"/messages/3/skip": "needs the role operator. vera has viewer.", "/activity": "needs the role admin. vera has viewer."} {
		if res := d.as("vera").get(path); res.Code != http.StatusForbidden || !strings.Contains(res.Body.String(), want) {
			t.Errorf("%s: %d %s", path, res.Code, res.Body)
		}
	}
	res := d.browser().get("/messages/3")
	if res.Code != http.StatusSeeOther || res.Header().Get("Location") != "/login?next=%2Fmessages%2F3" {
		t.Errorf("nobody: %d %v", res.Code, res.Header())
	}
	login := d.browser().get("/login").Body.String()
	if !strings.Contains(login, `name="password"`) || !strings.Contains(login, `name="token"`) || strings.Contains(login, "Looking needs nothing") {
		t.Errorf("the login: %s", login)
	}
	none := newDesk(t, func(o *Options) {
		o.Token, o.NoToken, o.NoLogins = "", "no file", "the file of names cannot be read"
		o.Logins, _ = NewLogins(nil, nil, nil)
	})
	if res := none.browser().get("/"); res.Code != http.StatusSeeOther {
		t.Errorf("names that cannot be read open the pages: %d", res.Code)
	}
	if body := none.browser().get("/login").Body.String(); !strings.Contains(body, "cannot be read") {
		t.Errorf("nobody says why: %s", body)
	}
	half := newDesk(t, func(o *Options) {
		o.NoLogins = "the names cannot be read"
		o.Logins, _ = NewLogins(nil, nil, nil)
	})
	if body := half.browser().get("/login").Body.String(); !strings.Contains(body, "names cannot be read") || !strings.Contains(body, `name="token"`) {
		t.Errorf("with the token alone: %s", body)
	}
	if res := none.browser().post("/login", url.Values{"user": {""}, "password": {""}}); res.Code != http.StatusForbidden {
		t.Errorf("an empty name signs in: %d", res.Code)
	}
}
