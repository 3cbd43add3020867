package dashboard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/waybillmq/waybill/internal/doctor"
	"github.com/waybillmq/waybill/relay"
)

// Options say what is shown and who may act.
type Options struct {
	Outbox       string // name of the outbox
	Version      string // of the program
	Inspector    relay.Inspector
	Operator     relay.Operator // nil = nobody can act
	Planner      relay.Planner  // nil = nobody can act on many messages at once
	Once         relay.Once     // nil = requests that carry an Idempotency-Key are refused
	Guide        Guide
	Destinations []Destination // as configured
	AllowedHosts []string      // names under which browsers may ask, besides localhost and loopback addresses
	ReadOnly     bool          // nobody can act, whoever they are
	Token        string        // opens a session that may act; empty = there is none
	NoToken      string        // for people: why there is no token
	Logins       *Logins       // people and programs with names; nil = there are none, and whoever reaches the listener may look
	NoLogins     string        // for people: why nobody of Logins can sign in; empty = they can
	Proxy        *Proxy        // whose word counts for who asks; nil = nobody's. It needs Logins
	Secure       bool          // it is asked by https
	Reveals      *Reveals      // nil = nobody has payloads shown, whatever their roles
	Auditor      Auditor       // nil = there are no audits
	Log          *slog.Logger

	// Doctor looks at everything, the gravest finding first. It is asked at most every 10 s for all viewers together.
	Doctor func(context.Context) ([]doctor.Finding, error)
	// TryAlert posts a test to the webhook of alerts, once. Its error is a sentence for people. Nil = there is no webhook.
	TryAlert func(context.Context) error
}

// Guide answers "why" from the same knowledge as the command line.
type Guide interface {
	// Outbox says what is wrong with the whole outbox. It does not block.
	Outbox(o relay.Overview) Answer

	// Message says why a message is not delivered, or where it is. Errors as relay.Inspector has them.
	Message(ctx context.Context, id relay.ID) (Answer, error)
}

// Answer is a verdict with its evidence and what to do.
type Answer struct {
	Verdict  string // one of a closed list, such as dead or breaker_open
	Subject  string // what it is about: outbox, message 17
	Healthy  bool   // nobody has to do anything
	Since    time.Time
	Evidence []string
	Next     []string
}

// Destination is a configured destination.
type Destination struct{ Name, Kind string }

// Dashboard is the handler. Safe for concurrent use.
type Dashboard struct {
	Options
	hosts    hostList
	origins  *http.CrossOriginProtection
	mux      *http.ServeMux
	routes   []route
	api      *http.ServeMux
	asks     []apiRoute
	sessions sessions
	state    snapshots
	progress progress
	streams  streams
	checked  checkups
	pages    map[string]*template.Template
	slots    chan struct{} // one for each request that is answered at the same time
	planning chan struct{} // one slot: the plan that is being made
}

// maxRequests is how many requests are answered at once. The inspector's pool is smaller: more would only wait.
const maxRequests = 32

// maxBody bounds what a form can send.
const maxBody = 16 << 10

// New makes the handler. It panics without Inspector, Guide, Doctor or Log, and with a Proxy without Logins, a header or an address.
func New(o Options) *Dashboard {
	if o.Proxy != nil && (o.Logins == nil || o.Proxy.UserHeader == "" || len(o.Proxy.Trusted) == 0) {
		panic("dashboard: a Proxy needs Logins, UserHeader and Trusted")
	}
	if o.Inspector == nil || o.Guide == nil || o.Doctor == nil || o.Log == nil {
		panic("dashboard: Inspector, Guide, Doctor and Log are required")
	}
	d := &Dashboard{Options: o, hosts: newHostList(o.AllowedHosts), origins: http.NewCrossOriginProtection(), mux: http.NewServeMux(), pages: parsePages(),
		api: http.NewServeMux(), slots: make(chan struct{}, maxRequests), planning: make(chan struct{}, 1)}
	d.sessions.open, d.checked.asking = map[string]*session{}, make(chan struct{}, 1)
	d.streams.each, d.streams.end = map[string]int{}, make(chan struct{})
	d.routes = d.table()
	for _, rt := range d.routes {
		d.mux.Handle(rt.method+" "+rt.pattern, d.guarded(rt))
	}
	d.asks = d.apiTable()
	for _, rt := range d.asks {
		d.api.Handle(rt.method+" "+apiBase+rt.pattern, d.answered(rt))
	}
	return d
}

