package dashboard

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/relay"
)

// ledger stands for the auditor: what it compares is tested where that is done.
type ledger struct {
	mu      sync.Mutex
	lo, hi  relay.ID
	running *audit.Run
	ended   []audit.Run
	begun   []string
	err     error
}

func (l *ledger) Bounds(context.Context) (lo, hi relay.ID, err error) { return l.lo, l.hi, l.err }
func (l *ledger) Running() *audit.Run                                 { return l.running }

func (l *ledger) Ended(context.Context) ([]audit.Run, error) { return slices.Clone(l.ended), l.err }

func (l *ledger) Begin(_ context.Context, from, to relay.ID, act relay.Act) (audit.Run, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running != nil {
		return audit.Run{}, &relay.StateError{Text: "an audit runs already"}
	}
	l.begun = append(l.begun, fmt.Sprintf("%d to %d by %s: %s", from, to, act.Actor, act.Reason))
	return audit.Run{ID: 50, From: int64(from), To: int64(to), Actor: act.Actor, Reason: act.Reason, BeganAt: time.Now().UTC()}, nil
}

// fill gives an audit with one of everything.
func (l *ledger) fill(text string) {
	at := time.Now().UTC()
	l.lo, l.hi = 1, 7
	l.ended = []audit.Run{{ID: 41, From: 1, To: 7, Actor: "ui:" + text, Reason: text, BeganAt: at, EndedAt: at, Rows: 7, Records: 3, Notes: []string{text},
		Result: audit.Result{Written: 7, Sent: 3, Stored: 2, Pending: 4, Lost: 1, Differences: []audit.Difference{
			{Kind: audit.Missing, ID: 1, MessageID: text, At: audit.Place{Lane: text, Offset: 41}}, {Kind: audit.Unsent, ID: 2, MessageID: text}}}},
		{ID: 40, From: 1, To: 7, Actor: text, BeganAt: at, EndedAt: at, Failure: text}}
}

// What was compared is shown with its differences; what runs, with how far it is, and nobody can begin another one meanwhile.
func TestAuditPages(t *testing.T) {
	d := newDesk(t, nil)
	b := d.browser().signIn()
	if body := b.get("/audit").Body.String(); !strings.Contains(body, "There was none yet") || !strings.Contains(body, "no message is old enough") {
		t.Errorf("before the first one: %s", body)
	}
	d.audits.fill("text-7")
	for path, wants := range map[string][]string{
		"/audit":    {"The last result", "differences", "Ids 1 to 7 can be compared", "missing", "/messages/1", "text-7, offset 41", "unsent", "nowhere", "/audit/40", "failed: text-7", `action="/audit"`},
		"/audit/41": {"Audit 41", "Something is not as it was sent", "missing"},
		"/audit/40": {"It has no result", "text-7"},
		"/audit/39": {"Not found", "activity log"},
	} {
		body := html.UnescapeString(b.get(path).Body.String())
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q: %s", path, want, body)
			}
		}
	}
	if body := d.browser().get("/audit").Body.String(); strings.Contains(body, `action="/audit"`) || !strings.Contains(body, "sign in") {
		t.Errorf("a stranger: %s", body)
	}
	named := newDesk(t, withNames(t))
	if body := named.as("vera").get("/audit").Body.String(); strings.Contains(body, `action="/audit"`) || !strings.Contains(body, "It takes the role operator. vera has viewer.") {
		t.Errorf("a viewer: %s", body)
	}
	d.audits.running = &audit.Run{ID: 51, From: 3, To: 5, Actor: "ui:ana", BeganAt: time.Now().UTC(), Rows: 3, Records: 1}
	body := b.get("/audit").Body.String()
	if strings.Contains(body, `action="/audit"`) || !strings.Contains(body, "3 rows and 1 record read so far") || !strings.Contains(body, `data-events="/events?of=operations"`) || !strings.Contains(body, "The last result") {
		t.Errorf("while one runs: %s", body)
	}
	if body := b.get("/audit/51").Body.String(); !strings.Contains(body, "It is being compared") {
		t.Errorf("the one that runs: %s", body)
	}
	before := d.version(t.Context(), true)
	d.audits.running = nil
	if d.version(t.Context(), true) == before {
		t.Error("a page is not told of the end")
	}
}

