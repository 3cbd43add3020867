package alerts

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const secret = "0123456789abcdef0123456789abcdef"

func known() (string, error) { return secret, nil }

// transport answers without a network, so that time is the test's.
type transport func(*http.Request) (int, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	code, err := f(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader("")), Header: http.Header{}, Request: r}, nil
}

func newTestSender(t *testing.T, o Options, answer transport) *Sender {
	t.Helper()
	o.Outbox, o.URL, o.Secret, o.Timeout = "orders", "https://hooks.test/token-canary", known, 10*time.Second
	s, err := NewSender(o)
	if err != nil {
		t.Fatal(err)
	}
	s.client.Transport = answer
	return s
}

func firing(id string, at time.Time) Event {
	return Event{Condition: Condition{Rule: Dead, Destination: id}, Status: Firing, At: at}
}

// Eight tries within half an hour, then it is counted as lost; another alert is not held up by more than its own tries.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var tries []time.Duration
		var lost []string
		began := time.Now()
		s := newTestSender(t, Options{GaveUp: func(e Event, err error) { lost = append(lost, e.ID()+": "+err.Error()) }}, func(r *http.Request) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			tries = append(tries, time.Since(began))
			return 503, nil
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()
		s.Send(firing("a", time.Now()))
		time.Sleep(time.Hour)
		synctest.Wait()
		stop()
		<-done
		if len(tries) != mostTries || len(lost) != 1 || lost[0] != "dead/a/: the webhook answered 503 Service Unavailable" {
			t.Fatalf("%v, lost %q", tries, lost)
		}
		for i, at := range tries {
			whole := firstPause << i
			if i > 0 && (at-tries[i-1] > whole/2 || at-tries[i-1] < whole/2*4/5) {
				t.Errorf("try %d came %s after the one before, want up to %s", i+1, at-tries[i-1], whole/2)
			}
		}
		if last := tries[mostTries-1]; last < 20*time.Minute || last > 30*time.Minute {
			t.Errorf("the last try came after %s", last)
		}
	})
}

// A receiver that comes back gets what holds then: of each alert the newest event, once.
func TestNewestEventIsPosted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		up := false
		s := newTestSender(t, Options{Base: "https://ops.test"}, func(r *http.Request) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			if !up {
				return 0, errors.New("connection refused")
			}
			var p post
			if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
				t.Error(err)
			}
			got = append(got, p.ID+" "+string(p.Status))
			return 204, nil
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()
		s.Send(firing("a", time.Now()), firing("b", time.Now()))
		time.Sleep(time.Minute)
		over := firing("a", time.Now())
		over.Status = Resolved
		s.Send(over)
		mu.Lock()
		up = true
		mu.Unlock()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		stop()
		<-done
		if strings.Join(got, ", ") != "orders/dead/a/ resolved, orders/dead/b/ firing" && strings.Join(got, ", ") != "orders/dead/b/ firing, orders/dead/a/ resolved" {
			t.Errorf("%q", got)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	lost := 0
	s := newTestSender(t, Options{GaveUp: func(Event, error) { lost++ }}, nil)
	for i := range mostWaiting + 5 {
		s.Send(firing(fmt.Sprint(i), start))
	}
	s.Send(firing("0", start)) // replaces
	if lost != 5 || len(s.queue.waiting) != mostWaiting {
		t.Errorf("%d lost, %d wait", lost, len(s.queue.waiting))
	}
}

// A failed post whose alert has news meanwhile is dropped for the news, which keeps the pause.
func TestNewsWhileOnItsWay(t *testing.T) {
	q := queue{}
	q.put(firing("a", start))
	w, _, ok := q.take(start)
	if !ok {
		t.Fatal("nothing is due")
	}
	over := firing("a", start)
	over.Status = Resolved
	q.put(over)
	if !q.again(w, start, 0) || len(q.waiting) != 1 || q.waiting[0].Status != Resolved || q.waiting[0].tries != 0 {
		t.Errorf("%+v", q.waiting)
	}
	if _, wait, ok := q.take(start); ok || wait != firstPause {
		t.Errorf("due in %s, %v", wait, ok)
	}
	if _, wait, ok := (&queue{}).take(start); ok || wait >= 0 {
		t.Errorf("an empty queue: %s, %v", wait, ok)
	}
}

// The receiver's side of the signature, over a real connection; nothing of address or secret is in an error.
func TestPost(t *testing.T) {
	answer, redirected := 200, false
	var got []byte
	var header http.Header
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			redirected = true
		}
		header = r.Header
		var err error
		if got, err = io.ReadAll(r.Body); err != nil {
			t.Error(err)
		}
		if answer == 302 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(answer)
	}))
	defer receiver.Close()
	s, err := NewSender(Options{Outbox: "orders", URL: receiver.URL + "/hook-canary", Secret: known, Base: "https://ops.test", Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.client.CloseIdleConnections()
	e := Event{Status: Firing, At: start, Until: start.Add(time.Hour), Condition: Condition{Rule: Dead, Destination: "kafka-a", Failure: "000f", Headline: "3 messages are dead", Count: 3,
		Since: start.Add(-time.Hour), Page: "/messages?q=state%3Adead", Next: "waybill message list"}}
	if err := s.Post(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	want := `{"kind":"Alert","version":1,"id":"orders/dead/kafka-a/000f","status":"firing","outbox":"orders","rule":"dead","destination":"kafka-a","failure":"000f",` +
		`"headline":"3 messages are dead","count":"3","since":"2026-01-31T09:00:00Z","at":"2026-01-31T10:00:00Z","until":"2026-01-31T11:00:00Z",` +
		`"link":"https://ops.test/messages?q=state%3Adead","next":"waybill message list"}`
	if string(got) != want || header.Get("Content-Type") != "application/json" {
		t.Errorf("%s\n%v", got, header)
	}
	stamp, mac, ok := strings.Cut(strings.TrimPrefix(header.Get(SignatureHeader), "t="), ",v1=")
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(append([]byte(stamp+"."), got...))
	if !ok || mac != hex.EncodeToString(h.Sum(nil)) {
		t.Errorf("signature %q", header.Get(SignatureHeader))
	}
	for _, answer = range []int{302, 400, 404, 500} {
		if err := s.Post(t.Context(), e); err == nil || !strings.Contains(err.Error(), fmt.Sprint(answer)) {
			t.Errorf("%d: %v", answer, err)
		}
	}
	if redirected {
		t.Error("what was signed for one address went to another")
	}
	receiver.Close()
	if err := s.Post(t.Context(), e); err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), secret) {
		t.Errorf("nobody listens: %v", err)
	}
	if trial := Trial(start); trial.Status != Test || trial.Headline == "" {
		t.Errorf("%+v", trial)
	}
}

func TestSenderRefuses(t *testing.T) {
	for _, c := range []struct {
		url    string
		secret func() (string, error)
		want   string
	}{
		{"hooks.test/canary", known, "is no address"}, {"ftp://hooks.test/canary", known, "is no address"}, {"https:///canary", known, "is no address"}, {"https://a b/canary", known, "is no address"},
		{"https://hooks.test", func() (string, error) { return "canary", nil }, "has 6 bytes; it needs 32"},
		{"https://hooks.test", func() (string, error) { return "", errors.New("variable X is not set") }, "variable X is not set"},
	} {
		if _, err := NewSender(Options{URL: c.url, Secret: c.secret}); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", c.url, err)
		}
	}
}
