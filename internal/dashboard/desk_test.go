package dashboard

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/doctor"
	"github.com/waybillmq/waybill/internal/mask"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

func TestMain(m *testing.M) { testservices.Main(m) }

const testToken = "wbt_0123456789abcdef0123456789abcdef"

// desk is a dashboard over a real outbox with something of everything in it.
type desk struct {
	t         *testing.T
	conn      *pgx.Conn
	inspector *postgres.Inspector
	operator  *postgres.Operator
	log       *strings.Builder
	findings  []doctor.Finding // of the doctor
	tried     int              // tests of alerts
	alertErr  error
	showing   *Reveals
	audits    *ledger
	*Dashboard
}

// fixed answers every question with one answer: what the words of a verdict are is tested where they are made.
type fixed struct{ Answer }

func (f fixed) Outbox(relay.Overview) Answer                      { return f.Answer }
func (f fixed) Message(context.Context, relay.ID) (Answer, error) { return f.Answer, nil }

func newDesk(t *testing.T, change func(*Options)) *desk {
	t.Helper()
	url := testservices.Postgres(t, 18).URL
	if _, err := migrations.Up(t.Context(), url, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, log: &strings.Builder{}, audits: &ledger{}}
	var err error
	if d.conn, err = pgx.Connect(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.conn.Close(context.Background()) })
	if d.inspector, err = postgres.OpenInspector(postgres.Config{URL: url}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.inspector.Close)
	if d.operator, err = postgres.OpenOperator(postgres.Config{URL: url}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.operator.Close)
	revealer, err := postgres.OpenRevealer(postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(revealer.Close)
	masks, err := mask.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	d.showing = &Reveals{From: revealer, Masks: masks, Topics: []string{"*"}}
	o := Options{Outbox: "orders", Auditor: d.audits, Reveals: d.showing, TryAlert: func(context.Context) error { d.tried++; return d.alertErr }, Version: "test", Inspector: d.inspector, Operator: d.operator, Planner: d.operator, Once: d.operator, Token: testToken,
		Guide:        fixed{Answer{Verdict: "dead", Evidence: []string{"evidence"}, Next: []string{"waybill why"}}},
		Doctor:       func(context.Context) ([]doctor.Finding, error) { return d.findings, nil },
		Destinations: []Destination{{"kafka-a", "kafka"}}, Log: slog.New(slog.NewTextHandler(d.log, nil))}
	if change != nil {
		change(&o)
	}
	d.Dashboard = New(o)
	return d
}

func (d *desk) exec(sql string, args ...any) {
	d.t.Helper()
	if _, err := d.conn.Exec(d.t.Context(), sql, args...); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
}

