package dashboard

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/waybillmq/waybill/internal/doctor"
	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

// Parameters that several lists have.
var (
	pageSize   = apiParam{name: "limit", about: "most items of the page", schema: schema{"type": "integer", "minimum": 1, "maximum": relay.MaxPage, "default": relay.DefaultPage}}
	pageBefore = apiParam{name: "before", about: "next of the page before", schema: schema{"type": "integer", "minimum": 0}}
	pageAfter  = apiParam{name: "after", about: "next of the page before", schema: schema{"type": "integer", "minimum": 0}}
	anyText    = schema{"type": "string"}
)

// apiReads are the routes that look.
func (d *Dashboard) apiReads() []apiRoute {
	item := func(pattern, summary, kind string, shape any, serve func(http.ResponseWriter, *http.Request) (any, error), query ...apiParam) apiRoute {
		return apiRoute{method: "GET", pattern: pattern, role: viewer, summary: summary, query: query, code: http.StatusOK, kind: kind, shape: shape, serve: serve}
	}
	list := func(pattern, summary, kind string, shape any, serve func(http.ResponseWriter, *http.Request) (any, error), query ...apiParam) apiRoute {
		rt := item(pattern, summary, kind, shape, serve, query...)
		rt.list = true
		return rt
	}
	activity := list("/activity", "What people did, newest first", "ActivityList", view.Activity{}, d.apiActivity, pageBefore, pageSize)
	activity.role = admin
	return []apiRoute{
		item("/overview", "The whole outbox: headline, numbers, relays, destinations; at most some seconds old", "Status", view.Status{}, d.apiOverview),
		item("/why", "Why does nothing move? The worst problem of the outbox", "Why", view.Why{}, d.apiWhy),
		list("/messages", "Messages that a filter matches, newest first", "MessageList", view.Row{}, d.apiMessages,
			apiParam{name: "q", about: "filter, such as state:dead topic:order.*; empty = all", schema: anyText}, pageBefore, pageSize),
		item("/messages/{id}", "One message by its id or message id: state and place, without payload", "Message", view.Message{}, d.apiMessage),
		item("/messages/{id}/why", "Why is it not delivered, or where is it", "Why", view.Why{}, d.apiMessageWhy),
		list("/messages/{id}/attempts", "Its failed tries, oldest first", "AttemptList", view.Attempt{}, d.apiAttempts),
		list("/failures", "Held messages by the reason of their failure, the largest first", "FailureList", view.Failure{}, d.apiFailures),
		item("/failures/{id}", "One of these failures; its messages are those of the filter failure:ID", "Failure", view.Failure{}, d.apiFailure),
		list("/keys", "Closed keys by topic and key; the next page begins after the last item", "KeyList", view.Key{}, d.apiKeys,
			apiParam{name: "after_topic", about: "topic of the last key of the page before", schema: anyText}, apiParam{name: "after_key", about: "last key of the page before", schema: anyText}, pageSize),
		item("/key", "One closed key: what holds it, and how much waits behind", "Key", view.Key{}, d.apiKey,
			apiParam{name: "topic", about: "topic of the key", schema: anyText, required: true}, apiParam{name: "key", about: "the key", schema: anyText, required: true}),
		list("/destinations", "Destinations that are configured here or that a relay reports", "DestinationList", view.Destination{}, d.apiDestinations),
		item("/destinations/{name}", "One destination", "Destination", view.Destination{}, d.apiDestination),
		list("/operations", "Plans and operations, newest first, without what their plans counted", "OperationList", view.Operation{}, d.apiOperations, pageBefore, pageSize),
		item("/operations/{id}", "One plan or operation: how far it is", "Operation", view.Operation{}, d.apiOperation),
		list("/operations/{id}/items", "Its messages and what became of them, lowest id first", "OperationItemList", view.OperationItem{}, d.apiOperationItems,
			apiParam{name: "outcome", about: "only those", schema: schema{"type": "string", "enum": relay.Outcomes}}, pageAfter, pageSize),
		list("/doctor", "Findings of the last seconds, the gravest first", "DoctorFindingList", doctor.Finding{}, d.apiDoctor),
		activity,
	}
}