// mayAct says whether anybody can act here at all.
func (d *Dashboard) mayAct() bool {
	return (d.Token != "" || d.Logins.has(operator) || d.Proxy != nil && d.Proxy.RoleHeader != "") && !d.ReadOnly && d.Operator != nil
}

// mayPlan says whether anybody can act on many messages at once.
func (d *Dashboard) mayPlan() bool { return d.mayAct() && d.Planner != nil }

// ServeHTTP implements http.Handler.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header(), d.Secure)
	if !d.hosts.allows(r.Host) {
		deny(w, r, &failure{"host-not-allowed", http.StatusMisdirectedRequest, "Wrong name", "this name is not one of the dashboard's; add it to dashboard.allowed_hosts if it should be"})
		return
	}
	if err := d.origins.Check(r); err != nil {
		deny(w, r, &failure{"forbidden", http.StatusForbidden, "Cross-site", "this came from a page of another site"})
		return
	}
	if f := d.forged(r); f != nil {
		deny(w, r, f)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if r.Method == http.MethodGet && r.URL.Path == eventsPath { // it lasts, and has a bound of its own
		d.mux.ServeHTTP(w, r)
		return
	}
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		deny(w, r, &failure{"rate-limited", http.StatusServiceUnavailable, "Busy", "too many requests at once, try again"})
		return
	}
	if ofAPI(r) {
		d.serveAPI(w, r)
		return
	}
	d.mux.ServeHTTP(w, r)
}

// deny answers what comes no further than the door.
func deny(w http.ResponseWriter, r *http.Request, f *failure) {
	if ofAPI(r) {
		writeProblem(w, f)
		return
	}
	http.Error(w, fmt.Sprintf("%d: %s", f.Code, f.Text), f.Code)
}

// failure is an answer that is no page of its own.
type failure struct {
	Type  string // of the API's problems
	Code  int
	Title string
	Text  string
}

func (f *failure) Error() string { return f.Title + ": " + f.Text }

// fail shows what went wrong.
func (d *Dashboard) fail(w http.ResponseWriter, r *http.Request, s *session, err error) {
	f := d.failureOf(r, err)
	d.show(w, s, f.Code, "problem", page{Title: f.Title, Body: f})
}

// failureOf finds a sentence for what a person can understand and change, else an id under which the log has more.
func (d *Dashboard) failureOf(r *http.Request, err error) *failure {
	var f *failure
	var config *relay.ConfigError
	var state *relay.StateError
	switch {
	case errors.As(err, &f):
	case errors.Is(err, relay.ErrNotFound):
		f = &failure{"not-found", http.StatusNotFound, "Not found", "There is no such message, key, group or operation, or it is no longer there: what was sent is dropped when its time is over, and a group or " +
			"a closed key ends when none of its messages is held."}
	case errors.Is(err, relay.ErrDenied):
		f = &failure{"forbidden", http.StatusForbidden, "The database refused", err.Error()}
	case errors.Is(err, relay.ErrBusy):
		f = &failure{"busy", http.StatusConflict, "Busy", "Somebody else, or the relay, had this message in hand. Nothing was changed: go back and try again."}
	case errors.As(err, &state):
		f = &failure{"state-changed", http.StatusConflict, "Not in this state", "Nothing was changed: " + state.Text + "."}
	case errors.Is(err, relay.ErrRunning):
		f = &failure{"idempotency-running", http.StatusConflict, "Still running", "A request with this " + onceHeader + " is being worked at. Ask again in a second for its answer."}
	case errors.Is(err, relay.ErrOtherRequest):
		f = &failure{"idempotency-conflict", http.StatusUnprocessableEntity, "Key of another request", "Nothing was changed: this " + onceHeader + " was used for another request in the last 24 hours. Take a new one for a new request."}
	case errors.Is(err, relay.ErrTooMany):
		f = &failure{"too-many-items", http.StatusConflict, "Too many messages", "Nothing was changed: " + err.Error() + "."}
	case errors.As(err, &config):
		f = &failure{"configuration", http.StatusServiceUnavailable, "Something must be changed first", err.Error()}
	default:
		id := rand.Text()[:8]
		d.Log.Warn("a request could not be answered", "request", id, "page", r.Pattern, "err", err)
		f = &failure{"database-down", http.StatusServiceUnavailable, "The database did not answer",
			"What is committed stays; messages go on when it answers again. Try again in a few seconds; the log of this relay says more under request " + id + "."}
	}
	return f
}