// fill writes ids 1 to 7: 1 sent, 2 pending, 3 dead head of key k, 4 and 5 blocked behind it, 6 retrying without key, 7 discarded. The texts of every field
// that a producer, a broker or a person fills are given.
func (d *desk) fill(text string) {
	d.t.Helper()
	d.exec(`INSERT INTO outbox.message_log (topic, key, type, content_type, traceparent, headers, payload, message_id)
		SELECT left($1, 240), CASE WHEN i BETWEEN 3 AND 5 THEN $1 END, left($1, 240), left($1, 100), $1, jsonb_build_object($1, $1), convert_to($1, 'UTF8'), left($1, 100) || i
		FROM generate_series(1, 7) AS i ORDER BY i`, text)
	d.exec(`INSERT INTO outbox.message_ids SELECT message_id, id FROM outbox.message_log`)
	d.exec(`DELETE FROM outbox.message_pending WHERE id <> 2`)
	d.exec(`INSERT INTO outbox.receipts (hi, lo, n, epoch, seq, destination, lane, first_offset, acked_at, ids, detail) VALUES (1, 1, 1, 7, 1, 'kafka-a', $1, 41, now(), '\x01', $1)`, text)
	d.exec(`INSERT INTO outbox.message_held (id, state, topic, key, destination, due_at, attempts, outcome, class, error_code, error, first_failed_at, fingerprint)
		SELECT m.id, v.state, m.topic, m.key, 'kafka-a', v.due, v.attempts, v.outcome, v.class, CASE WHEN v.class IS NOT NULL THEN $1 END,
			CASE WHEN v.class IS NOT NULL THEN $1 END, CASE WHEN v.outcome IS NOT NULL THEN now() END, v.fingerprint
		FROM (VALUES (3, 'dead', NULL::timestamptz, 1, 'rejected', $1, 15), (4, 'blocked', NULL, 0, NULL, NULL, NULL), (5, 'blocked', NULL, 0, NULL, NULL, NULL),
			(6, 'retrying', now() + interval '1 h', 3, 'unknown', 'timeout', 16), (7, 'dead', NULL, 1, 'rejected', 'invalid', 17)) AS v(id, state, due, attempts, outcome, class, fingerprint)
		JOIN outbox.message_log m USING (id)`, text)
	d.exec(`INSERT INTO outbox.attempt (id, n, epoch, instance, lane, outcome, class, error_code, error, took) VALUES (3, 1, 7, $1, $1, 'rejected', $1, $1, $1, '12 ms')`, text)
	d.exec(`UPDATE outbox.owner SET epoch = 7, owner = $1, lease_until = now() + interval '1 h', released = false, low_water = 1`, text)
	d.exec(`INSERT INTO outbox.relay (instance, started_at, version, checks) VALUES (left($1, 200), now(), $1, jsonb_build_object('destinations',
		jsonb_build_object('kafka-a', jsonb_build_object('state', 'open', 'since', now(), 'detail', $1::text), $1::text, jsonb_build_object('state', $1::text, 'detail', $1::text))))`, text)
	d.exec(`INSERT INTO outbox.operation (action, filter, state, cause, actor, via, reason, started_at, total, handled, step, step_handled, summary)
		VALUES ('retry', $1, 'running', $1, $1, 'ui', $1, now(), 1, 1, 1, 1, jsonb_build_object('destinations', jsonb_build_array(jsonb_build_object('name', $1::text, 'count', 1)),
			'failures', jsonb_build_array(jsonb_build_object('destination', $1::text, 'class', $1::text, 'failure', '', 'error', $1::text, 'count', 1))))`, text)
	d.exec(`INSERT INTO outbox.operation_item (operation_id, id, state, step) VALUES (1, 3, 'dead', 1)`)
	d.audits.fill(text)
	d.findings = []doctor.Finding{{Area: doctor.Database, Finding: relay.Finding{ID: "database.trigger", Level: relay.LevelFail, Subject: text, Text: text, Fix: text}, Effect: text},
		{Area: doctor.Relay, Finding: relay.Finding{ID: "relay.owner", Level: relay.LevelOK, Subject: text, Text: text}}}
	if _, err := d.operator.Discard(d.t.Context(), []relay.ID{7}, relay.Act{Actor: "cli:" + text, Via: "cli", Reason: text}); err != nil {
		d.t.Fatal(err)
	}
}

// browser asks the dashboard as a browser does, within one session.
type browser struct {
	d      *desk
	cookie *http.Cookie
	way    func(*http.Request) // what a proxy in between does to each request
}

func (d *desk) browser() *browser { return &browser{d: d} }

// signIn opens a session with the token.
func (b *browser) signIn() *browser {
	b.d.t.Helper()
	res := b.post("/login", url.Values{"token": {testToken}, "name": {"ana"}})
	if res.Code != http.StatusSeeOther || b.cookie == nil {
		b.d.t.Fatalf("the login answered %d, cookie %v", res.Code, b.cookie)
	}
	return b
}

func (b *browser) do(method, path string, body io.Reader, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, body)
	r.Host, r.RemoteAddr = "127.0.0.1:8088", "127.0.0.1:50000"
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	if r.URL.Path == eventsPath { // a browser that goes at once, or the answer would have no end
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		r = r.WithContext(ctx)
	}
	if b.way != nil {
		b.way(r)
	}
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	b.d.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		b.cookie = c
	}
	return w
}

func (b *browser) get(path string) *httptest.ResponseRecorder { return b.do("GET", path, nil, nil) }

func (b *browser) post(path string, form url.Values) *httptest.ResponseRecorder {
	return b.do("POST", path, strings.NewReader(form.Encode()), nil)
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`)

// form is what a browser would send of the last form of a page.
func (b *browser) form(page string) url.Values {
	b.d.t.Helper()
	res := b.get(page)
	if res.Code != http.StatusOK {
		b.d.t.Fatalf("%s answered %d: %s", page, res.Code, res.Body)
	}
	v := url.Values{}
	for _, f := range hiddenField.FindAllStringSubmatch(res.Body.String(), -1) {
		v.Set(f[1], f[2])
	}
	return v
}

func nothingFound(context.Context) ([]doctor.Finding, error) { return nil, nil }
