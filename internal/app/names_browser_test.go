package app

import (
	"testing"

	"github.com/waybillmq/waybill/outbox"
)

// A person pauses a destination in a real browser, sees who and why on every page that says something about it, and lets it go on: what waited is sent, once and
// without an attempt spent.
func TestPauseInARealBrowser(t *testing.T) {
	w := newWard(t)
	w.publish(outbox.Message{Topic: "order.paid", Key: "1", Payload: []byte("{}")})
	eventually(t, "messages flow", func() bool { return w.ask(`SELECT count(*) FROM outbox.message_pending`) == 0 })
	p := openTab(t, w.base)
	p.desk()
	p.open("/login?next=/destinations#token=" + w.token)
	p.fill("#name", "ana")
	p.click("Sign in")
	p.sees("local", "works")
	p.click("Pause…")
	p.sees("Pause local?", "What will happen", "lose no attempt")
	p.check([]string{"/destinations/local/pause", "/destinations/pause"})
	p.open("/destinations/local/pause")
	p.fill("#reason", "rebalance until 12:00")
	p.click("Pause local now")
	p.sees("Local is paused", "by ui:ana: rebalance until 12:00", "Resume…")
	eventually(t, "the relay obeys", func() bool {
		return w.ask(`SELECT count(*) FROM outbox.relay WHERE checks #>> '{destinations,local,state}' = 'paused'`) == 1
	})
	w.publish(outbox.Message{Topic: "order.paid", Key: "1", Payload: []byte("{}")}, outbox.Message{Topic: "order.paid", Key: "2", Payload: []byte("{}")})
	p.open("/")
	p.sees("A destination is paused", "local is paused by ui:ana since", "because: rebalance until 12:00", "waybill destination resume local")
	p.screen("paused")
	p.check([]string{"/", "/destinations"})
	p.withoutScripts([]string{"/destinations"})
	if n := w.ask(`SELECT count(*) FROM outbox.message_pending`); n != 2 {
		t.Errorf("%d wait, want 2", n)
	}
	p.open("/destinations")
	p.click("Resume…")
	p.sees("Resume local?", "Paused by ui:ana since")
	p.check([]string{"/destinations/local/resume"})
	p.open("/destinations/local/resume")
	p.click("Resume local now")
	p.sees("Local is resumed")
	eventually(t, "what waited is sent", func() bool { return w.ask(`SELECT count(*) FROM outbox.message_pending`) == 0 })
	if n := w.ask(`SELECT count(*) FROM outbox.attempt`) + w.ask(`SELECT count(*) FROM outbox.message_held`); n != 0 {
		t.Errorf("%d attempts or held messages", n)
	}
	p.open("/activity")
	p.sees("rebalance until 12:00", "pause", "resume", "destination local")
}