// Which ids: what a person wrote is kept, and what is wrong with it is said; nothing is begun before it is right.
func TestAuditBegins(t *testing.T) {
	d := newDesk(t, nil)
	d.audits.fill("t")
	b := d.browser().signIn()
	form := b.form("/audit")
	for _, c := range []struct{ from, to, reason, wrong, begun string }{
		{"", "", "", "", "1 to 7 by ui:ana: "},
		{" 2 ", "5", " monthly ", "", "2 to 5 by ui:ana: monthly"},
		{"x", "", "", "a whole number from 1", ""},
		{"0", "", "", "a whole number from 1", ""},
		{"9223372036854775808", "", "", "a whole number from 1", ""},
		{"1", "8", "", "id 8 is too young", ""},
		{"5", "2", "", "are no range", ""},
		{"", "", strings.Repeat("x", 501), "at most 500 characters", ""},
	} {
		d.audits.begun = nil
		form.Set("from", c.from)
		form.Set("to", c.to)
		form.Set("reason", c.reason)
		res := b.post("/audit", form)
		if got := strings.Join(d.audits.begun, "; "); got != c.begun {
			t.Errorf("%+v: begun %q", c, got)
		}
		if c.wrong == "" && (res.Code != http.StatusSeeOther || !strings.Contains(b.get("/audit").Body.String(), "began (activity 50)")) {
			t.Errorf("%+v: %d %s", c, res.Code, res.Body)
		}
		if c.wrong != "" && (res.Code != http.StatusBadRequest || !strings.Contains(res.Body.String(), c.wrong) || len(c.from) < 19 && !strings.Contains(res.Body.String(), `value="`+c.from+`"`)) {
			t.Errorf("%+v: %d %s", c, res.Code, res.Body)
		}
		asked := fmt.Sprintf(`{"from":%q,"to":%q,"reason":%q}`, c.from, c.to, c.reason)
		d.audits.begun = nil
		answer, got := d.call("POST", apiBase+"/audit/runs", asked, withToken)
		if c.wrong == "" && (answer.Code != http.StatusAccepted || answer.Header().Get("Location") != apiBase+"/audit/runs/50" || len(d.audits.begun) != 1) || c.wrong != "" && (answer.Code != http.StatusBadRequest || d.audits.begun != nil) {
			t.Errorf("%s: %d %v", asked, answer.Code, got)
		}
	}
	d.audits.running = &audit.Run{ID: 51}
	if res := b.post("/audit", url.Values{"form": form["form"]}); res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "an audit runs already") {
		t.Errorf("a second one: %d %s", res.Code, res.Body)
	}
	res, got := d.call("POST", apiBase+"/audit/runs", "", withToken)
	wantProblem(t, "a second one", res, got, http.StatusConflict, "state-changed")
	res, got = d.call("POST", apiBase+"/audit/runs", "", func(r *http.Request) { withToken(r); r.Header.Set(onceHeader, "k") })
	wantProblem(t, "a key", res, got, http.StatusBadRequest, "invalid-parameter")
	if _, got := d.call("GET", apiBase+"/audit/runs", "", nil); len(got["items"].([]any)) != 3 || got["items"].([]any)[0].(map[string]any)["verdict"] != "running" {
		t.Errorf("the list: %v", got)
	}
	d.audits.err = errors.New("down")
	if res := b.get("/audit"); res.Code != http.StatusServiceUnavailable {
		t.Errorf("without a database: %d", res.Code)
	}
	none := newDesk(t, func(o *Options) { o.Auditor = nil })
	if body := none.browser().signIn().get("/").Body.String(); strings.Contains(body, `href="/audit"`) || none.browser().get("/audit").Code != http.StatusNotFound {
		t.Error("without an auditor there is a page")
	}
}
