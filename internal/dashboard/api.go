package dashboard

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/waybillmq/waybill/internal/view"
)

// apiBase is where the HTTP API begins.
const apiBase = "/api/v1"

// actorHeader is how a program says who acts.
const actorHeader = "Waybill-Actor"

// apiRoute is one line of the table that the API is made of: the way in, who may, and what the served document says all come from it.
type apiRoute struct {
	method  string
	pattern string // below apiBase
	role    role
	summary string
	query   []apiParam // others are refused
	body    any        // zero value of what the request carries; nil = nothing
	code    int        // of the answer
	kind    string     // of the answer's form; empty = it has none
	list    bool
	unkept  bool // its answer is never written down, so it takes no Idempotency-Key
	shape   any  // zero value of an item; nil = any object
	serve   func(http.ResponseWriter, *http.Request) (any, error)
}

// schema is a part of a JSON Schema.
type schema map[string]any

// apiParam is a parameter of the query.
type apiParam struct {
	name, about string
	schema      schema
	required    bool
}

func (d *Dashboard) apiTable() []apiRoute {
	return append(slices.Concat(d.apiReads(), d.apiActs(), d.apiPauses(), d.apiReveals(), d.apiAudits()),
		apiRoute{method: "GET", pattern: "/openapi.json", role: anybody, summary: "This document", code: http.StatusOK, serve: d.apiDocument},
		apiRoute{method: "GET", pattern: "/problems/{type}", role: anybody, summary: "What a type of problem means", code: http.StatusOK, kind: "Problem", shape: problemKind{},
			serve: d.apiProblem})
}

func ofAPI(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/api/") }

// serveAPI answers what the table has; paths and methods that it has not are problems too.
func (d *Dashboard) serveAPI(w http.ResponseWriter, r *http.Request) {
	if _, pattern := d.api.Handler(r); pattern != "" {
		d.api.ServeHTTP(w, r)
		return
	}
	var methods []string
	for _, method := range []string{"GET", "POST"} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := d.api.Handler(probe); pattern != "" {
			methods = append(methods, method)
		}
	}
	if methods == nil {
		writeProblem(w, &failure{"not-found", http.StatusNotFound, "Not found", "There is no such path. " + apiBase + "/openapi.json lists them all."})
		return
	}
	allow := strings.Join(methods, ", ")
	w.Header().Set("Allow", allow)
	writeProblem(w, &failure{"method-not-allowed", http.StatusMethodNotAllowed, "Wrong method", "This path takes " + allow + "."})
}

// answered puts the role of a route, and the parameters that it knows, before its handler.
func (d *Dashboard) answered(rt apiRoute) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := d.refusedAPI(rt, r)
		r = r.WithContext(context.WithValue(r.Context(), askerKey{}, who))
		if err == nil {
			err = rt.checkQuery(r)
		}
		if err == nil && rt.unkept && r.Header.Values(onceHeader) != nil {
			err = wrongParameter("the header " + onceHeader + " is refused here: no answer of this is kept")
		}
		if err == nil && rt.method == "POST" && r.Header.Values(onceHeader) != nil {
			d.answerOnce(rt, w, r)
			return
		}
		var answer any
		if err == nil {
			answer, err = rt.serve(w, r)
		}
		if err != nil {
			writeProblem(w, d.failureOf(r, err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(rt.code)
		_ = view.Encode(w, answer) // the client has gone
	})
}

// refusedAPI asks for proof with each request, never for a session: browsers send a cookie along with what another page makes them ask. It says who asks.
func (d *Dashboard) refusedAPI(rt apiRoute, r *http.Request) (p person, err error) {
	switch {
	case rt.role == closed:
		return p, &failure{"forbidden", http.StatusForbidden, "Closed", "Nobody may do this."}
	case d.lets(p, rt.role):
		return p, nil
	case d.ReadOnly && rt.method != "GET":
		return p, &failure{"read-only", http.StatusForbidden, "Read only", "Nothing was changed: dashboard.read_only is set here."}
	case d.Token == "" && d.Logins == nil:
		return p, &failure{"read-only", http.StatusForbidden, "No token", "This needs the token, and there is none: " + d.NoToken + "."}
	}
	if p, err = d.identify(r); err != nil {
		return p, err
	}
	switch {
	case !d.lets(p, rt.role):
		return p, lacks(p, rt.role)
	case rt.role == payload && !d.mayReveal():
		return p, &failure{"read-only", http.StatusForbidden, "Not shown here", "Nothing was shown: payloads are shown to names in the role payload alone, and not where dashboard.read_only is set."}
	case rt.role == operator && rt.method != "GET" && (!d.mayAct() || d.Planner == nil):
		return p, &failure{"read-only", http.StatusForbidden, "Read only", "Nobody can act here."}
	}
	return p, nil
}

// identify finds out who asks: a token as a Bearer, or a name and its password.
func (d *Dashboard) identify(r *http.Request) (person, error) {
	switch p, said, err := d.proxied(r); {
	case err != nil:
		return person{}, err
	case said && byForm(r):
		return person{}, &failure{"forbidden", http.StatusForbidden, "Not from a program", "Nothing was done: behind the proxy a request that changes something has the header Content-Type: application/json, which no form of another page can send."}
	case said:
		return p, nil
	}
	given := r.Header.Get("Authorization")
	if name, password, ok := r.BasicAuth(); ok && d.Logins != nil {
		p, err := d.Logins.byPassword(r.Context(), name, password, remote(r))
		if err == nil {
			return p, nil
		}
		d.Log.Warn("a request to the API was refused", "cause", err.Type, "address", remote(r))
		return p, err
	}
	scheme, token, _ := strings.Cut(given, " ")
	if p, ok := d.byToken(strings.TrimSpace(token)); ok && strings.EqualFold(scheme, "Bearer") {
		return p, nil
	}
	if given != "" {
		d.Log.Warn("a request to the API was refused: wrong token", "address", remote(r))
	}
	text := "Send the token of dashboard.token_file, in a header: Authorization: Bearer wbt_…"
	if d.Logins != nil {
		text += " Or your own: a name and its password as Basic, a token of dashboard.auth.tokens as a Bearer."
	}
	return person{}, &failure{"unauthenticated", http.StatusUnauthorized, "Token needed", text}
}

type askerKey struct{}

// asker is who asks the API.
func asker(r *http.Request) person {
	p, _ := r.Context().Value(askerKey{}).(person)
	return p
}

// checkQuery refuses parameters that the route does not know: one that is written wrong would change what is asked without a word.
func (rt *apiRoute) checkQuery(r *http.Request) error {
	for name, values := range r.URL.Query() {
		if !slices.ContainsFunc(rt.query, func(p apiParam) bool { return p.name == name }) {
			return wrongParameter("there is no parameter " + name + " here")
		}
		if len(values) > 1 {
			return wrongParameter(name + " is given more than once")
		}
	}
	for _, p := range rt.query {
		if p.required && !r.URL.Query().Has(p.name) {
			return wrongParameter(p.name + " is missing: " + p.about)
		}
	}
	return nil
}

func wrongParameter(text string) error {
	return &failure{"invalid-parameter", http.StatusBadRequest, "Wrong parameter", "Nothing was done: " + text + "."}
}
