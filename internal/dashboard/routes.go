package dashboard

import (
	"net/http"
	"net/url"
	"strings"
)

// role is what a route asks of the person. The zero role lets nobody in: a route that forgets to say is closed.
type role int

const (
	closed   role = iota
	viewer        // whoever reaches the listener
	operator      // whoever has a session that the token opened
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
		{"GET", "/assets/{name}", viewer, d.asset},
		{"GET", "/login", viewer, d.loginForm},
		{"POST", "/login", viewer, d.login},
		{"POST", "/logout", operator, d.logout},
		{"GET", "/activity", operator, d.activity},
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
	if d.mayAct() && d.TryAlert != nil {
		table = append(table, route{"POST", "/doctor/alert", operator, d.tryAlert})
	}
	return table
}

// guarded puts the role of a route before its handler, and for a POST of a session the token of its forms: cookies are sent to every port of a host.
func (d *Dashboard) guarded(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := d.sessions.of(r, d.cookieName())
		err := d.refused(rt, r, s)
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
var errLogin = &failure{"unauthenticated", http.StatusSeeOther, "Sign in", "this page needs the token"}

func (d *Dashboard) refused(rt route, r *http.Request, s *session) error {
	switch rt.role {
	case viewer:
		return nil
	case operator:
		if s == nil && rt.method == "GET" {
			return errLogin
		}
		if s == nil {
			return &failure{"forbidden", http.StatusForbidden, "Not signed in", "Nothing was changed. Your session has ended, or there was none: sign in and do it again."}
		}
		if rt.method != "GET" && !same(r.PostFormValue("form"), s.form) {
			return &failure{"forbidden", http.StatusForbidden, "Not from our form", "Nothing was changed. The form was of another session: go back, load the page again and repeat."}
		}
		return nil
	}
	return &failure{"forbidden", http.StatusForbidden, "Closed", "Nobody may do this."}
}

// localPath returns a path of our own to go to next; anything else becomes the overview.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}
