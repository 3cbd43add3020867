package dashboard

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// follow opens a stream on a real server and returns its lines; they end with it.
func follow(t *testing.T, url string, change func(*http.Request)) (code int, lines <-chan string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	all, ended := make(chan string, 1000), make(chan struct{})
	go func() {
		defer close(ended)
		defer close(all)
		for in := bufio.NewScanner(res.Body); in.Scan(); {
			all <- in.Text()
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return res.StatusCode, all, stop
}

// hears waits for a line.
func hears(t *testing.T, lines <-chan string, begins string) string {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line, open := <-lines:
			if !open {
				t.Fatalf("the stream ended without %q", begins)
			}
			if strings.HasPrefix(line, begins) {
				return line
			}
		case <-deadline:
			t.Fatalf("no %q in 20 s", begins)
		}
	}
}

func ends(t *testing.T, lines <-chan string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case _, open := <-lines:
			if !open {
				return
			}
		case <-deadline:
			t.Fatal("the stream goes on")
		}
	}
}

func (d *desk) listening() int {
	d.streams.mu.Lock()
	defer d.streams.mu.Unlock()
	return d.streams.all
}

func within(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); !so(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// A stream tells that something has changed, and goes on where a lost one ended: at once when its page is old, else not.
func TestEvents(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	s := httptest.NewServer(d)
	t.Cleanup(s.Close)
	code, lines, stop := follow(t, s.URL+"/events", nil)
	if code != http.StatusOK {
		t.Fatal(code)
	}
	hears(t, lines, "retry: ")
	d.exec(`UPDATE outbox.message_held SET state = 'dead', due_at = NULL WHERE id = 6`)
	id := strings.TrimPrefix(hears(t, lines, "id: "), "id: ")
	hears(t, lines, "event: changed")
	stop()
	within(t, "nobody listens", func() bool { return d.listening() == 0 })

	_, lines, stop = follow(t, s.URL+"/events", func(r *http.Request) { r.Header.Set("Last-Event-ID", "of another relay") })
	if got := strings.TrimPrefix(hears(t, lines, "id: "), "id: "); got != id {
		t.Errorf("the same state is %s and %s", id, got)
	}
	stop()
	_, lines, _ = follow(t, s.URL+"/events", func(r *http.Request) { r.Header.Set("Last-Event-ID", id) })
	hears(t, lines, "retry: ")
	d.exec(`SELECT outbox.pause('kafka-a', 'cli:ana@host', 'r')`)
	told := false
	for tries := 0; !told && tries < 6; tries++ { // on a busy machine the state is read less often than a page that nothing changed on is told of
		told = strings.TrimPrefix(hears(t, lines, "id: "), "id: ") != id
	}
	if !told {
		t.Error("a pause is not told")
	}

	_, lines, _ = follow(t, s.URL+"/events?of=operations", func(r *http.Request) { r.Header.Set("User-Agent", "another") })
	hears(t, lines, "retry: ")
	d.exec(`UPDATE outbox.operation SET handled = 2 WHERE id = 1`)
	hears(t, lines, "event: changed")
}

// What passes with time alone is no change.
func TestVersionOfAState(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	ask := func() string {
		d.state.changed()
		return d.version(t.Context(), false)
	}
	before := ask()
	d.exec(`UPDATE outbox.owner SET lease_until = lease_until + interval '10 s', low_water = low_water + 1; UPDATE outbox.relay SET seen_at = clock_timestamp()`)
	if ask() != before {
		t.Error("the renewal of a lease is told as a change")
	}
	for _, sql := range []string{`UPDATE outbox.owner SET epoch = epoch + 1`, `INSERT INTO outbox.message_pending VALUES (7)`, `DELETE FROM outbox.message_held WHERE id = 6`,
		`UPDATE outbox.relay SET checks = '{}'`, `INSERT INTO outbox.relay (instance, started_at, version) VALUES ('relay-2', now(), '1')`} {
		d.exec(sql)
		if now := ask(); now == before {
			t.Errorf("not told: %s", sql)
		} else {
			before = now
		}
	}
}

// Streams are bounded for each who listens and in all; the others are told to read by the clock, and the rest of the dashboard answers.
func TestEventsAreBounded_S11(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	s := httptest.NewServer(d)
	t.Cleanup(s.Close)
	as := func(agent string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("User-Agent", agent) }
	}
	var stops []func()
	for range streamsEach {
		code, _, stop := follow(t, s.URL+"/events", as("a"))
		if code != http.StatusOK {
			t.Fatal(code)
		}
		stops = append(stops, stop)
	}
	if code, _, _ := follow(t, s.URL+"/events", as("a")); code != http.StatusServiceUnavailable {
		t.Errorf("one too many of a browser: %d", code)
	}
	stops[0]()
	within(t, "its place is free", func() bool { return d.listening() == streamsEach-1 })
	if code, _, _ := follow(t, s.URL+"/events", as("a")); code != http.StatusOK {
		t.Errorf("after one has left: %d", code)
	}
	for i := 0; d.listening() < maxStreams; i++ {
		if !d.streams.join(fmt.Sprint(i)) {
			t.Fatalf("%d listen, and one more is refused", d.listening())
		}
	}
	if code, _, _ := follow(t, s.URL+"/events", as("b")); code != http.StatusServiceUnavailable {
		t.Errorf("one too many of all: %d", code)
	}
	if len(d.slots) != 0 {
		t.Errorf("streams hold %d of the slots of requests", len(d.slots))
	}
	if code := d.browser().get("/").Code; code != http.StatusOK {
		t.Errorf("the overview: %d", code)
	}
}

// A stream ends with its session and with the server, and none begins after that.
func TestEventsEnd(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	server, err := Listen("127.0.0.1:0", nil, d.Dashboard, d.Log)
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + server.Addr().String() + "/events"
	b := d.browser().signIn()
	_, lines, _ := follow(t, url, func(r *http.Request) { r.AddCookie(b.cookie) })
	hears(t, lines, "retry: ")
	b.post("/logout", b.form("/messages/6/retry"))
	ends(t, lines)

	_, lines, _ = follow(t, url, nil)
	hears(t, lines, "retry: ")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := server.Close(ctx); err != nil {
		t.Errorf("the server waited for its streams: %v", err)
	}
	ends(t, lines)
	if d.listening() != 0 {
		t.Errorf("%d still listen", d.listening())
	}
	if res := d.browser().get("/events"); res.Code != http.StatusServiceUnavailable {
		t.Errorf("a stream begins at a server that ends: %d", res.Code)
	}
}

// A stream outlives the deadlines of other answers.
func TestEventsOutliveDeadlines(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	s := httptest.NewUnstartedServer(d)
	s.Config.ReadTimeout, s.Config.WriteTimeout = 500*time.Millisecond, 500*time.Millisecond
	s.Start()
	t.Cleanup(s.Close)
	_, lines, _ := follow(t, s.URL+"/events", nil)
	began := time.Now()
	hears(t, lines, "event: changed") // after streamFresh, since nothing changes
	if time.Since(began) < streamFresh/2 {
		t.Error("a state that stays is told as a change")
	}
	d.exec(`SELECT outbox.pause('kafka-a', 'cli:ana@host', 'r')`)
	hears(t, lines, "event: changed")
}