// pageOf reads where a page begins and how long it may be.
func pageOf(r *http.Request, from string) (at int64, limit int, err error) {
	if at, err = number(r, from); err != nil {
		return 0, 0, err
	}
	n, err := number(r, pageSize.name)
	switch {
	case err != nil:
		return 0, 0, err
	case !r.URL.Query().Has(pageSize.name):
		n = relay.DefaultPage
	case n < 1 || n > relay.MaxPage:
		return 0, 0, wrongParameter(fmt.Sprintf("limit is 1 to %d", relay.MaxPage))
	}
	return at, int(n), nil
}

func whyOf(a Answer) view.Why {
	return view.Why{Verdict: a.Verdict, Subject: a.Subject, Since: a.Since, Evidence: append([]string{}, a.Evidence...), Next: append([]string{}, a.Next...)}
}

func (d *Dashboard) apiOverview(_ http.ResponseWriter, r *http.Request) (any, error) {
	st := d.state.get(r.Context(), d)
	return view.OfItem("Status", view.OfStatus(whyOf(st.Answer), st.Overview)), st.Err
}

func (d *Dashboard) apiWhy(_ http.ResponseWriter, r *http.Request) (any, error) {
	st := d.state.get(r.Context(), d)
	return view.OfItem("Why", whyOf(st.Answer)), st.Err
}

func (d *Dashboard) apiMessages(_ http.ResponseWriter, r *http.Request) (any, error) {
	before, limit, err := pageOf(r, "before")
	if err != nil {
		return nil, err
	}
	f, err := relay.ParseFilter(r.URL.Query().Get("q"))
	if err != nil {
		return nil, &failure{"invalid-filter", http.StatusBadRequest, "Wrong filter", err.Error()}
	}
	l, err := d.Inspector.Messages(r.Context(), f, relay.ID(before), limit)
	if err != nil {
		return nil, err
	}
	next := ""
	if l.Next != 0 {
		next = l.Next.String()
	}
	return view.Listed("MessageList", l.Items, next, l.Next != 0, view.OfRow), nil
}

func (d *Dashboard) apiMessage(_ http.ResponseWriter, r *http.Request) (any, error) {
	m, err := d.find(r)
	return view.OfItem("Message", view.OfMessage(m)), err
}

