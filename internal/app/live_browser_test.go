package app

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/memory"
	"github.com/chromedp/chromedp"

	"github.com/waybillmq/waybill/outbox"
)

// updates is how often a live page has read itself again.
func (p *tab) updates() int {
	return eval[int](p, `performance.getEntriesByType("resource").filter(e => e.initiatorType === "fetch").length`)
}

// nodes is how much of pages a browser holds once what nobody needs is gone.
func (p *tab) nodes() memory.GetDOMCountersResult {
	p.t.Helper()
	call(p, heapprofiler.CollectGarbage, cdp.Empty{})
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	got, err := chromedp.Call(ctx, memory.GetDOMCounters, cdp.Empty{})
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

// Two pages stay live beside a flow of messages: what happens is told to them, and neither browser nor relay grows by it. A third page is too many for events, says
// nothing of it, and follows by the clock.
func TestLivePagesInARealBrowser(t *testing.T) {
	w := newWard(t)
	ctx, stop := context.WithCancel(t.Context())
	flow := make(chan struct{})
	go func() {
		defer close(flow)
		for n := 0; ctx.Err() == nil; n++ {
			msgs := make([]outbox.Message, 20)
			for i := range msgs {
				msgs[i] = outbox.Message{Topic: "order.paid", Key: fmt.Sprint("c-", (n+i)%97), Payload: []byte("{}")}
			}
			w.publish(msgs...)
			pause(ctx, 100*time.Millisecond)
		}
	}()
	defer func() { stop(); <-flow }()
	a, b := openTab(t, w.base), openTab(t, w.base)
	for _, p := range []*tab{a, b} {
		p.desk()
		p.open("/")
		p.sees("Everything flows", "local", "works")
	}
	eventually(t, "both are told of what happens", func() bool { return a.updates() >= 3 && b.updates() >= 3 })
	before, goroutines, updates := a.nodes(), runtime.NumGoroutine(), a.updates()
	eventually(t, "and go on", func() bool { return a.updates() >= updates+5 })
	if after := a.nodes(); after.Nodes > before.Nodes*3/2+200 || after.JsEventListeners > before.JsEventListeners+20 || after.Documents > before.Documents+2 {
		t.Errorf("the browser grows: from %+v to %+v", before, after)
	}
	if n := runtime.NumGoroutine(); n > goroutines+20 {
		t.Errorf("the relay grows: from %d to %d goroutines", goroutines, n)
	}

	c := openTab(t, w.base)
	c.desk()
	c.open("/destinations")
	c.sees("local", "works")
	c.forgive("503")
	if _, err := w.pool.Exec(t.Context(), `SELECT outbox.pause('local', 'cli:ana@host', 'rebalance')`); err != nil {
		t.Fatal(err)
	}
	a.sees("A destination is paused", "rebalance")
	c.sees("by cli:ana@host: rebalance")
	if _, err := w.pool.Exec(t.Context(), `SELECT outbox.resume('local', 'cli:ana@host', NULL)`); err != nil {
		t.Fatal(err)
	}
	b.sees("Everything flows")
	c.sees("works")
}
