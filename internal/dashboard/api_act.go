package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

// What requests carry. Fields that are not left out when empty are required.
type (
	// reasonBody is for acts that need no reason.
	reasonBody struct {
		Reason string `json:"reason,omitempty"`
	}
	// whyBody is for acts that need one.
	whyBody struct {
		Reason string `json:"reason"`
	}
	pauseBody struct {
		Reason string `json:"reason"`
		Until  string `json:"until,omitempty"` // when it ends by itself: 90m, 2h, or a moment, RFC 3339; left out = when it is resumed
	}
	planBody struct {
		Action string `json:"action"` // retry, skip or discard
		Q      string `json:"q"`      // filter; without a state it means those that the act is usually for
	}
	startBody struct {
		Reason  string   `json:"reason,omitempty"`  // needed by skip and discard
		Confirm string   `json:"confirm,omitempty"` // number of messages, where skip or discard means many
		Careful *bool    `json:"careful,omitempty"` // true when left out
		Rate    *int     `json:"rate,omitempty"`    // messages a second; left out = no limit of its own
		StopAt  *float64 `json:"stop_at,omitempty"` // 0 to 1; 0.05 when left out
	}
)

// apiActs are the routes that change something. They are in the table also where nobody can act: then each says why.
func (d *Dashboard) apiActs() (table []apiRoute) {
	post := func(pattern, summary string, body any, code int, kind string, shape any, serve func(http.ResponseWriter, *http.Request) (any, error)) {
		table = append(table, apiRoute{method: "POST", pattern: pattern, role: operator, summary: summary, body: body, code: code, kind: kind, shape: shape, serve: serve})
	}
	for _, a := range acts {
		var body any = reasonBody{}
		if a.Reason {
			body = whyBody{}
		}
		post("/messages/{id}/"+a.Name, a.Verb+" one message: "+a.Hint, body, http.StatusOK, "Acted", view.Acted{},
			func(_ http.ResponseWriter, r *http.Request) (any, error) { return d.apiAct(r, a) })
	}
	post("/operations", "Plan an act on what a filter matches; nothing has happened yet, and the plan expires after 10 minutes", planBody{}, http.StatusCreated, "Operation", view.Operation{}, d.apiPlan)
	post("/operations/{id}/start", "Let the owner begin with a plan", startBody{}, http.StatusAccepted, "Operation", view.Operation{}, d.apiStart)
	for _, v := range []struct {
		verb    relay.Verb
		summary string
	}{{relay.Pause, "Let an operation wait"}, {relay.Resume, "Let a paused operation go on"}, {relay.Stop, "End an operation or plan; what was done stays done"}} {
		post("/operations/{id}/"+string(v.verb), v.summary, reasonBody{}, http.StatusOK, "Operation", view.Operation{},
			func(_ http.ResponseWriter, r *http.Request) (any, error) { return d.apiSteer(r, v.verb) })
	}
	return table
}

