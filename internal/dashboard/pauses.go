package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

// pausing is what a person can do to a destination, or to all of them.
type pausing struct {
	Name, Verb string // in the address, on the button
	Done       string
	Reason     bool // needs one
}

var pausings = []pausing{{"pause", "Pause", "is paused", true}, {"resume", "Resume", "is resumed", false}}

type pausePage struct {
	Act         pausing
	Destination string // empty = all of them
	Paused      *relay.PausedDestination
	Effects     []string
	Reason      string
	Until       string // as it was written
	Wrong       string
}

// What names the destination in a sentence.
func (p pausePage) What() string {
	if p.Destination == "" {
		return "all destinations"
	}
	return p.Destination
}

// Action is where the form goes.
func (p pausePage) Action() string { return pauseURL(p.Destination, p.Act.Name) }

func pauseURL(destination, verb string) string {
	if destination == "" {
		return "/destinations/" + verb
	}
	return "/destinations/" + destination + "/" + verb
}

// pausingOn reads the address. A pause needs a destination that somebody knows.
func (d *Dashboard) pausingOn(r *http.Request) (p pausePage, err error) {
	i := slices.IndexFunc(pausings, func(a pausing) bool { return a.Name == r.PathValue("verb") })
	if i < 0 {
		return p, &failure{"not-found", http.StatusNotFound, "Not found", "There is no such act."}
	}
	p.Act, p.Destination = pausings[i], r.PathValue("name")
	st := d.state.get(r.Context(), d)
	if st.Err != nil {
		return p, st.Err
	}
	p.Paused = pauseOf(st.Overview, p.Destination)
	known := p.Destination == "" || p.Paused != nil || slices.ContainsFunc(d.destinationRows(st.Overview), func(row destinationRow) bool { return row.Name == p.Destination })
	if !known {
		return p, noDestination
	}
	return p, nil
}

var noDestination = &failure{"not-found", http.StatusNotFound, "Not found", "No such destination is configured here, and no relay reports one."}

// pauseOf is the very pause of a destination, or of all.
func pauseOf(o relay.Overview, destination string) *relay.PausedDestination {
	if i := slices.IndexFunc(o.Paused, func(p relay.PausedDestination) bool { return p.Destination == destination }); i >= 0 {
		return &o.Paused[i]
	}
	return nil
}

// effects says, before it is done, what will happen.
func (p pausePage) effects(o relay.Overview) []string {
	if p.Act.Name == "pause" {
		lines := []string{"Within two seconds nothing more is sent. A batch that is on its way ends.",
			"Messages wait and lose no attempt, however long it lasts. Nothing is lost; ages grow, and so does the table.",
			"It lasts until its end, or until somebody resumes it, also when relays are restarted or another one takes over."}
		if p.Destination == "" {
			lines = append(lines, "It is one act of its own: destinations that are paused by themselves stay so after it.")
		}
		return lines
	}
	lines := []string{"Within two seconds what waited begins to leave, in order, as fast as the broker takes it."}
	switch {
	case p.Destination != "" && pauseOf(o, "") != nil:
		lines = append(lines, "All destinations are paused by another act: nothing leaves before that is taken back too.")
	case p.Destination == "" && len(o.Paused) > 1:
		lines = append(lines, fmt.Sprintf("%s paused by themselves stay so.", plural(len(o.Paused)-1, "destination", "destinations")))
	}
	return lines
}

func (d *Dashboard) pauseForm(w http.ResponseWriter, r *http.Request, s *session) error {
	p, err := d.pausingOn(r)
	if err != nil {
		return err
	}
	return d.showPause(w, r, s, http.StatusOK, p)
}

func (d *Dashboard) showPause(w http.ResponseWriter, r *http.Request, s *session, code int, p pausePage) error {
	o := d.state.get(r.Context(), d).Overview
	p.Effects = p.effects(o)
	return d.show(w, s, code, "pause", page{Title: p.Act.Verb + " " + p.What(), Active: "destinations", Now: o.Now, Body: p})
}

