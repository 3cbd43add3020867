package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

// Auditor compares what was written, sent and stored. Its methods are safe for concurrent use; errors are those of relay.Inspector.
type Auditor interface {
	// Bounds are the ids that can be compared: the first one that is there, and the last one that is old enough; 0 = none. It is at most some seconds old.
	Bounds(ctx context.Context) (lo, hi relay.ID, err error)

	// Begin writes into the activity log who asks, and begins. It does not wait for the result. A *relay.StateError says that one runs already.
	Begin(ctx context.Context, from, to relay.ID, act relay.Act) (audit.Run, error)

	// Running is the one that runs in this process, nil = none. It does not block.
	Running() *audit.Run

	// Ended are those that have ended, newest first, of all relays of the outbox; at most some seconds old.
	Ended(ctx context.Context) ([]audit.Run, error)
}

type auditPage struct {
	Running          *audit.Run
	Shown            *audit.Run // nil = there is none
	Rows             []audit.Run
	Lo, Hi           relay.ID
	One              bool   // a single one was asked for
	From, To, Reason string // as they were written
	Wrong            string
}

func (d *Dashboard) audit(w http.ResponseWriter, r *http.Request, s *session) error {
	return d.showAudit(w, r, s, http.StatusOK, auditPage{})
}

func (d *Dashboard) showAudit(w http.ResponseWriter, r *http.Request, s *session, code int, p auditPage) (err error) {
	p.Running = d.Auditor.Running()
	if p.Rows, err = d.Auditor.Ended(r.Context()); err != nil {
		return err
	}
	if len(p.Rows) > 0 {
		p.Shown = &p.Rows[0]
	}
	if p.Running == nil {
		if p.Lo, p.Hi, err = d.Auditor.Bounds(r.Context()); err != nil {
			return err
		}
	}
	return d.show(w, s, code, "audit", page{Title: "Audit", Active: "audit", Live: p.Running != nil, Reload: p.Running != nil, Body: p})
}

// auditRun shows an earlier one.
func (d *Dashboard) auditRun(w http.ResponseWriter, r *http.Request, s *session) error {
	run, err := d.findAudit(r, r.PathValue("run"))
	if err != nil {
		return err
	}
	return d.show(w, s, http.StatusOK, "audit", page{Title: "Audit " + r.PathValue("run"), Active: "audit", Body: auditPage{Shown: &run, One: true}})
}

func (d *Dashboard) findAudit(r *http.Request, id string) (audit.Run, error) {
	if run := d.Auditor.Running(); run != nil && strconv.FormatInt(run.ID, 10) == id {
		return *run, nil
	}
	rows, err := d.Auditor.Ended(r.Context())
	if err != nil {
		return audit.Run{}, err
	}
	i := slices.IndexFunc(rows, func(run audit.Run) bool { return strconv.FormatInt(run.ID, 10) == id })
	if i < 0 {
		return audit.Run{}, &failure{"not-found", http.StatusNotFound, "Not found", "There is no such audit among the last ones. Its result, if it had one, is in the activity log."}
	}
	return rows[i], nil
}

func (d *Dashboard) beginAudit(w http.ResponseWriter, r *http.Request, s *session) error {
	p := auditPage{From: r.PostFormValue("from"), To: r.PostFormValue("to"), Reason: strings.TrimSpace(r.PostFormValue("reason"))}
	if _, p.Wrong = checkReason(p.Reason, false); p.Wrong != "" {
		p.Reason = ""
		return d.showAudit(w, r, s, http.StatusBadRequest, p)
	}
	from, to, err := d.auditRange(r, p.From, p.To)
	if err != nil {
		f, ok := err.(*failure)
		if !ok {
			return err
		}
		p.Wrong = f.Text
		return d.showAudit(w, r, s, http.StatusBadRequest, p)
	}
	run, err := d.Auditor.Begin(r.Context(), from, to, d.byPerson(r, s, p.Reason))
	if err != nil {
		return err
	}
	d.sessions.say(s, fmt.Sprintf("The audit of ids %d to %d began (activity %d).", from, to, run.ID))
	http.Redirect(w, r, "/audit", http.StatusSeeOther)
	return nil
}

