package app

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/outbox"
)

// ward is a whole relay with its dashboard, over a real PostgreSQL and the bundled broker.
type ward struct {
	t     *testing.T
	pool  *pgxpool.Pool
	base  string
	token string
}

func newWard(t *testing.T, changes ...func(*config.Config)) *ward {
	t.Helper()
	database := testservices.Postgres(t, 18).URL
	if _, err := migrations.Up(t.Context(), database, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	dir := t.TempDir()
	c := config.Default()
	c.Name, c.Metrics.Listen, c.Database.URL = "orders", "127.0.0.1:0", config.SecretText(database)
	listen := freeListen("127.0.0.1:0")
	c.Dashboard.Listen, c.Dashboard.TokenFile = config.Some(listen), config.Some(filepath.Join(dir, "dashboard.token"))
	c.Relay.Instance, c.Relay.WriteLimits = "relay-1", false
	c.Broker.Enabled, c.Broker.Dir, c.Broker.SegmentSize, c.Broker.Topics.Create = true, filepath.Join(dir, "broker"), 8*config.MiB, []string{"order.placed", "order.paid", "order.image"}
	c.Cache.Dir = filepath.Join(dir, "cache")
	c.Destinations = []config.Destination{{Name: "local", Kind: config.KindWaybillBroker}}
	c.Routes = []config.Route{{Name: "all", Match: config.Match{Topic: "*"}, To: config.To{Destination: "local", Topic: "{topic}"}, Retry: c.Retry, OnDead: "block"}}
	for _, change := range changes {
		change(c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	log, done := &logBuffer{}, make(chan error, 1)
	go func() { done <- Run(ctx, RunOptions{Config: c, LogTo: log, Version: "test"}) }()
	w := &ward{t: t, pool: pool, base: "http://" + listen}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil || t.Failed() {
			t.Errorf("the relay ended: %v\n%s", err, log.tail())
		}
		if strings.Contains(log.tail(), w.token) {
			t.Error("the token is in the log")
		}
	})
	eventually(t, "the token file is there", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "dashboard.token"))
		w.token = strings.TrimSpace(string(b))
		return err == nil && w.token != ""
	})
	eventually(t, "the dashboard listens", func() bool {
		c, err := net.Dial("tcp", listen)
		return err == nil && c.Close() == nil
	})
	if _, err := pool.Exec(t.Context(), `UPDATE outbox.limits SET max_bytes = 4000000`); err != nil { // the broker takes less: those are the poison
		t.Fatal(err)
	}
	return w
}

