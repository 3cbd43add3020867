package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// planLimit bounds the making of a plan in a request, below the time that the server has for an answer; what takes longer is for the command line.
const planLimit = 15 * time.Second

// typeAbove is from how many messages on an act that gives up or breaks an order wants their number typed.
const typeAbove = 100

// maxRate of an operation, in messages a second.
const maxRate = 1_000_000

// planPage asks whether a plan shall be made; making one counts messages and changes none.
type planPage struct {
	Act    act
	Query  string
	Filter string // with the states that are meant
	Wrong  string
}

// planOf reads the act of the address and the filter of the request.
func planOf(r *http.Request) (p planPage, f relay.Filter, err error) {
	a, err := actNamed(r.PathValue("act"))
	if err != nil {
		return p, f, err
	}
	p, f = planFor(a, r.FormValue("q"))
	return p, f, nil
}

// planFor reads a filter; what is wrong with it is in the page.
func planFor(a act, q string) (p planPage, f relay.Filter) {
	p = planPage{Act: a, Query: strings.TrimSpace(q)}
	parsed, err := relay.ParseFilter(p.Query)
	if err == nil {
		f, err = relay.PlanFilter(p.Act.Name, parsed)
	}
	if err != nil {
		p.Wrong = err.Error()
		return p, f
	}
	if p.Filter = p.Query; len(f.Terms) > len(parsed.Terms) {
		p.Filter = strings.TrimSpace(p.Query + " state:" + strings.Join(f.Terms[len(f.Terms)-1].Values, ","))
	}
	return p, f
}

func (d *Dashboard) planForm(w http.ResponseWriter, r *http.Request, s *session) error {
	p, _, err := planOf(r)
	if err != nil {
		return err
	}
	return d.showPlanForm(w, s, p)
}

func (d *Dashboard) showPlanForm(w http.ResponseWriter, s *session, p planPage) error {
	code := http.StatusOK
	if p.Wrong != "" {
		code = http.StatusBadRequest
	}
	return d.show(w, s, code, "plan", page{Title: p.Act.Verb + " many messages", Active: "operations", Body: p})
}

func (d *Dashboard) plan(w http.ResponseWriter, r *http.Request, s *session) error {
	p, f, err := planOf(r)
	if err != nil {
		return err
	}
	if p.Wrong != "" {
		return d.showPlanForm(w, s, p)
	}
	o, err := d.makePlan(r.Context(), p, f, d.byPerson(r, s, ""))
	if err != nil {
		return err
	}
	http.Redirect(w, r, "/operations/"+o.ID.String(), http.StatusSeeOther)
	return nil
}

// makePlan counts what a filter matches, and fixes it.
func (d *Dashboard) makePlan(ctx context.Context, p planPage, f relay.Filter, by relay.Act) (relay.Operation, error) {
	select { // one at a time: an act on one message never waits for a plan, and nobody fills the tables of plans by impatience
	case d.planning <- struct{}{}:
		defer func() { <-d.planning }()
	default:
		return relay.Operation{}, &failure{"busy", http.StatusConflict, "Another plan is being made", "Nothing was done. Try again in a few seconds."}
	}
	ctx, cancel := context.WithTimeout(ctx, planLimit)
	defer cancel()
	o, err := d.Planner.Plan(ctx, relay.PlanRequest{Action: p.Act.Name, Filter: f, Text: p.Query}, by)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return o, &failure{"timeout", http.StatusServiceUnavailable, "Too much to count here", fmt.Sprintf("Nothing was changed. Counting took longer than %s. Narrow the filter, or use "+
			"waybill message %s --filter, which has more time.", planLimit, p.Act.Name)}
	}
	return o, err
}

func (d *Dashboard) byPerson(r *http.Request, s *session, reason string) relay.Act {
	return relay.Act{Actor: d.actor(s.person, "ui"), Via: "ui", Reason: reason, Address: remote(r)}
}

