package dashboard

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/waybillmq/waybill/relay"
)

// headline is the sentence that a tired person reads first.
type headline struct {
	Answer
	Title string
	Tone  string // good, warn or bad
	Link  string // where to go
	Go    string // what is there
}

// headlines are the words for each verdict about a whole outbox.
var headlines = map[string]headline{
	"ok":                 {Title: "Everything flows", Tone: "good"},
	"dead":               {Title: "Messages are dead", Tone: "bad", Link: "/messages?q=state:dead", Go: "Open the dead messages"},
	"breaker_open":       {Title: "A destination does not answer", Tone: "bad", Link: "/destinations", Go: "Open destinations"},
	"destination_config": {Title: "A destination refuses until something is changed", Tone: "bad", Link: "/destinations", Go: "Open destinations"},
	"destination_paused": {Title: "A destination is paused", Tone: "warn", Link: "/destinations", Go: "Open destinations"},
	"lanes_refused":      {Title: "A destination refuses a part", Tone: "warn", Link: "/destinations", Go: "Open destinations"},
	"relay_behind":       {Title: "Messages are late", Tone: "warn", Link: "/messages?q=state:pending", Go: "Open the pending messages"},
	"no_owner":           {Title: "No relay works this outbox", Tone: "bad", Link: "#relays", Go: "See the relays"},
	"owner_stalled":      {Title: "The relay has stalled", Tone: "bad", Link: "#relays", Go: "See the relays"},
	"database_down":      {Title: "The database does not answer", Tone: "bad"},
}

func (s *state) headline() headline {
	a := s.Answer
	if s.Err != nil {
		a = Answer{Verdict: "database_down", Evidence: []string{"What is committed stays, and nothing new is published until it answers."},
			Next: []string{"Look at the server, and at the log of this relay: it has the error."}}
	}
	h, ok := headlines[a.Verdict]
	if !ok {
		h = headline{Title: "Something needs a look: " + a.Verdict, Tone: "warn"}
	}
	if a.Verdict == "dead" {
		h.dead(&a, s.Failures)
	}
	h.Answer = a
	return h
}

// dead names the cause with the most messages, and the way from there.
func (h *headline) dead(a *Answer, groups []relay.FailureGroup) {
	i := slices.IndexFunc(groups, func(g relay.FailureGroup) bool { return g.Dead > 0 })
	if i < 0 {
		return
	}
	h.Title += ": " + cmp.Or(groups[i].Class, "a failure") + " at " + groups[i].Destination
	switch others := len(groups) - 1; {
	case others == 1:
		h.Title += ", and another cause"
	case others > 1:
		h.Title += ", and " + strconv.Itoa(others) + " other causes"
	}
	h.Link, h.Go = "/failures/"+groups[i].ID.String(), "Open this failure"
	a.Next = []string{"Open the failure, mend its cause, and retry one message; when it passes, the others.",
		"Cannot be mended: skip lets a key go on without its dead message, discard gives the message up."}
}

type overviewPage struct {
	state
	Headline     headline
	Destinations []destinationRow
	Dead         relay.Count
	Retrying     relay.Count
	Blocked      relay.Count
	Scheduled    relay.Count
	More         int // failure groups that are not shown
}

const overviewFailures = 8

func (d *Dashboard) overview(w http.ResponseWriter, r *http.Request, s *session) error {
	st := d.state.get(r.Context(), d)
	p := overviewPage{state: st, Headline: st.headline(), Destinations: d.destinationRows(st.Overview)}
	p.Dead, p.Retrying, p.Blocked, p.Scheduled = st.Overview.Held[relay.Dead], st.Overview.Held[relay.Retrying], st.Overview.Held[relay.Blocked], st.Overview.Held[relay.Scheduled]
	if p.More = len(p.Failures) - overviewFailures; p.More > 0 {
		p.Failures = p.Failures[:overviewFailures]
	}
	code := http.StatusOK
	if st.Err != nil {
		code = http.StatusServiceUnavailable
	}
	return d.show(w, s, code, "overview", page{Title: "Overview", Active: "overview", Now: st.Overview.Now, Live: true, Body: p})
}

// destinationRow is a destination as the relays report it.
type destinationRow struct {
	Destination
	relay.DestinationStatus
	Word, Tone string
	Reporter   string
}

var destinationWords = map[string][2]string{
	relay.DestinationClosed: {"works", "good"},
	relay.DestinationOpen:   {"does not answer", "bad"},
	relay.DestinationConfig: {"needs a change", "bad"},
	relay.DestinationPaused: {"paused", "warn"},
	relay.DestinationPartly: {"partly refused", "warn"},
}

