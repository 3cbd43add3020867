package dashboard

import (
	"maps"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxy says whose word counts for who asks: that of a proxy which has asked people who they are, at addresses that nobody else has. Its headers are the only proof, so
// whatever is not clear about them is refused.
type Proxy struct {
	UserHeader string         // the name of who asks; required
	RoleHeader string         // viewer, operator or admin, several with commas; empty = the names of the roles decide. Never payload: that is for names
	Trusted    []netip.Prefix // of the proxy; required
}

// headerRoles are what a proxy may say.
var headerRoles = map[string]Role{string(RoleViewer): RoleViewer, string(RoleOperator): RoleOperator, string(RoleAdmin): RoleAdmin}

// trusts says whether a request came from the proxy itself.
func (p *Proxy) trusts(r *http.Request) bool {
	at, err := netip.ParseAddr(remote(r))
	return err == nil && slices.ContainsFunc(p.Trusted, func(of netip.Prefix) bool { return of.Contains(at.Unmap()) })
}

// speaks says whether a request has any of the headers, be they empty.
func (p *Proxy) speaks(r *http.Request) bool {
	return r.Header.Values(p.UserHeader) != nil || p.RoleHeader != "" && r.Header.Values(p.RoleHeader) != nil
}

// forged says why a request may not come further: its headers are not the proxy's, or it came past the proxy where nothing keeps passwords from being read on their way.
func (d *Dashboard) forged(r *http.Request) *failure {
	if d.Proxy == nil || d.Proxy.trusts(r) {
		return nil
	}
	if d.Proxy.speaks(r) {
		d.Log.Warn("a request to the dashboard was refused: only the proxy may say who asks", "address", remote(r))
		return &failure{"forbidden", http.StatusForbidden, "Not the proxy", "this request says who asks, and did not come from an address of dashboard.auth.proxy.trusted"}
	}
	if at, err := netip.ParseAddr(remote(r)); !d.Secure && (err != nil || !at.Unmap().IsLoopback()) {
		return &failure{"forbidden", http.StatusForbidden, "Past the proxy", "without a certificate in dashboard.tls this listener answers the proxy alone"}
	}
	return nil
}

// proxied is who the proxy says that asks. Without its header it says nothing, and nobody has proved anything.
func (d *Dashboard) proxied(r *http.Request) (p person, said bool, err *failure) {
	if d.Proxy == nil || !d.Proxy.speaks(r) || !d.Proxy.trusts(r) {
		return p, false, nil
	}
	unclear := func(text string) (person, bool, *failure) {
		d.Log.Warn("a request to the dashboard was refused: "+text, "address", remote(r))
		return person{}, true, &failure{"forbidden", http.StatusForbidden, "Who asks?", "Nothing was done: " + text + "."}
	}
	names := r.Header.Values(d.Proxy.UserHeader)
	if len(names) != 1 || !personName.MatchString(names[0]) {
		return unclear("the proxy does not say one name in the header " + d.Proxy.UserHeader)
	}
	p = person{in: true, proxied: true, name: names[0]}
	switch named := d.Logins.named(p.name).may; {
	case d.NoLogins != "": // nobody knows what names may
	case d.Proxy.RoleHeader == "":
		p.may = named
	default:
		var roles []Role
		for _, value := range r.Header.Values(d.Proxy.RoleHeader) {
			for word := range strings.SplitSeq(value, ",") {
				role, known := headerRoles[strings.TrimSpace(word)]
				if !known {
					return unclear("the proxy says a role in the header " + d.Proxy.RoleHeader + " that is none")
				}
				roles = append(roles, role)
			}
		}
		p.may = rightsOf(roles...)
		p.may[payload] = named[payload]
	}
	return p, true, nil
}

// sessionOf is the session of a request. Who comes through the proxy has one for the forms alone: it is worth nothing without the header, and ends when that says another
// name or other roles. Only what is said ends it: a proxy may let through what needs no name, such as styles, with the same cookie, and whoever comes past it has no say.
// Where a session is needed and missing, a GET begins it.
func (d *Dashboard) sessionOf(w http.ResponseWriter, r *http.Request, needed bool) (*session, error) {
	s := d.sessions.of(r, d.cookieName())
	p, said, err := d.proxied(r)
	switch {
	case err != nil:
		return nil, err
	case !said && s != nil && s.proxied:
		return nil, nil
	case !said:
		return s, nil
	case s != nil && s.proxied && s.name == p.name && maps.Equal(s.may, p.may):
		return s, nil
	}
	begins := needed && (r.Method == http.MethodGet || r.Method == http.MethodHead)
	if s != nil && (s.proxied || begins) { // the new one takes the place of any other in the browser
		d.sessions.end(r, d.cookieName())
	}
	if !begins {
		return nil, nil
	}
	id, s := d.sessions.begin(p)
	d.setCookie(w, id, int(sessionMost.Seconds()))
	return s, nil
}

// byForm says that a request could have come from a form of any page. What a browser adds by itself, as a proxy's login is added, proves nothing then.
func byForm(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return r.Method != http.MethodGet && r.Method != http.MethodHead && (err != nil || kind != "application/json")
}