// steer starts, pauses, resumes or stops.
func (d *Dashboard) steer(w http.ResponseWriter, r *http.Request, s *session) error {
	id, err := operationID(r)
	if err != nil {
		return err
	}
	reason := strings.TrimSpace(r.PostFormValue("reason"))
	if kind, wrong := checkReason(reason, false); wrong != "" {
		return &failure{kind, http.StatusBadRequest, "Too long", "Nothing was done. " + wrong}
	}
	words := map[string]string{"pause": "Paused", "resume": "Goes on", "stop": "Stopped"}
	switch verb := r.PathValue("verb"); {
	case verb == "start":
		return d.start(w, r, s, id, reason)
	case words[verb] == "":
		return &failure{"not-found", http.StatusNotFound, "Not found", "There is no such act."}
	default:
		if err := d.Planner.Steer(r.Context(), id, relay.Verb(verb), d.byPerson(r, s, reason)); err != nil {
			return err
		}
		d.sessions.say(s, words[verb]+". What was done stays done.")
	}
	http.Redirect(w, r, "/operations/"+id.String(), http.StatusSeeOther)
	return nil
}

func (d *Dashboard) start(w http.ResponseWriter, r *http.Request, s *session, id relay.OperationID, reason string) error {
	o, err := d.Inspector.Operation(r.Context(), id)
	if err != nil {
		return err
	}
	give := o.Action != relay.PlanRetry
	pace, wrong := paceOf(r, give)
	if wrong == "" {
		_, wrong = startLacks(&o, reason, r.PostFormValue("confirm"))
	}
	if wrong != "" {
		return d.showOperation(w, r, s, http.StatusBadRequest, o, reason, wrong)
	}
	if err := d.startPlan(r.Context(), id, pace, d.byPerson(r, s, reason)); err != nil {
		return err
	}
	d.sessions.say(s, "Started.")
	http.Redirect(w, r, "/operations/"+id.String(), http.StatusSeeOther)
	return nil
}

// startLacks says what is missing before a plan may be started; empty = nothing.
func startLacks(o *relay.Operation, reason, confirm string) (kind, wrong string) {
	if kind, wrong = checkReason(reason, o.Action != relay.PlanRetry); wrong != "" {
		return kind, wrong
	}
	if mustType(o) && strings.TrimSpace(confirm) != strconv.Itoa(o.Total) {
		return "confirm-required", fmt.Sprintf("Type the number of messages, %d, so that it is sure that so many are meant.", o.Total)
	}
	return "", ""
}

func (d *Dashboard) startPlan(ctx context.Context, id relay.OperationID, pace relay.Pace, by relay.Act) error {
	err := d.Planner.Start(ctx, id, pace, by)
	d.state.changed()
	return err
}

func mustType(o *relay.Operation) bool { return o.Action != relay.PlanRetry && o.Total > typeAbove }

// paceOf reads how fast and how carefully; what is given up cannot fail again, so it only has a rate.
func paceOf(r *http.Request, give bool) (p relay.Pace, wrong string) {
	p = relay.DefaultPace()
	if text := strings.TrimSpace(r.PostFormValue("rate")); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxRate {
			return p, "A rate is a whole number of messages a second, or empty."
		}
		p.Rate = n
	}
	if give {
		return p, ""
	}
	p.Careful = r.PostFormValue("careful") != ""
	percent, err := strconv.ParseFloat(strings.TrimSpace(r.PostFormValue("stop_at")), 64)
	if err != nil || !(percent >= 0 && percent <= 100) {
		return p, "The share that may fail again is 0 to 100 percent."
	}
	p.StopAt = percent / 100
	return p, ""
}

// planURL leads to the plan of an act on what a filter matches.
func planURL(action, q string) string { return "/plans/" + action + "?q=" + url.QueryEscape(q) }

// plansFor lists the acts that a filter can be planned for.
func plansFor(q string) (can []act) {
	f, err := relay.ParseFilter(q)
	if err != nil || len(f.Terms) == 0 {
		return nil
	}
	for _, a := range acts {
		if _, err := relay.PlanFilter(a.Name, f); err == nil {
			can = append(can, a)
		}
	}
	return can
}