// auditRange reads which ids are wanted; both may be empty. What a person can correct is a *failure.
func (d *Dashboard) auditRange(r *http.Request, first, last string) (from, to relay.ID, err error) {
	var want [2]int64
	for i, text := range []string{first, last} {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if want[i], err = strconv.ParseInt(text, 10, 64); err != nil || want[i] < 1 {
			return 0, 0, &failure{"invalid-parameter", http.StatusBadRequest, "Wrong range", "Nothing was begun: an id is a whole number from 1."}
		}
	}
	lo, hi, err := d.Auditor.Bounds(r.Context())
	if err != nil {
		return 0, 0, err
	}
	a, b, err := audit.Window(int64(lo), int64(hi), want[0], want[1])
	if err != nil {
		return 0, 0, &failure{"invalid-parameter", http.StatusBadRequest, "Wrong range", "Nothing was begun: " + err.Error() + "."}
	}
	return relay.ID(a), relay.ID(b), nil
}

// auditTones are the looks of a verdict.
var auditTones = map[audit.Verdict]string{audit.Clean: "good", audit.Differences: "bad", audit.Void: "warn", audit.Failed: "warn"}

// auditTitle says what a verdict means.
func auditTitle(r *audit.Run) string {
	switch r.Verdict() {
	case audit.Running:
		return "It is being compared"
	case audit.Clean:
		return "What was sent is stored"
	case audit.Differences:
		return "Something is not as it was sent"
	case audit.Void:
		return "Too little could be read to judge"
	}
	return "It has no result"
}

// auditBody asks for an audit. 64-bit numbers are text.
type auditBody struct {
	From   string `json:"from,omitempty"` // first id; left out = so many up to the last one
	To     string `json:"to,omitempty"`   // last id; left out = the newest that is old enough
	Reason string `json:"reason,omitempty"`
}

// apiAudits are the routes of the API that do the same.
func (d *Dashboard) apiAudits() []apiRoute {
	if d.Auditor == nil {
		return nil
	}
	return []apiRoute{
		{method: "GET", pattern: "/audit/runs", role: viewer, summary: "The last audits: what was written, sent and stored, compared", code: http.StatusOK, kind: "AuditList", list: true,
			shape: view.Audit{}, serve: d.apiAuditList},
		{method: "GET", pattern: "/audit/runs/{id}", role: viewer, summary: "One audit with its differences", code: http.StatusOK, kind: "Audit", shape: view.Audit{}, serve: d.apiAuditRun},
		{method: "POST", pattern: "/audit/runs", role: operator, summary: "Begin an audit of a range of ids; one runs at a time", body: auditBody{}, code: http.StatusAccepted, kind: "Audit",
			unkept: true, shape: view.Audit{}, serve: d.apiAuditBegin},
	}
}

func (d *Dashboard) apiAuditList(_ http.ResponseWriter, r *http.Request) (any, error) {
	rows, err := d.Auditor.Ended(r.Context())
	if run := d.Auditor.Running(); run != nil {
		rows = slices.Insert(rows, 0, *run)
	}
	return view.Listed("AuditList", rows, "", false, view.OfAudit), err
}

func (d *Dashboard) apiAuditRun(_ http.ResponseWriter, r *http.Request) (any, error) {
	run, err := d.findAudit(r, r.PathValue("id"))
	return view.OfItem("Audit", view.OfWholeAudit(run)), err
}

func (d *Dashboard) apiAuditBegin(w http.ResponseWriter, r *http.Request) (any, error) {
	var b auditBody
	if err := readBody(r, &b); err != nil {
		return nil, err
	}
	from, to, err := d.auditRange(r, b.From, b.To)
	if err != nil {
		return nil, err
	}
	by, err := d.because(r, b.Reason, false)
	if err != nil {
		return nil, err
	}
	run, err := d.Auditor.Begin(r.Context(), from, to, by)
	if err != nil {
		return nil, err
	}
	w.Header().Set("Location", fmt.Sprintf("%s/audit/runs/%d", apiBase, run.ID))
	return view.OfItem("Audit", view.OfAudit(run)), nil
}
