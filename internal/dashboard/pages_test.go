package dashboard

import (
	"context"
	"errors"
	"html"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// markup is what would do something if any page let it through; none of it may stand in a page as it is.
var markup = []string{`<script>window.__xss=1</script>`, `"><img src=x onerror=window.__xss=1>`, `' onmouseover='window.__xss=1`, `javascript:window.__xss=1`,
	`</title><svg/onload=window.__xss=1>`, `{{.Token}}<!--`, `--><iframe srcdoc=x>`, "\u202egnp.exe\u2066<b>", `\x3cscript\x3e</script><script>`}

// S1, L1: markup in every field that a producer, a broker or a person fills is text on every page.
func TestMarkupIsText_S1_L1(t *testing.T) {
	for _, vector := range markup {
		d := newDesk(t, nil)
		d.fill(vector)
		b := d.browser().signIn()
		query := "?" + url.Values{"topic": {vector}, "key": {vector}}.Encode()
		paths := []string{"/", "/messages", "/messages?q=state:dead", "/messages/1", "/messages/3", "/messages/6", "/messages/7", "/keys", "/key" + query, "/destinations", "/doctor", "/activity",
			"/failures/000000000000000f", "/operations", "/operations/1", "/audit", "/audit/41", "/audit/40", "/plans/retry?q=" + url.QueryEscape("key:\""+vector+"\""), "/messages/3/retry", "/messages/3/discard", "/messages/7/retry", "/messages?q=" + url.QueryEscape("topic:"+vector),
			"/login?next=" + url.QueryEscape(vector), "/messages/" + url.PathEscape(vector)}
		shown := 0
		for _, path := range paths {
			res := b.get(path)
			if res.Code >= 500 {
				t.Errorf("%q: %s answered %d", vector, path, res.Code)
			}
			body := res.Body.String()
			if strings.ContainsAny(vector, `<>"'`) && strings.Contains(body, vector) {
				t.Errorf("%s shows %q as it is", path, vector)
			}
			for _, attribute := range []string{`href="javascript:`, `src="javascript:`} {
				if strings.Contains(body, attribute) {
					t.Errorf("%s has %s", path, attribute)
				}
			}
			if strings.Contains(html.UnescapeString(body), vector) {
				shown++
			}
			if strings.Contains(body, testToken) {
				t.Errorf("%s shows the token", path)
			}
		}
		if shown < 10 {
			t.Errorf("%q is seen on %d pages of %d: the others test nothing", vector, shown, len(paths))
		}
	}
}

// S13: no page shows a payload or the value of a header.
func TestPayloadsAreHidden_S13(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	d.exec(`INSERT INTO outbox.message_log (topic, headers, payload) VALUES ('t', '{"authorization": "canary-header"}', 'canary-payload')`)
	b := d.browser().signIn()
	for _, path := range []string{"/", "/messages", "/messages/8"} {
		if body := b.get(path).Body.String(); strings.Contains(body, "canary") {
			t.Errorf("%s shows it: %s", path, body)
		}
	}
	if body := b.get("/messages/8").Body.String(); !strings.Contains(body, "authorization") || !strings.Contains(body, "14 B") {
		t.Errorf("name and size are missing: %s", body)
	}
}

func TestPagesShowTheirContent(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("text-7")
	b := d.browser()
	for path, wants := range map[string][]string{
		"/":                               {"Messages are dead: text-7 at kafka-a, and another cause", "evidence", "kafka-a", "does not answer", "text-7", "/failures/000000000000000f", "owns the outbox"},
		"/failures/000000000000000f":      {"failure:000000000000000f", "/messages/3"},
		"/messages":                       {"/messages/1", "/messages/7", "discarded", "sent"},
		"/messages?q=state:dead":          {"/messages/3", "state:dead"},
		"/messages?q=state:daed":          {"is no state; there are"},
		"/messages/1":                     {"confirmed at offset 41", "written"},
		"/messages/3":                     {"attempt 1: rejected", "took 12ms", "what waits in this key", "/messages/3/skip"},
		"/keys":                           {"/key?topic=text-7", "Wait behind it"},
		"/key?topic=text-7&key=text-7":    {"2 messages wait", "/messages/3/skip", "/messages/5"},
		"/destinations":                   {"kafka-a", "does not answer", "text-7"},
		"/operations":                     {"/operations/1", "running", "text-7"},
		"/operations/1":                   {"Retry 1 message", "by text-7: text-7", "without an outcome yet", "/messages/3", "By destination", "By failure", "http-equiv=\"refresh\""},
		"/operations/1?outcome=sent":      {"Messages with the outcome sent"},
		"/operations/1?outcome=odd":       {"There is no such outcome"},
		"/operations/99":                  {"Not found"},
		"/doctor":                         {"Something does not keep its promise", "1 finding needs a person, 1 check is well", "database.trigger", "What it does: text-7", "<code>text-7</code>", "relay.owner"},
		"/messages/99":                    {"Not found"},
		"/failures/0000000000000001":      {"Not found"},
		"/messages?before=x":              {"is a whole number"},
		"/messages/text-71":               {"Message 1"},
		"/key?topic=text-7&key=not-there": {"Not found"},
	} {
		body := html.UnescapeString(b.get(path).Body.String())
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q: %s", path, want, body)
			}
		}
	}
	if res := b.get("/messages?q=text-71"); res.Code != http.StatusSeeOther || res.Header().Get("Location") != "/messages/text-71" {
		t.Errorf("an id in the filter: %d %s", res.Code, res.Header().Get("Location"))
	}
	if body := b.get("/messages/5").Body.String(); strings.Contains(body, "/messages/5/retry") || !strings.Contains(body, "/messages/5/discard") {
		t.Errorf("a blocked message: %s", body)
	}
}