func (d *Dashboard) apiMessageWhy(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := d.Inspector.Find(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	a, err := d.Guide.Message(r.Context(), id)
	return view.OfItem("Why", whyOf(a)), err
}

func (d *Dashboard) apiAttempts(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := d.Inspector.Find(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	attempts, err := d.Inspector.Attempts(r.Context(), id)
	return view.Listed("AttemptList", attempts, "", false, view.OfAttempt), err
}

func (d *Dashboard) apiFailures(_ http.ResponseWriter, r *http.Request) (any, error) {
	st := d.state.get(r.Context(), d)
	return view.Listed("FailureList", st.Failures, "", len(st.Failures) >= relay.MaxPage, view.OfFailure), st.Err
}

func (d *Dashboard) apiFailure(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := relay.ParseFailureID(r.PathValue("id"))
	if err != nil {
		return nil, relay.ErrNotFound
	}
	g, err := d.Inspector.Failure(r.Context(), id)
	return view.OfItem("Failure", view.OfFailure(g)), err
}

func (d *Dashboard) apiKeys(_ http.ResponseWriter, r *http.Request) (any, error) {
	_, limit, err := pageOf(r, "")
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	l, err := d.Inspector.Keys(r.Context(), relay.Key{Topic: q.Get("after_topic"), Key: q.Get("after_key")}, limit)
	return view.Listed("KeyList", l.Items, "", l.More, view.OfKey), err
}

func (d *Dashboard) apiKey(_ http.ResponseWriter, r *http.Request) (any, error) {
	k, err := d.Inspector.Key(r.Context(), relay.Key{Topic: r.URL.Query().Get("topic"), Key: r.URL.Query().Get("key")})
	return view.OfItem("Key", view.OfKey(k)), err
}

func ofDestination(row destinationRow) view.Destination {
	v := view.Destination{Reported: view.Reported{Name: row.Name, DestinationStatus: row.DestinationStatus}, Kind: row.Kind, By: row.Reporter}
	if row.Reporter == "" && row.Paused == nil {
		v.State = view.Unreported
	}
	return v
}

func (d *Dashboard) apiDestinations(_ http.ResponseWriter, r *http.Request) (any, error) {
	st := d.state.get(r.Context(), d)
	return view.Listed("DestinationList", d.destinationRows(st.Overview), "", false, ofDestination), st.Err
}

func (d *Dashboard) apiDestination(_ http.ResponseWriter, r *http.Request) (any, error) {
	st := d.state.get(r.Context(), d)
	rows := d.destinationRows(st.Overview)
	i := slices.IndexFunc(rows, func(row destinationRow) bool { return row.Name == r.PathValue("name") })
	switch {
	case st.Err != nil:
		return nil, st.Err
	case i < 0:
		return nil, noDestination
	}
	return view.OfItem("Destination", ofDestination(rows[i])), nil
}

func (d *Dashboard) apiOperations(_ http.ResponseWriter, r *http.Request) (any, error) {
	before, limit, err := pageOf(r, "before")
	if err != nil {
		return nil, err
	}
	rows, err := d.Inspector.Operations(r.Context(), relay.OperationID(before), limit)
	next := ""
	if len(rows) == limit {
		next = rows[limit-1].ID.String()
	}
	return view.Listed("OperationList", rows, next, next != "", view.OfOperation), err
}

func (d *Dashboard) apiOperation(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := operationID(r)
	if err != nil {
		return nil, err
	}
	o, err := d.Inspector.Operation(r.Context(), id)
	return view.OfItem("Operation", view.OfOperation(o)), err
}

func (d *Dashboard) apiOperationItems(_ http.ResponseWriter, r *http.Request) (any, error) {
	id, err := operationID(r)
	if err != nil {
		return nil, err
	}
	after, limit, err := pageOf(r, "after")
	if err != nil {
		return nil, err
	}
	outcome := r.URL.Query().Get("outcome")
	if outcome != "" && !slices.Contains(relay.Outcomes, outcome) {
		return nil, wrongParameter("there is no such outcome")
	}
	if _, err := d.Inspector.Operation(r.Context(), id); err != nil {
		return nil, err
	}
	items, err := d.Inspector.OperationItems(r.Context(), id, outcome, relay.ID(after), limit)
	next := ""
	if len(items) == limit {
		next = items[limit-1].ID.String()
	}
	return view.Listed("OperationItemList", items, next, next != "", view.OfOperationItem), err
}

func (d *Dashboard) apiDoctor(_ http.ResponseWriter, r *http.Request) (any, error) {
	c := d.checked.get(r.Context(), d.Doctor)
	return view.Listed("DoctorFindingList", c.Findings, "", false, func(f doctor.Finding) doctor.Finding { return f }), c.Err
}

func (d *Dashboard) apiActivity(_ http.ResponseWriter, r *http.Request) (any, error) {
	before, limit, err := pageOf(r, "before")
	if err != nil {
		return nil, err
	}
	rows, err := d.Inspector.Activity(r.Context(), before, limit)
	next := ""
	if len(rows) == limit {
		next = strconv.FormatInt(rows[limit-1].ID, 10)
	}
	return view.Listed("ActivityList", rows, next, next != "", view.OfActivity), err
}
