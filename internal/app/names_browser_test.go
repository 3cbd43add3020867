package app

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"golang.org/x/crypto/bcrypt"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/outbox"
)

const anasPassword = "correct horse battery"

// anaWithAName gives ana a password and the roles operator and payload, and nobody else anything.
func anaWithAName(t *testing.T) func(*config.Config) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(anasPassword), 12)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, append([]byte("ana:"), hash...), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *config.Config) {
		d := &c.Dashboard
		d.Auth.Basic.File, d.Roles.Operator.Names, d.Roles.Payload.Names, d.Roles.Payload.Topics = file, []string{"ana"}, []string{"ana"}, []string{"order.*"}
	}
}

// A person with a name, by the keyboard alone, in a real browser: she signs in with her password, pauses a destination until a moment and resumes it, has a payload shown
// that masks hide in part, and compares what was written, sent and stored.
func TestNamesInARealBrowser(t *testing.T) {
	w := newWard(t, anaWithAName(t))
	m := text("order.paid", "1")
	m.Headers, m.Payload = map[string]string{"authorization": "canary-header", "tenant": "shop-1"}, []byte(`{"order": 12345678901234567890, "email": "canary@example.com", "lines": [{"sku": "a-1", "n": 2}]}`)
	w.publish(m)
	eventually(t, "messages flow", func() bool { return w.ask(`SELECT count(*) FROM outbox.message_pending`) == 0 })
	p := openTab(t, w.base)
	p.desk()
	p.signIn()
	p.pauseAndResume(w)
	p.reveal(w)
	p.compare(w)
}

// tabTo presses the tab key until an element has the focus.
func (p *tab) tabTo(selector string) {
	p.t.Helper()
	for range 80 {
		if eval[bool](p, fmt.Sprintf(`document.activeElement !== null && document.activeElement.matches(%q)`, selector)) {
			return
		}
		p.do(chromedp.KeyEvent(kb.Tab))
	}
	p.t.Fatalf("the tab key never leads to %s: %s", selector, p.text())
}

// write goes to a field by the tab key and types.
func (p *tab) write(selector, text string) {
	p.t.Helper()
	p.tabTo(selector)
	p.do(chromedp.KeyEvent(text))
}

// enter presses the enter key on an element.
func (p *tab) enter(selector string) {
	p.t.Helper()
	p.tabTo(selector)
	p.do(chromedp.KeyEvent(kb.Enter))
}

// signIn: nobody looks without a name; a wrong password is said, and the right one leads where she wanted to go.
func (p *tab) signIn() {
	p.t.Helper()
	p.open("/destinations")
	p.sees("Sign in", "Password", "Or with a token")
	p.screen("login-names")
	p.write("#user", "ana")
	p.write("#password", anasPassword+"x")
	p.do(chromedp.KeyEvent(kb.Enter))
	p.sees("wrong")
	p.forgive("status of 403")
	p.look("/login, wrong password")
	p.write("#user", "ana")
	p.write("#password", anasPassword)
	p.do(chromedp.KeyEvent(kb.Enter))
	p.sees("local", "works", "ana")
}

// pauseAndResume: she sees who and why, and until when, on every page that says something about it; what waited is sent, once and without an attempt spent.
func (p *tab) pauseAndResume(w *ward) {
	p.t.Helper()
	p.enter(`a[href="/destinations/local/pause"]`)
	p.sees("Pause local?", "What will happen", "lose no attempt", "Until (optional)")
	p.write("#reason", "rebalance")
	p.write("#until", "yesterday")
	p.do(chromedp.KeyEvent(kb.Enter))
	p.sees("Until when?", "Leave it empty")
	p.forgive("status of 400")
	p.look("/destinations/local/pause, wrong until")
	if kept := eval[[]string](p, `["reason", "until"].map(id => document.getElementById(id).value)`); !slices.Equal(kept, []string{"rebalance", "yesterday"}) {
		p.t.Errorf("what she wrote is kept as %q", kept)
	}
	p.tabTo("#until")
	eval[bool](p, `document.activeElement.select() === undefined`)
	p.do(chromedp.KeyEvent("2h"))
	p.screen("pause")
	p.enter("form button.button")
	p.sees("Local is paused until", "by ui:ana until", ": rebalance", "goes on by itself", "Resume…")
	eventually(p.t, "the relay obeys", func() bool {
		return w.ask(`SELECT count(*) FROM outbox.relay WHERE checks #>> '{destinations,local,state}' = 'paused'`) == 1
	})
	w.publish(outbox.Message{Topic: "order.paid", Key: "1", Payload: []byte("{}")}, outbox.Message{Topic: "order.paid", Key: "2", Payload: []byte("{}")})
	p.open("/")
	p.sees("A destination is paused", "local is paused by ui:ana since", "rebalance", "until", "waybill destination resume local")
	p.screen("paused")
	p.look("/, paused")
	p.withoutScripts([]string{"/destinations"})
	if n := w.ask(`SELECT count(*) FROM outbox.message_pending`); n != 2 {
		p.t.Errorf("%d wait, want 2", n)
	}
	p.open("/destinations")
	p.enter(`a[href="/destinations/local/resume"]`)
	p.sees("Resume local?", "Paused by ui:ana since")
	p.enter("form button.button")
	p.sees("Local is resumed")
	eventually(p.t, "what waited is sent", func() bool { return w.ask(`SELECT count(*) FROM outbox.message_pending`) == 0 })
	if n := w.ask(`SELECT count(*) FROM outbox.attempt`) + w.ask(`SELECT count(*) FROM outbox.message_held`); n != 0 {
		p.t.Errorf("%d attempts or held messages", n)
	}
	if n := w.ask(`SELECT count(*) FROM outbox.activity WHERE target = 'destination local' AND actor = 'ui:ana' AND action IN ('pause', 'resume') AND (action = 'resume' OR reason = 'rebalance')`); n != 2 {
		p.t.Errorf("%d rows of the activity log", n)
	}
}

