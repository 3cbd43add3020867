package app

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/memory"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5"

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

var (
	liveRate = flag.Int("live.rate", 200, "messages a second beside the live pages of TestLivePagesInARealBrowser")
	liveFor  = flag.Duration("live.for", 0, "how long those pages are watched at least; 0 = until they have read themselves again five times")
)

// grown is what may not grow while pages are open.
type grown struct {
	dom        memory.GetDOMCountersResult
	script     float64 // bytes of the page's JavaScript
	goroutines int
	heap       uint64 // bytes of this process, with the relay and the broker in it
}

func (p *tab) grown() (g grown) {
	p.t.Helper()
	g.dom = p.nodes()
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	used, err := chromedp.Call(ctx, cdpruntime.GetHeapUsage, cdp.Empty{})
	if err != nil {
		p.t.Fatal(err)
	}
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	g.script, g.goroutines, g.heap = used.UsedSize, runtime.NumGoroutine(), mem.HeapAlloc
	return g
}

func (g grown) String() string {
	return fmt.Sprintf("%d nodes, %d documents, %d listeners, %.1f MiB of script, %d goroutines, heap %.1f MiB", g.dom.Nodes, g.dom.Documents, g.dom.JsEventListeners, g.script/(1<<20), g.goroutines, float64(g.heap)/(1<<20))
}

// flow publishes liveRate messages a second, what is due ten times a second, until ctx ends, and returns how many it wrote.
func (w *ward) flow(ctx context.Context) (wrote int, err error) {
	tick, began := time.NewTicker(100*time.Millisecond), time.Now()
	defer tick.Stop()
	for {
		due := int(time.Since(began).Seconds()*float64(*liveRate)) - wrote
		msgs := make([]outbox.Message, min(max(1, due), *liveRate/2+1)) // after a pause of the machine it catches up, not all at once
		for i := range msgs {
			msgs[i] = outbox.Message{Topic: "order.paid", Key: fmt.Sprint("c-", (wrote+i)%97), Payload: []byte("{}")}
		}
		msgs[0].Key, msgs[0].DeliverAfter = "", time.Now().Add(time.Hour) // what pages show changes all the time
		err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
			_, err := outbox.Publish(ctx, tx, msgs...)
			return err
		})
		if err == nil {
			wrote += len(msgs)
		}
		select {
		case <-ctx.Done():
			return wrote, nil
		case <-tick.C:
		}
		if err != nil {
			return wrote, err
		}
	}
}

// Two pages stay live beside a flow of messages: what happens is told to them, and neither browser nor relay grows by it. A third page is too many for events, says
// nothing of it, and follows by the clock.
func TestLivePagesInARealBrowser(t *testing.T) {
	w := newWard(t)
	ctx, stop := context.WithCancel(t.Context())
	flow, began := make(chan int, 1), time.Now()
	go func() {
		wrote, err := w.flow(ctx)
		if err != nil {
			t.Error(err)
		}
		flow <- wrote
	}()
	end := sync.OnceFunc(func() {
		stop()
		took := time.Since(began)
		wrote := <-flow
		t.Logf("%d messages in %s: %.0f a second of %d", wrote, took.Round(time.Second), float64(wrote)/took.Seconds(), *liveRate)
	})
	defer end()
	a, b := openTab(t, w.base), openTab(t, w.base)
	for _, p := range []*tab{a, b} {
		p.desk()
		p.open("/")
		p.sees("Everything flows", "local", "works")
	}
	eventually(t, "both are told of what happens", func() bool { return a.updates() >= 3 && b.updates() >= 3 })
	if *liveFor > 0 {
		lasts(t, *liveFor/2) // what a process takes once, for its caches, it has then
	}
	before, since, updates := a.grown(), time.Now(), a.updates()
	within(t, patience+*liveFor, "and go on", func() bool { return a.updates() >= updates+5 && time.Since(since) >= *liveFor/2 })
	after := a.grown()
	t.Logf("before: %s\nafter:  %s", before, after)
	if after.dom.Nodes > before.dom.Nodes*3/2+200 || after.dom.JsEventListeners > before.dom.JsEventListeners+20 || after.dom.Documents > before.dom.Documents+2 || after.script > before.script*3/2+(4<<20) {
		t.Errorf("the browser grows: from %s to %s", before, after)
	}
	if after.goroutines > before.goroutines+20 || after.heap > before.heap*3/2+(64<<20) {
		t.Errorf("the relay grows: from %s to %s", before, after)
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