func (w *ward) publish(msgs ...outbox.Message) {
	w.t.Helper()
	err := pgx.BeginFunc(w.t.Context(), w.pool, func(tx pgx.Tx) error {
		_, err := outbox.Publish(w.t.Context(), tx, msgs...)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *ward) ask(sql string) (n int) {
	w.t.Helper()
	if err := w.pool.QueryRow(w.t.Context(), sql).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// The person on call, in a real browser: something is wrong → the failure → a message → retry → discard with a reason → the activity log has it; a key that
// waits → skip; then all is well. On each page nothing is wider than a phone, the contrast is enough in both themes, and the browser has nothing to say.
func TestOnCallInARealBrowser_S1_S2_S3(t *testing.T) {
	w := newWard(t)
	evil := `<img src=x onerror=window.__xss=1>`
	for i := range 40 {
		w.publish(text([]string{"order.placed", "order.paid"}[i%2], fmt.Sprint("c-", i%7)))
	}
	poison := func(key string) outbox.Message {
		m := text("order.image", key)
		m.Type, m.Headers, m.Payload = "image.added", map[string]string{"tenant": "shop-1"}, make([]byte, 1_421_003)
		return m
	}
	w.publish(poison("4711"), poison("4712"))
	for range 3 {
		w.publish(text("order.image", "4711"), text("order.image", "4712"))
	}
	eventually(t, "two are dead and six wait", func() bool {
		return w.ask(`SELECT count(*) FILTER (WHERE state = 'dead') * 100 + count(*) FILTER (WHERE state = 'blocked') FROM outbox.message_held`) == 206
	})
	head, other := w.ask(`SELECT min(id) FROM outbox.message_held WHERE key = '4711'`), w.ask(`SELECT min(id) FROM outbox.message_held WHERE key <> '4711'`)

	p := openTab(t, w.base)
	p.desk()
	p.open("/")
	p.sees("Messages are dead: too_large at local", "since", "What to do", "works") // the last comes with the relay's first report, by itself
	p.screen("overview")
	p.dark(true)
	p.screen("overview-dark")
	p.dark(false)
	p.phone()
	p.screen("overview-phone")
	p.desk()
	failure := eval[string](p, `document.querySelector("a[href^='/failures/']").getAttribute("href")`)
	paths := []string{"/", failure, "/messages?q=state:dead", fmt.Sprint("/messages/", head), fmt.Sprint("/messages/", other), "/messages/1", "/keys", "/key?topic=order.image&key=4711", "/destinations", "/doctor", "/login"}
	p.check(paths)

	p.open("/")
	p.rest(".tiles a")
	eventually(t, "the page waits for the pointer", func() bool { return strings.Contains(p.text(), "Not read again while the pointer is on a row") })
	p.click("Open this failure")
	p.sees("too_large at local", "2 dead")
	p.screen("failure")
	p.click(fmt.Sprint(head))
	p.sees("Timeline", "attempt 1: rejected", "1,421,003 B")
	p.screen("message")
	p.click("Retry…")
	p.sees("Sign in to act")
	p.screen("login")
	p.open("/login?next=" + fmt.Sprintf("/messages/%d/retry", head) + "#token=" + w.token)
	if hash := eval[string](p, `location.href`); strings.Contains(hash, w.token) {
		t.Error("the token stays in the address")
	}
	p.fill("#name", "ana")
	p.click("Sign in")
	p.sees("What will happen", "3 messages of its key wait behind it", "rejects it again")
	p.click("Retry it now")
	p.sees("Retry of message", "is done")
	eventually(t, "the broker refused it again", func() bool {
		return w.ask(fmt.Sprintf(`SELECT count(*) FROM outbox.message_held WHERE id = %d AND state = 'dead'`, head)) == 1
	})
	p.open(fmt.Sprint("/messages/", head))
	p.sees("Discard…")
	p.click("Discard…")
	p.sees("given up and never sent", "They go on, in order.")
	p.screen("discard")
	p.click("Discard it now") // the browser itself asks for the reason
	if at := eval[string](p, `location.pathname`); at != fmt.Sprintf("/messages/%d/discard", head) {
		t.Errorf("it was sent without a reason: %s", at)
	}
	p.fill("#reason", "image was uploaded again, agreed with the shop")
	p.click("Discard it now")
	p.sees("Discard of message", "is done", "discarded")
	eventually(t, "its key went on", func() bool { return w.ask(`SELECT count(*) FROM outbox.message_held WHERE key = '4711'`) == 0 })

	p.open("/keys")
	p.sees("4712")
	p.screen("keys")
	p.do(chromedp.Click(chromedp.CSS(`main tbody a`)))
	p.sees("3 messages wait", "What waits, in order")
	p.screen("key")
	p.click("Skip…")
	p.sees("the order of this key is broken at this place")
	p.fill("#reason", "customer closed")
	p.click("Skip it now")
	p.sees("Skip of message", "is done")
	eventually(t, "the key went on", func() bool { return w.ask(`SELECT count(*) FROM outbox.message_held WHERE state = 'blocked'`) == 0 })

	p.open("/activity")
	p.sees("image was uploaded again, agreed with the shop", "customer closed", "ui:ana", "retry", "skip", "discard")
	p.screen("activity")
	p.open("/messages?q=topic:order.image")
	p.sees("discarded", "sent")
	p.screen("messages")
	p.open("/destinations")
	p.sees("local", "works")
	p.screen("destinations")
	p.open("/doctor")
	p.sees("Something does not keep its promise", "database.fsync", "ALTER SYSTEM SET fsync = on", "relay-1 is the only relay", "rights.search_path")              // the server of the tests is fast, not safe
	eval[bool](p, `[...document.querySelectorAll("tbody tr")].filter(r => r.textContent.includes("waybillbroker.folder")).forEach(r => r.remove()) === undefined`) // a path of the test
	p.screen("doctor")
	p.check([]string{"/activity", fmt.Sprintf("/messages/%d/retry", other), fmt.Sprintf("/messages/%d/discard", other), fmt.Sprint("/messages/", head)})

	hostile := poison(evil)
	hostile.Type, hostile.Headers = evil, map[string]string{evil: evil}
	w.publish(hostile)
	eventually(t, "markup is dead", func() bool { return w.ask(`SELECT count(*) FROM outbox.message_held WHERE state = 'dead'`) == 2 })
	third := w.ask(`SELECT max(id) FROM outbox.message_held`)
	p.check([]string{"/", "/keys", "/messages?q=state:dead", fmt.Sprint("/messages/", third), "/key?topic=order.image&key=" + url.QueryEscape(evil)})
	p.sees(evil)
	for _, id := range []int{other, third} {
		p.open(fmt.Sprintf("/messages/%d/discard", id))
		p.fill("#reason", "never needed")
		p.click("Discard it now")
		p.sees("is done")
	}
	p.open("/")
	p.sees("Everything flows") // by itself, or with the first answer
	p.screen("overview-well")
	p.live(w)
	p.keyboard()
	p.withoutScripts(append(paths[2:4:4], "/", "/keys", "/activity"))
	p.strangers(w, other)
}

// check looks at each page in both themes and two widths.
func (p *tab) check(paths []string) {
	p.t.Helper()
	for _, path := range paths {
		p.open(path)
		p.look(path)
	}
}

// look is check of the page that is open, such as the answer to a form.
func (p *tab) look(path string) {
	p.t.Helper()
	for _, dark := range []bool{false, true} {
		p.dark(dark)
		if pale := eval[[]string](p, tooPale); len(pale) > 0 {
			p.t.Errorf("%s, dark %t: too little contrast: %q", path, dark, pale)
		}
		for _, broken := range p.axe() {
			p.t.Errorf("%s, dark %t: not accessible: %s", path, dark, broken)
		}
	}
	p.dark(false)
	p.phone()
	if wide := eval[[]string](p, tooWide); len(wide) > 0 {
		p.t.Errorf("%s does not fit a phone: %q", path, wide)
	}
	p.desk()
	if eval[bool](p, `"__xss" in window`) {
		p.t.Errorf("%s ran a script of a producer", path)
	}
	if n := eval[int](p, `document.querySelectorAll("h1").length + (document.title ? 10 : 0)`); n < 11 && path != "/destinations" {
		p.t.Errorf("%s has no heading or no title", path)
	}
}

// live: an open overview shows by itself what happens.
func (p *tab) live(w *ward) {
	p.t.Helper()
	eval[bool](p, `document.activeElement.blur() === undefined`)
	m := text("order.image", "later")
	m.Payload = make([]byte, 1_500_000)
	w.publish(m)
	p.sees("Messages are dead: too_large at local")
}

// keyboard: the first tab stop skips to the content, and the keys lead to the pages.
func (p *tab) keyboard() {
	p.t.Helper()
	p.open("/")
	p.do(chromedp.KeyEvent(kb.Tab))
	if got := eval[string](p, `document.activeElement.textContent`); got != "Skip to content" {
		p.t.Errorf("the first tab stop is %q", got)
	}
	p.do(chromedp.KeyEvent("g"), chromedp.KeyEvent("m"), chromedp.WaitReady(chromedp.CSS("#q")))
	eventually(p.t, "/ leads to the filter", func() bool { // the page is there before its script listens; the protocol would type the / although the page took it
		return eval[bool](p, `document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "/", bubbles: true })), document.activeElement.id === "q"`)
	})
	p.do(chromedp.KeyEvent("state:discarded"), chromedp.KeyEvent(kb.Enter), chromedp.WaitReady(chromedp.CSS(`#q[value="state:discarded"]`)))
	if got := eval[string](p, `location.search`); got != "?q=state%3Adiscarded" {
		p.t.Errorf("the filter led to %q", got)
	}
}

// withoutScripts: reading works without them.
func (p *tab) withoutScripts(paths []string) {
	p.t.Helper()
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	for _, path := range paths {
		p.open(path)
		if title := get(p, chromedp.Text(chromedp.CSS("h1"))); title == "" {
			p.t.Errorf("%s shows nothing without scripts", path)
		}
	}
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{})
}

// strangers: a name that an attacker gave this machine's address sees nothing, and a page of another origin can neither write nor frame.
func (p *tab) strangers(w *ward, id int) {
	p.t.Helper()
	port := w.base[strings.LastIndex(w.base, ":"):]
	before := w.ask(`SELECT count(*) FROM outbox.activity`)
	p.do(chromedp.Navigate("http://evil.example" + port + "/"))
	if text := p.text(); !strings.Contains(text, "421") || strings.Contains(text, "orders") {
		p.t.Errorf("under another name: %s", text)
	}
	p.do(chromedp.Navigate("about:blank"))
	eval[bool](p, fmt.Sprintf(`(() => { const f = document.createElement("form"); f.method = "post"; f.action = "%s/messages/%d/retry"; document.body.append(f); f.submit();
		return true; })()`, w.base, id))
	p.sees("403")
	if after := w.ask(`SELECT count(*) FROM outbox.activity`); after != before {
		p.t.Error("a page of another site acted")
	}
	p.forgive("evil.example")
}