// readBody reads JSON into the shape of a body. No body at all is an empty one.
func readBody(r *http.Request, into any) error {
	b, err := io.ReadAll(r.Body)
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return &failure{"invalid-body", http.StatusRequestEntityTooLarge, "Too long", fmt.Sprintf("Nothing was done. A body has at most %d bytes.", long.Limit)}
	case err != nil:
		return wrongBody("it did not arrive whole")
	case len(b) == 0:
		return nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &failure{"invalid-body", http.StatusUnsupportedMediaType, "Not JSON", "Nothing was done. Send it with the header Content-Type: application/json."}
	}
	in := json.NewDecoder(strings.NewReader(string(b)))
	in.DisallowUnknownFields()
	if err := in.Decode(into); err != nil {
		return wrongBody(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := in.Token(); err != io.EOF {
		return wrongBody("something follows the JSON")
	}
	return nil
}

func wrongBody(text string) error {
	return &failure{"invalid-body", http.StatusBadRequest, "Wrong body", "Nothing was done: the body cannot be taken: " + text + "."}
}

// byProgram is who acts through the API. Only the holder of the token may say a name: all others have one.
func (d *Dashboard) byProgram(r *http.Request, reason string) (relay.Act, error) {
	p, said := asker(r), r.Header.Get(actorHeader)
	switch {
	case said == "":
	case !personName.MatchString(said):
		return relay.Act{}, wrongParameter("the header " + actorHeader + " has 1 to 40 letters, digits and . _ @ -")
	case !p.token:
		return relay.Act{}, wrongParameter("the header " + actorHeader + " is for the token of dashboard.token_file: " + p.name + " has a name")
	default:
		p.name = said
	}
	return relay.Act{Actor: d.actor(p, "api"), Via: "api", Reason: reason, Address: remote(r)}, nil
}

// byReason is who acts, and why, as the body says.
func (d *Dashboard) byReason(r *http.Request, required bool) (relay.Act, error) {
	var b reasonBody
	if err := readBody(r, &b); err != nil {
		return relay.Act{}, err
	}
	return d.because(r, b.Reason, required)
}

// because is who acts, and why.
func (d *Dashboard) because(r *http.Request, reason string, required bool) (relay.Act, error) {
	reason = strings.TrimSpace(reason)
	if kind, wrong := checkReason(reason, required); wrong != "" {
		return relay.Act{}, &failure{kind, http.StatusBadRequest, "Wrong reason", "Nothing was changed. " + wrong}
	}
	return d.byProgram(r, reason)
}

func (d *Dashboard) apiAct(r *http.Request, a act) (any, error) {
	by, err := d.byReason(r, a.Reason)
	if err != nil {
		return nil, err
	}
	m, err := d.findFor(r, a)
	if err != nil {
		return nil, err
	}
	got, err := d.carryOut(r.Context(), a, m.ID, by)
	return view.OfItem("Acted", view.OfActed(a.Name, got)), err
}

func (d *Dashboard) apiPlan(w http.ResponseWriter, r *http.Request) (any, error) {
	var b planBody
	if err := readBody(r, &b); err != nil {
		return nil, err
	}
	a, err := actNamed(b.Action)
	if err != nil {
		return nil, wrongBody("action is retry, skip or discard")
	}
	p, f := planFor(a, b.Q)
	if p.Query == "" { // never everything by leaving it out
		p.Wrong = "which messages? Name them by q, a filter such as topic:order.*"
	}
	if p.Wrong != "" {
		return nil, &failure{"invalid-filter", http.StatusBadRequest, "Wrong filter", "Nothing was done: " + p.Wrong}
	}
	by, err := d.byProgram(r, "")
	if err != nil {
		return nil, err
	}
	o, err := d.makePlan(r.Context(), p, f, by)
	if err != nil {
		return nil, err
	}
	w.Header().Set("Location", apiBase+"/operations/"+o.ID.String())
	return view.OfItem("Operation", view.OfOperation(o)), nil
}

func (d *Dashboard) apiStart(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := operationID(r)
	if err != nil {
		return nil, err
	}
	var b startBody
	if err := readBody(r, &b); err != nil {
		return nil, err
	}
	o, err := d.Inspector.Operation(r.Context(), id)
	if err != nil {
		return nil, err
	}
	pace, err := b.pace(o.Action != relay.PlanRetry)
	if err != nil {
		return nil, err
	}
	reason := strings.TrimSpace(b.Reason)
	if kind, wrong := startLacks(&o, reason, b.Confirm); wrong != "" {
		return nil, &failure{kind, http.StatusBadRequest, "Not yet", "Nothing was started. " + wrong}
	}
	by, err := d.byProgram(r, reason)
	if err != nil {
		return nil, err
	}
	if err := d.startPlan(r.Context(), id, pace, by); err != nil {
		return nil, err
	}
	return d.apiPlanned(r, id)
}

// pace is how an operation goes; what is given up cannot fail again, so it only has a rate.
func (b *startBody) pace(give bool) (relay.Pace, error) {
	p := relay.DefaultPace()
	if b.Rate != nil {
		if p.Rate = *b.Rate; p.Rate < 1 || p.Rate > maxRate {
			return p, wrongBody(fmt.Sprintf("rate is 1 to %d messages a second", maxRate))
		}
	}
	if give && (b.Careful != nil || b.StopAt != nil) {
		return p, wrongBody("careful and stop_at are for retry alone")
	}
	if b.Careful != nil {
		p.Careful = *b.Careful
	}
	if b.StopAt != nil {
		if p.StopAt = *b.StopAt; !(p.StopAt >= 0 && p.StopAt <= 1) {
			return p, wrongBody("stop_at is a share, 0 to 1")
		}
	}
	return p, nil
}

func (d *Dashboard) apiSteer(r *http.Request, verb relay.Verb) (any, error) {
	id, err := operationID(r)
	if err != nil {
		return nil, err
	}
	by, err := d.byReason(r, false)
	if err != nil {
		return nil, err
	}
	if err := d.Planner.Steer(r.Context(), id, verb, by); err != nil {
		return nil, err
	}
	return d.apiPlanned(r, id)
}

// apiPlanned shows an operation as the act of this request left it.
func (d *Dashboard) apiPlanned(r *http.Request, id relay.OperationID) (any, error) {
	o, err := d.Planner.Planned(r.Context(), id)
	return view.OfItem("Operation", view.OfOperation(o)), err
}