// destinationRows joins what is configured here with what the relays report.
func (d *Dashboard) destinationRows(o relay.Overview) []destinationRow {
	names := o.Reported()
	for _, c := range d.Destinations {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	var rows []destinationRow
	for _, name := range slices.Compact(names) {
		row := destinationRow{Destination: Destination{Name: name}, Word: "no report", Tone: "none"}
		if i := slices.IndexFunc(d.Destinations, func(c Destination) bool { return c.Name == name }); i >= 0 {
			row.Destination = d.Destinations[i]
		}
		if row.DestinationStatus, row.Reporter = o.Destination(name); row.Reporter != "" || row.Paused != nil {
			words, ok := destinationWords[row.State]
			if !ok {
				words = [2]string{row.State, "warn"}
			}
			row.Word, row.Tone = words[0], words[1]
		}
		rows = append(rows, row)
	}
	return rows
}

type destinationsPage struct {
	All  *relay.PausedDestination // who has paused all of them; nil = nobody
	Rows []destinationRow
}

func (d *Dashboard) destinations(w http.ResponseWriter, r *http.Request, s *session) error {
	st := d.state.get(r.Context(), d)
	if st.Err != nil {
		return st.Err
	}
	return d.show(w, s, http.StatusOK, "destinations", page{Title: "Destinations", Active: "destinations", Now: st.Overview.Now, Live: true,
		Body: destinationsPage{pauseOf(st.Overview, ""), d.destinationRows(st.Overview)}})
}

type listPage struct {
	relay.MessageList
	Query string
	Wrong string // what is wrong with the filter
	Later bool   // this is not the first page
}

func (d *Dashboard) messages(w http.ResponseWriter, r *http.Request, s *session) error {
	p := listPage{Query: r.URL.Query().Get("q"), Later: r.URL.Query().Has("before")}
	before, err := number(r, "before")
	if err != nil {
		return err
	}
	if id := strings.TrimSpace(p.Query); id != "" && !strings.ContainsAny(id, ":<> \t\"") { // what a person copied from a log
		http.Redirect(w, r, "/messages/"+url.PathEscape(id), http.StatusSeeOther)
		return nil
	}
	code := http.StatusOK
	f, err := relay.ParseFilter(p.Query)
	if err != nil {
		p.Wrong, code = err.Error(), http.StatusBadRequest
	} else if p.MessageList, err = d.Inspector.Messages(r.Context(), f, relay.ID(before), relay.DefaultPage); err != nil {
		return err
	}
	return d.show(w, s, code, "messages", page{Title: "Messages", Active: "messages", Body: p})
}

// number reads a place in a list; 0 = not given.
func number(r *http.Request, name string) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, &failure{"invalid-parameter", http.StatusBadRequest, "Not a page", name + " is a whole number"}
	}
	return n, nil
}

type failurePage struct {
	relay.FailureGroup
	List   relay.MessageList
	Before bool
}

func (d *Dashboard) failureGroup(w http.ResponseWriter, r *http.Request, s *session) error {
	id, err := relay.ParseFailureID(r.PathValue("id"))
	if err != nil {
		return relay.ErrNotFound
	}
	before, err := number(r, "before")
	if err != nil {
		return err
	}
	p := failurePage{Before: before > 0}
	if p.FailureGroup, err = d.Inspector.Failure(r.Context(), id); err != nil {
		return err
	}
	f := relay.Filter{Terms: []relay.Term{{Name: "failure", Op: ':', Values: []string{id.String()}}}}
	if p.List, err = d.Inspector.Messages(r.Context(), f, relay.ID(before), relay.DefaultPage); err != nil {
		return err
	}
	return d.show(w, s, http.StatusOK, "failure", page{Title: "Failure", Active: "overview", Body: p})
}

type activityPage struct {
	Rows []relay.ActivityRow
	Next int64
}

func (d *Dashboard) activity(w http.ResponseWriter, r *http.Request, s *session) error {
	before, err := number(r, "before")
	if err != nil {
		return err
	}
	rows, err := d.Inspector.Activity(r.Context(), before, relay.DefaultPage)
	if err != nil {
		return err
	}
	p := activityPage{Rows: rows}
	if len(rows) == relay.DefaultPage {
		p.Next = rows[len(rows)-1].ID
	}
	return d.show(w, s, http.StatusOK, "activity", page{Title: "Activity", Active: "activity", Body: p})
}
