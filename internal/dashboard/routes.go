package dashboard

import (
	"net/http"
	"net/url"
	"strings"
)

// route is one line of the table that the handler is made of; there is no other way in.
type route struct {
	method  string
	pattern string
	role    role
	serve   func(http.ResponseWriter, *http.Request, *session) error
}

func (d *Dashboard) table() []route {
	table := []route{
		{"GET", "/{$}", viewer, d.overview},
		{"GET", "/failures/{id}", viewer, d.failureGroup},
		{"GET", "/messages", viewer, d.messages},
		{"GET", "/messages/{id}", viewer, d.message},
		{"GET", "/keys", viewer, d.keys},
		{"GET", "/key", viewer, d.key},
		{"GET", "/destinations", viewer, d.destinations},
		{"GET", "/operations", viewer, d.operations},
		{"GET", "/operations/{id}", viewer, d.operation},
		{"GET", "/doctor", viewer, d.doctor},
		{"GET", eventsPath, viewer, d.events},
		{"GET", "/assets/{name}", anybody, d.asset},
		{"GET", "/login", anybody, d.loginForm},
		{"POST", "/login", anybody, d.login},
		{"POST", "/logout", signed, d.logout},
		{"GET", "/activity", admin, d.activity},
	}
	if d.Auditor != nil {
		table = append(table, route{"GET", "/audit", viewer, d.audit}, route{"GET", "/audit/{run}", viewer, d.auditRun})
	}
	if d.mayAct() && d.Auditor != nil {
		table = append(table, route{"POST", "/audit", operator, d.beginAudit})
	}
	if d.mayAct() {
		table = append(table,
			route{"GET", "/messages/{id}/{act}", operator, d.actForm},
			route{"POST", "/messages/{id}/{act}", operator, d.act},
			route{"GET", "/destinations/{verb}", operator, d.pauseForm},
			route{"POST", "/destinations/{verb}", operator, d.pause},
			route{"GET", "/destinations/{name}/{verb}", operator, d.pauseForm},
			route{"POST", "/destinations/{name}/{verb}", operator, d.pause})
	}
	if d.mayPlan() {
		table = append(table,
			route{"GET", "/plans/{act}", operator, d.planForm},
			route{"POST", "/plans/{act}", operator, d.plan},
			route{"POST", "/operations/{id}/{verb}", operator, d.steer})
	}
	if d.mayReveal() {
		table = append(table,
			route{"GET", "/messages/{id}/reveal", payload, d.revealForm},
			route{"POST", "/messages/{id}/reveal", payload, d.revealPage})
	}
	if d.mayAct() && d.TryAlert != nil {
		table = append(table, route{"POST", "/doctor/alert", operator, d.tryAlert})
	}
	return table
}

// guarded puts the role of a route before its handler, and for a POST of a session the token of its forms: cookies are sent to every port of a host.
func (d *Dashboard) guarded(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := d.sessionOf(w, r, rt.role != anybody)
		if err == nil {
			err = d.refused(rt, r, s)
		}
		if err == errLogin {
			http.Redirect(w, r, "/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
			return
		}
		if err == nil {
			err = rt.serve(w, r, s)
		}
		if err != nil {
			d.fail(w, r, s, err)
		}
	})
}

// errLogin sends a person who only wanted to read to the login.
var errLogin = &failure{"unauthenticated", http.StatusSeeOther, "Sign in", "this page is for those who have signed in"}

func (d *Dashboard) refused(rt route, r *http.Request, s *session) error {
	lets := d.lets(s.who(), rt.role)
	switch {
	case rt.role == closed:
		return &failure{"forbidden", http.StatusForbidden, "Closed", "Nobody may do this."}
	case s == nil && lets:
		return nil
	case s == nil && rt.method == "GET":
		return errLogin
	case s == nil:
		return &failure{"forbidden", http.StatusForbidden, "Not signed in", "Nothing was changed. Your session has ended, or there was none: sign in and do it again."}
	case !lets:
		return lacks(s.who(), rt.role)
	case rt.method != "GET" && rt.role != anybody && !same(r.PostFormValue("form"), s.form):
		return &failure{"forbidden", http.StatusForbidden, "Not from our form", "Nothing was changed. The form was of another session: go back, load the page again and repeat."}
	}
	return nil
}

// lacks says which role somebody would need.
func lacks(p person, r role) *failure {
	who := "The token has no name, and " + string(roleNames[r]) + " is for names alone."
	if !p.token {
		who = p.name + " has " + p.roles() + "."
	}
	return &failure{"forbidden", http.StatusForbidden, "Not in this role", "Nothing was done: it needs the role " + string(roleNames[r]) + ". " + who + " Whoever keeps the configuration can change dashboard.roles."}
}

// localPath returns a path of our own to go to next; anything else becomes the overview.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}
