package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/waybillmq/waybill/relay"
)

type operationsPage struct {
	Rows []relay.Operation
	Next relay.OperationID
}

func (d *Dashboard) operations(w http.ResponseWriter, r *http.Request, s *session) error {
	before, err := number(r, "before")
	if err != nil {
		return err
	}
	p := operationsPage{}
	if p.Rows, err = d.Inspector.Operations(r.Context(), relay.OperationID(before), relay.DefaultPage); err != nil {
		return err
	}
	if len(p.Rows) == relay.DefaultPage {
		p.Next = p.Rows[len(p.Rows)-1].ID
	}
	live := slices.ContainsFunc(p.Rows, func(o relay.Operation) bool { return o.State == relay.OperationRunning })
	return d.show(w, s, http.StatusOK, "operations", page{Title: "Operations", Active: "operations", Live: live, Reload: live, Body: p})
}

// outcomeCount is a line of what became of the messages.
type outcomeCount struct {
	Word    string
	Outcome string // of the items; empty = they have none yet
	Count   int
	Tone    string
}

type operationPage struct {
	relay.Operation
	Act      act
	Effects  []string
	Outcomes []outcomeCount
	Items    []relay.OperationItem
	Only     string // the outcome of the items
	Next     relay.ID
	Verbs    []relay.Verb
	MustType bool
	Stands   bool // it runs, and waits for outcomes
	NoOwner  bool
	Reason   string
	Wrong    string
}

// firstItems are as many messages as the page of an operation shows unasked.
const firstItems = 10

func operationID(r *http.Request) (relay.OperationID, error) {
	n, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || n < 1 {
		return 0, relay.ErrNotFound
	}
	return relay.OperationID(n), nil
}

func (d *Dashboard) operation(w http.ResponseWriter, r *http.Request, s *session) error {
	id, err := operationID(r)
	if err != nil {
		return err
	}
	o, err := d.Inspector.Operation(r.Context(), id)
	if err != nil {
		return err
	}
	return d.showOperation(w, r, s, http.StatusOK, o, "", "")
}

func (d *Dashboard) showOperation(w http.ResponseWriter, r *http.Request, s *session, code int, o relay.Operation, reason, wrong string) error {
	p := operationPage{Operation: o, Effects: planEffects(&o), Outcomes: outcomesOf(&o), Verbs: verbsOn(&o), MustType: mustType(&o), Stands: o.Waiting(), Reason: reason, Wrong: wrong}
	for _, p.Act = range acts {
		if p.Act.Name == o.Action {
			break
		}
	}
	after, err := number(r, "after")
	if err != nil {
		return err
	}
	if p.Only = r.URL.Query().Get("outcome"); p.Only != "" && !slices.Contains(relay.Outcomes, p.Only) {
		return &failure{"invalid-parameter", http.StatusBadRequest, "Not a page", "There is no such outcome."}
	}
	limit := relay.DefaultPage
	if p.Only == "" && after == 0 {
		limit = firstItems
	}
	if p.Items, err = d.Inspector.OperationItems(r.Context(), o.ID, p.Only, relay.ID(after), limit); err != nil {
		return err
	}
	if len(p.Items) == limit {
		p.Next = p.Items[len(p.Items)-1].ID
	}
	st := d.state.get(r.Context(), d)
	p.NoOwner = o.State == relay.OperationRunning && st.Err == nil && !st.Overview.Alive
	running := o.State == relay.OperationRunning
	return d.show(w, s, code, "operation", page{Title: "Operation " + o.ID.String(), Active: "operations", Now: st.Overview.Now, Live: running, Reload: running, Body: p})
}

func verbsOn(o *relay.Operation) []relay.Verb {
	switch o.State {
	case relay.OperationRunning:
		return []relay.Verb{relay.Pause, relay.Stop}
	case relay.OperationPaused:
		return []relay.Verb{relay.Resume, relay.Stop}
	}
	return nil
}

// planEffects says, before it is started, what a plan will do.
func planEffects(o *relay.Operation) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	s := o.Summary
	switch o.Action {
	case relay.PlanRetry:
		say("They are tried again, with the same bytes, the same message ids and new attempts, in the order of their ids.")
	case relay.PlanSkip:
		say("They stay dead. Their keys go on without them: the order of these keys is broken at these places.")
	case relay.PlanDiscard:
		say("They are given up and never sent. Retry takes one back while its row exists; it is then out of order.")
	}
	if s.Keys > 0 {
		behind := "no other message waits"
		if s.Behind > 0 {
			behind = plural(s.Behind, "other message waits", "other messages wait")
		}
		say("They hold %s closed, in which %s.", plural(s.Keys, "key", "keys"), behind)
	}
	if o.Action == relay.PlanRetry && s.Unknown > 0 {
		say("The last attempt of %d had no answer: they may lie at the broker already, and consumers see the same message id twice then.", s.Unknown)
	}
	if o.LeftOut > 0 {
		say("%d more match and are left out: it does not apply to them, or they are being sent.", o.LeftOut)
	}
	return lines
}

func outcomesOf(o *relay.Operation) []outcomeCount {
	acted, word := relay.OutcomeDiscarded, "discarded"
	if o.Action == relay.PlanSkip {
		acted, word = relay.OutcomeSkipped, "skipped"
	}
	all := []outcomeCount{{"sent", relay.OutcomeSent, o.Sent, "good"}, {word, acted, o.Acted, "good"}, {"failed again", relay.OutcomeFailedAgain, o.FailedAgain, "bad"},
		{"wait behind a message of their key", relay.OutcomeWaits, o.Waits, "warn"}, {"had changed since the plan: left alone", relay.OutcomeChanged, o.Changed, "none"},
		{"without an outcome yet", "", o.Handled - o.Sent - o.Acted - o.FailedAgain - o.Waits - o.Changed, "none"}, {"untouched", "", o.Total - o.Handled, "none"}}
	return slices.DeleteFunc(all, func(c outcomeCount) bool { return c.Count <= 0 })
}

// operationTone is the colour of a state.
func operationTone(s relay.OperationState) string {
	switch s {
	case relay.OperationDone:
		return "good"
	case relay.OperationStopped:
		return "bad"
	case relay.OperationPaused, relay.OperationPlanned:
		return "warn"
	}
	return "none"
}

func itemsURL(id relay.OperationID, outcome string, after relay.ID) string {
	v := url.Values{}
	if outcome != "" {
		v.Set("outcome", outcome)
	}
	if after > 0 {
		v.Set("after", after.String())
	}
	path := "/operations/" + id.String()
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}