func (d *Dashboard) pause(w http.ResponseWriter, r *http.Request, s *session) error {
	p, err := d.pausingOn(r)
	if err != nil {
		return err
	}
	p.Reason, p.Until = strings.TrimSpace(r.PostFormValue("reason")), r.PostFormValue("until")
	if _, p.Wrong = checkReason(p.Reason, p.Act.Reason); p.Wrong != "" {
		p.Reason = ""
		return d.showPause(w, r, s, http.StatusBadRequest, p)
	}
	until, err := p.until(p.Until)
	if err != nil {
		p.Wrong = "Until when? " + capital(err.Error()) + ". Leave it empty for a pause that somebody resumes."
		return d.showPause(w, r, s, http.StatusBadRequest, p)
	}
	activity, err := d.doPause(r.Context(), p, until, d.byPerson(r, s, p.Reason))
	if err != nil {
		return err
	}
	what := p.What()
	ends := ""
	if !until.IsZero() {
		ends = " until " + until.Format(time.RFC3339)
	}
	d.sessions.say(s, fmt.Sprintf("%s %s%s (activity %d). The relay hears of it within two seconds.", capital(what), p.done(), ends, activity))
	http.Redirect(w, r, "/destinations", http.StatusSeeOther)
	return nil
}

// until reads the end of a pause; a resume has none.
func (p pausePage) until(text string) (time.Time, error) {
	if p.Act.Name != "pause" {
		return time.Time{}, nil
	}
	return view.ParseUntil(text, time.Now())
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (p pausePage) done() string {
	if p.Destination == "" {
		return strings.Replace(p.Act.Done, "is", "are", 1)
	}
	return p.Act.Done
}

func (d *Dashboard) doPause(ctx context.Context, p pausePage, until time.Time, by relay.Act) (activity int64, err error) {
	if p.Act.Name == "pause" {
		activity, err = d.Operator.Pause(ctx, p.Destination, until, by)
	} else {
		activity, err = d.Operator.Resume(ctx, p.Destination, by)
	}
	d.state.changed()
	return activity, err
}

// apiPauses are the routes of the API that do the same.
func (d *Dashboard) apiPauses() (table []apiRoute) {
	for _, a := range pausings {
		var body any = reasonBody{}
		if a.Reason {
			body = pauseBody{}
		}
		for pattern, what := range map[string]string{"/destinations/{name}/": "a destination", "/destinations/": "all destinations, by one act"} {
			table = append(table, apiRoute{method: "POST", pattern: pattern + a.Name, role: operator, summary: a.Verb + " " + what, body: body, code: http.StatusOK,
				kind: "Pausing", shape: view.Pausing{}, serve: func(_ http.ResponseWriter, r *http.Request) (any, error) { return d.apiPause(r, a) }})
		}
	}
	slices.SortFunc(table, func(a, b apiRoute) int { return strings.Compare(b.pattern, a.pattern) })
	return table
}

func (d *Dashboard) apiPause(r *http.Request, a pausing) (any, error) {
	var by relay.Act
	var until time.Time
	var err error
	if a.Name == "pause" {
		by, until, err = d.byPause(r)
	} else {
		by, err = d.byReason(r, a.Reason)
	}
	if err != nil {
		return nil, err
	}
	r.SetPathValue("verb", a.Name)
	p, err := d.pausingOn(r)
	if err != nil {
		return nil, err
	}
	activity, err := d.doPause(r.Context(), p, until, by)
	return view.OfItem("Pausing", view.OfPausing(p.Destination, a.Name == "pause", activity, until)), err
}

// byPause is who pauses, why, and until when, as the body says.
func (d *Dashboard) byPause(r *http.Request) (by relay.Act, until time.Time, err error) {
	var b pauseBody
	if err := readBody(r, &b); err != nil {
		return by, until, err
	}
	if until, err = view.ParseUntil(b.Until, time.Now()); err != nil {
		return by, until, wrongBody("until: " + err.Error())
	}
	by, err = d.because(r, b.Reason, true)
	return by, until, err
}