// counting counts the questions to the database, and can lose it.
type counting struct {
	relay.Inspector
	asked, counted int
	slow           time.Duration
	err            error
}

func (c *counting) Failures(ctx context.Context) ([]relay.FailureGroup, error) {
	c.counted++
	time.Sleep(c.slow)
	return c.Inspector.Failures(ctx)
}

func (c *counting) Overview(ctx context.Context) (relay.Overview, error) {
	c.asked++
	if c.err != nil {
		return relay.Overview{}, c.err
	}
	return c.Inspector.Overview(ctx)
}

// K7: a hundred viewers cost what one costs; while the database is down the page says so and shows the last state, without an error of the driver.
func TestOneReadingForAllViewers_K7(t *testing.T) {
	c := &counting{}
	d := newDesk(t, func(o *Options) {
		c.Inspector = o.Inspector
		o.Inspector = c
	})
	d.fill("t")
	for range 100 {
		if res := d.browser().get("/"); res.Code != http.StatusOK {
			t.Fatalf("%d", res.Code)
		}
	}
	if c.asked > 20 { // one a second, and this takes no 20 s
		t.Errorf("100 pages asked the database %d times", c.asked)
	}
	c.err = errors.New("canary: SELECT failed at host 10.0.0.1")
	d.state.changed()
	for _, path := range []string{"/", "/destinations"} {
		res := d.browser().get(path)
		if body := res.Body.String(); res.Code != http.StatusServiceUnavailable || !strings.Contains(body, "database does not answer") && !strings.Contains(body, "database did not answer") ||
			strings.Contains(body, "canary") {
			t.Errorf("%s without a database: %d %s", path, res.Code, body)
		}
	}
	if body := d.browser().get("/").Body.String(); !strings.Contains(body, "as of") || !strings.Contains(body, "owns the outbox") {
		t.Errorf("the last state is gone: %s", body)
	}
	if !strings.Contains(d.log.String(), "canary") {
		t.Error("the log does not say what failed")
	}
}

// still is the state of an outbox in which nothing moves, for tests that simulate time.
type still struct{ relay.Inspector }

func (still) Overview(context.Context) (relay.Overview, error) { return relay.Overview{}, nil }

func (still) Keys(context.Context, relay.Key, int) (relay.KeyList, error) {
	return relay.KeyList{}, nil
}

func (still) Failures(context.Context) ([]relay.FailureGroup, error) {
	return []relay.FailureGroup{{ID: 15, Dead: 1}}, nil
}

// K7: counting the failures is the dearest part: when it is slow it is done less often, and the rest stays as fresh as it was.
func TestSlowCountsDoNotMakeTheRestOld_K7(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = 300 * time.Millisecond
		c := &counting{Inspector: still{}, slow: slow}
		d := &desk{t: t, Dashboard: New(Options{Inspector: c, Guide: fixed{}, Doctor: nothingFound, Log: slog.New(slog.DiscardHandler)})}
		look := func(after time.Duration, asked, counted int) {
			t.Helper()
			time.Sleep(after)
			if res := d.browser().get("/"); res.Code != http.StatusOK || !strings.Contains(res.Body.String(), "/failures/000000000000000f") {
				t.Fatalf("%d: %s", res.Code, res.Body)
			}
			if c.asked != asked || c.counted != counted {
				t.Errorf("the state was read %d times, the failures %d times; want %d and %d", c.asked, c.counted, asked, counted)
			}
		}
		look(0, 1, 1)
		look(snapshotEvery-1, 1, 1)
		look(1, 2, 1)
		second := 2
		for ; time.Duration(second)*snapshotEvery < snapshotShare*slow; second++ {
			look(snapshotEvery, second+1, 1)
		}
		look(snapshotEvery, second+1, 2)
		d.state.changed()
		look(0, second+2, 3)
	})
}

func TestWordsForTimes(t *testing.T) {
	now := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{0: "just now", 400 * time.Millisecond: "just now", 90 * time.Second: "90 s ago", 10 * time.Minute: "10 min ago", 30 * time.Hour: "30 h ago",
		72 * time.Hour: "3 d ago", -time.Minute: "in 60 s"} {
		if got := ago(now, now.Add(-d)); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	if got := clock(now, now.Add(-time.Hour)) + " " + clock(now, now.Add(-48*time.Hour)); got != "09:00:00 2026-01-29 10:00" {
		t.Error(got)
	}
	if got := sizeText(0) + " " + sizeText(999) + " " + sizeText(1421003); got != "0 B 999 B 1,421,003 B" {
		t.Error(got)
	}
}