// reveal: asked first, written down, and masked; going back shows nothing again.
func (p *tab) reveal(w *ward) {
	p.t.Helper()
	p.open("/messages/1")
	p.enter(`a[href="/messages/1/reveal"]`)
	p.sees("Show what message 1 carries?", "a row goes into the activity log")
	p.look("/messages/1/reveal")
	p.write("#reason", "the customer asks, OPS-319")
	p.do(chromedp.KeyEvent(kb.Enter))
	p.sees("What message 1 carries", "2 values are hidden", "●●●", "12345678901234567890", "shop-1", "shown as JSON")
	if text := p.text(); strings.Contains(text, "canary") {
		p.t.Errorf("masked values are shown: %s", text)
	}
	p.look("/messages/1/reveal, shown")
	p.tabTo("pre.carried") // what is longer than the window is scrolled by the keyboard
	p.screen("reveal")
	if n := w.ask(`SELECT count(*) FROM outbox.activity WHERE action = 'reveal' AND actor = 'ui:ana' AND reason = 'the customer asks, OPS-319' AND ids = '{1}'`); n != 1 {
		p.t.Errorf("%d rows of the activity log", n)
	}
	p.open("/messages/1/reveal")
	if text := p.text(); strings.Contains(text, "12345678901234567890") {
		p.t.Error("it is shown again unasked")
	}
}

// compare: what was sent is stored; then something is not as it was sent, and is named.
func (p *tab) compare(w *ward) {
	p.t.Helper()
	for i := range 40 {
		w.publish(text("order.placed", fmt.Sprint("c-", i%7)))
	}
	eventually(p.t, "all are sent", func() bool { return w.ask(`SELECT count(*) FROM outbox.message_pending`) == 0 })
	if _, err := w.pool.Exec(p.t.Context(), `UPDATE outbox.message_log SET created_at = now() - interval '1 h'`); err != nil {
		p.t.Fatal(err)
	}
	p.open("/")
	eventually(p.t, "g and a lead to the audit", func() bool { // a page is there before its script listens
		p.do(chromedp.KeyEvent("g"), chromedp.KeyEvent("a"))
		return eval[string](p, `location.pathname`) == "/audit"
	})
	p.sees("Compare now", "Ids 1 to 43 can be compared", "There was none yet")
	p.write("#from", "44")
	p.do(chromedp.KeyEvent(kb.Enter))
	p.sees("id 44 is too young")
	p.forgive("status of 400")
	p.look("/audit, wrong range")
	p.open("/audit")
	p.write("#reason", "monthly")
	p.enter("form[action='/audit'] button")
	p.sees("What was sent is stored", "Ids 1 to 43, by ui:ana: monthly") // by itself
	if _, err := w.pool.Exec(p.t.Context(), `UPDATE outbox.message_log SET payload = 'other' WHERE id = 17`); err != nil {
		p.t.Fatal(err)
	}
	if _, err := w.pool.Exec(p.t.Context(), `UPDATE outbox.receipts SET first_offset = first_offset + 1000 WHERE hi = (SELECT max(hi) FROM outbox.receipts)`); err != nil {
		p.t.Fatal(err)
	}
	p.write("#from", "4")
	p.do(chromedp.KeyEvent(kb.Enter))
	p.sees("Something is not as it was sent", "altered", "missing", "Ids 4 to 43")
	p.screen("audit")
	run := eval[string](p, `document.querySelector("main a[href^='/audit/']").getAttribute("href")`)
	p.look("/audit")
	p.withoutScripts([]string{"/audit", run})
}
