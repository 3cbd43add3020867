package app

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/waybillmq/waybill/internal/testservices"
)

var screens = flag.Bool("screens", false, "write the screenshots of docs/screens anew")

// tab is a page of a real, headless Chromium. Whatever the browser complains about, and every request to another place, fails the test.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string

	mu       sync.Mutex
	problems []string
}

// openTab starts a browser of the test's own on the pages at base. evil.example leads to this machine too, as an attacker's name would.
func openTab(t *testing.T, base string) *tab {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(testservices.Chromium(t)), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // as root Chromium has none
		chromedp.Flag("host-resolver-rules", "MAP evil.example 127.0.0.1"), chromedp.Flag("disable-dev-shm-usage", true), chromedp.WindowSize(1200, 800))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(alloc)
	p := &tab{t: t, ctx: ctx, base: base}
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the browser
		cancel()
		stop()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, problem := range p.problems {
			t.Error("the browser says: " + problem)
		}
	})
	if err := chromedp.Listen(ctx, p.hear); err != nil { // starts the browser, which lives as long as this context
		t.Fatalf("Chromium cannot be started: %v", err)
	}
	call(p, log.Enable, cdp.Empty{})
	call(p, network.Enable, network.EnableParams{})
	call(p, runtime.Enable, cdp.Empty{})
	return p
}

func (p *tab) hear(event any) {
	problem := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = fmt.Sprintf("exception: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			problem = fmt.Sprintf("console: %v", e.Args)
		}
	case *log.EventEntryAdded: // violations of the content security policy are here
		plain := strings.HasSuffix(e.Entry.URL, "/favicon.ico") // asked for where a refusal, which is plain text, names no icon
		if (e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning) && !plain {
			problem = fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, p.base+"/") {
			problem = "a request to another place: " + e.Request.URL
		}
	}
	if problem != "" {
		p.mu.Lock()
		p.problems = append(p.problems, problem)
		p.mu.Unlock()
	}
}

// forgive forgets what the browser said about an answer that the test wanted, such as a refusal; it must have said something.
func (p *tab) forgive(said string) {
	p.t.Helper()
	eventually(p.t, "the browser says "+said, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return strings.Contains(strings.Join(p.problems, "\n"), said)
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = slices.DeleteFunc(p.problems, func(problem string) bool {
		return strings.Contains(problem, "evil.example") || strings.Contains(problem, "about:blank") || strings.Contains(problem, "403") || strings.Contains(problem, said)
	})
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("%v; the page says: %s", err, p.text())
	}
}

// get is the value of one step.
func get[T any](p *tab, step chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	v, err := chromedp.Run(ctx, step)
	if err != nil {
		p.t.Fatalf("%v; the page says: %s", err, p.text())
	}
	return v
}

// call is a command of the protocol.
func call[P, R any](p *tab, command cdp.Command[P, R], params P) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	if _, err := chromedp.Call(ctx, command, params); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) open(path string) {
	p.t.Helper()
	p.do(chromedp.Navigate(p.base+path), chromedp.WaitReady(chromedp.CSS("main")))
}

// eval is the value of a JavaScript expression.
func eval[T any](p *tab, js string) T {
	p.t.Helper()
	return get(p, chromedp.Evaluate[T](js))
}

func (p *tab) text() string {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body ? document.body.innerText : ""`)) // between two pages there is none
	return text
}

// sees waits until the page says all of that. The pointer leaves the page first: a page is not read again while it rests on a row.
func (p *tab) sees(words ...string) {
	p.t.Helper()
	call(p, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: input.DispatchMouseEventTypeMouseMoved})
	for _, w := range words {
		within(p.t, 30*time.Second, fmt.Sprintf("the page says %q", w), func() bool { return strings.Contains(p.text(), w) }, p.text)
	}
}

// rest puts the pointer on an element and leaves it there.
func (p *tab) rest(selector string) {
	p.t.Helper()
	at := eval[[]float64](p, fmt.Sprintf(`(() => { const r = document.querySelector(%q).getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()`, selector))
	call(p, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: input.DispatchMouseEventTypeMouseMoved, X: at[0], Y: at[1]})
}

// click clicks on the first link or button that says so.
func (p *tab) click(label string) {
	p.t.Helper()
	p.do(chromedp.Click(fmt.Sprintf(`//main//*[self::a or self::button][contains(., %q)]`, label), chromedp.NodeVisible))
}

// fill types into an empty field.
func (p *tab) fill(selector, text string) {
	p.t.Helper()
	p.do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// screen writes a picture of the page for the documentation.
func (p *tab) screen(name string) {
	p.t.Helper()
	if !*screens {
		return
	}
	shot := get(p, chromedp.FullScreenshot(100))
	whole, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		p.t.Fatal(err)
	}
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, paletted(whole)); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("../../docs/screens", name+".png"), small.Bytes(), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// paletted keeps the 256 colours that a page uses most: a fourth of the bytes.
func paletted(src image.Image) *image.Paletted {
	counts := map[color.Color]int{}
	b := src.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			counts[color.RGBAModel.Convert(src.At(x, y))]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(counts), func(a, b color.Color) int { return cmp.Compare(counts[b], counts[a]) })
	dst := image.NewPaletted(b, color.Palette(colours[:min(len(colours), 256)]))
	draw.Draw(dst, b, src, b.Min, draw.Src)
	return dst
}

// phone makes the window as narrow as a small phone's; desk undoes it.
func (p *tab) phone() {
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 360, Height: 740, DeviceScaleFactor: 1, Mobile: true})
}

func (p *tab) desk() {
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 1200, Height: 800, DeviceScaleFactor: 1})
}

func (p *tab) dark(on bool) {
	value := map[bool]string{true: "dark", false: "light"}[on]
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}}})
}

// axe lists which rules of axe-core (WCAG and good practice) the page breaks, and where.
func (p *tab) axe() (broken []string) {
	p.t.Helper()
	p.do(chromedp.Evaluate[chromedp.Void](testservices.Axe(p.t) + `; window.__axe = undefined; axe.run(document, { resultTypes: ["violations"] }).then(
		r => window.__axe = r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html).slice(0, 3).join(" | ")), e => window.__axe = ["" + e]); undefined`))
	eventually(p.t, "axe-core has looked at the page", func() bool { return eval[bool](p, `window.__axe !== undefined`) })
	return eval[[]string](p, `window.__axe`)
}

// tooWide names what is wider than the window.
const tooWide = `(() => { const w = innerWidth; return document.documentElement.scrollWidth <= w ? [] :
	[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > w + 1).map(e => e.tagName + "." + e.className + " " + e.textContent.slice(0, 40)).slice(0, 5); })()`

// tooPale names the text whose contrast with its background is below 4.5 (WCAG 2.2, 1.4.3).
const tooPale = `(() => {
	const parse = c => { const n = c.match(/[\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
	const lum = c => { const f = c.slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
	const back = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; } return [255, 255, 255, 1]; };
	const bad = new Set();
	for (const e of document.querySelectorAll("body *")) {
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.checkVisibility()) continue;
		const a = lum(parse(getComputedStyle(e).color)), b = lum(back(e));
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) bad.add(e.tagName + "." + e.className + " " + ratio.toFixed(2));
	}
	return [...bad];
})()`
