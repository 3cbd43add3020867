package dashboard

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// under asks with the token and a key.
func under(key string) func(*http.Request) {
	return func(r *http.Request) {
		withToken(r)
		r.Header.Set(onceHeader, key)
	}
}

func (d *desk) acts() (n int) {
	d.t.Helper()
	if err := d.conn.QueryRow(d.t.Context(), `SELECT count(*) FROM outbox.activity`).Scan(&n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

// Every POST of the API, sent again under its key: the first answer to the byte, and nothing is done. Another request under the key is refused, and without the token
// nobody reads what is kept.
func TestEveryPostOnce(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	posts, tried, unkept := 0, map[string]bool{}, map[string]bool{}
	for _, rt := range d.asks {
		if rt.method == "POST" && !rt.unkept {
			posts++
		}
		unkept[rt.operationID()] = rt.unkept
	}
	for _, s := range actSamples {
		if unkept[s.operation] {
			continue
		}
		if !strings.HasPrefix(s.operation, "post") {
			continue
		}
		tried[s.operation] = true
		key := "key-" + s.operation
		before := d.acts()
		first, got := d.call("POST", apiBase+s.path, s.body, under(key))
		if first.Code < 200 || first.Code > 299 {
			t.Errorf("%s: %d %v", s.operation, first.Code, got)
			continue
		}
		if d.acts() == before {
			t.Errorf("%s did nothing", s.operation)
		}
		before = d.acts()
		again, _ := d.call("POST", apiBase+s.path, s.body, under(key))
		if again.Code != first.Code || again.Body.String() != first.Body.String() || again.Header().Get("Location") != first.Header().Get("Location") ||
			again.Header().Get("Content-Type") != first.Header().Get("Content-Type") {
			t.Errorf("%s again: %d %s\nat first: %d %s", s.operation, again.Code, again.Body, first.Code, first.Body)
		}
		res, got := d.call("POST", apiBase+s.path, `{"reason":"another"}`, under(key))
		wantProblem(t, s.operation+" with another body", res, got, http.StatusUnprocessableEntity, "idempotency-conflict")
		res, got = d.call("POST", apiBase+"/destinations/kafka-a/pause", `{"reason":"another"}`, under(key))
		if s.operation != "postDestinationsNamePause" {
			wantProblem(t, s.operation+" and another path", res, got, http.StatusUnprocessableEntity, "idempotency-conflict")
		}
		if res, got := d.call("POST", apiBase+s.path, s.body, func(r *http.Request) { r.Header.Set(onceHeader, key) }); res.Code != http.StatusUnauthorized {
			t.Errorf("%s without the token: %d %v", s.operation, res.Code, got)
		}
		if n := d.acts() - before; n != 0 {
			t.Errorf("%s again did %d things", s.operation, n)
		}
	}
	if len(tried) != posts {
		t.Errorf("%d of %d routes were tried", len(tried), posts)
	}
}

// What was refused is not kept: when its cause is gone the same request is done. A key has a form, and a look has none.
func TestOnceOfRefusals(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	res, got := d.call("POST", apiBase+"/destinations/kafka-a/resume", "", under("k"))
	wantProblem(t, "a resume of nothing", res, got, http.StatusConflict, "state-changed")
	d.exec(`SELECT outbox.pause('kafka-a', 'cli:ben@host', 'r')`)
	if res, got := d.call("POST", apiBase+"/destinations/kafka-a/resume", "", under("k")); res.Code != http.StatusOK {
		t.Errorf("%d %v", res.Code, got)
	}
	for _, key := range []string{"", " ", "a b", "é", strings.Repeat("k", maxOnceKey+1)} {
		res, got := d.call("POST", apiBase+"/destinations/pause", `{"reason":"r"}`, under(key))
		wantProblem(t, "key "+key, res, got, http.StatusBadRequest, "invalid-parameter")
	}
	res, got = d.call("POST", apiBase+"/destinations/pause", `{"reason":"r"}`, func(r *http.Request) {
		withToken(r)
		r.Header[onceHeader] = []string{"a", "b"}
	})
	wantProblem(t, "two keys", res, got, http.StatusBadRequest, "invalid-parameter")
	res, got = d.call("POST", apiBase+"/destinations/pause", `{"reason":"`+strings.Repeat("x", maxBody)+`"}`, under("long"))
	wantProblem(t, "a long body", res, got, http.StatusRequestEntityTooLarge, "invalid-body")
	res, got = d.call("POST", apiBase+"/destinations/pause", `{"reason":`, under("cut"))
	wantProblem(t, "no JSON", res, got, http.StatusBadRequest, "invalid-body")
	if d.paused() != "" {
		t.Errorf("something was done: %s", d.paused())
	}
	d.Once = nil
	res, got = d.call("POST", apiBase+"/destinations/pause", `{"reason":"r"}`, under("k"))
	wantProblem(t, "where keys are not kept", res, got, http.StatusBadRequest, "invalid-parameter")
}

// held is an operator that stands in a pause until it is let go.
type held struct {
	relay.Operator
	begun, let chan struct{}
}

func (h held) Pause(ctx context.Context, destination string, until time.Time, act relay.Act) (int64, error) {
	close(h.begun)
	<-h.let
	return h.Operator.Pause(ctx, destination, until, act)
}

// The same request beside one that still runs is told to ask later.
func TestOnceWhileItRuns(t *testing.T) {
	d := newDesk(t, nil)
	h := held{d.operator, make(chan struct{}), make(chan struct{})}
	d.Operator = h
	first := make(chan *httptest.ResponseRecorder)
	go func() {
		res, _ := d.call("POST", apiBase+"/destinations/pause", `{"reason":"r"}`, under("k"))
		first <- res
	}()
	<-h.begun
	res, got := d.call("POST", apiBase+"/destinations/pause", `{"reason":"r"}`, under("k"))
	wantProblem(t, "beside it", res, got, http.StatusConflict, "idempotency-running")
	if res.Header().Get("Retry-After") == "" {
		t.Error("it does not say when to ask again")
	}
	close(h.let)
	done := <-first
	again, _ := d.call("POST", apiBase+"/destinations/pause", `{"reason":"r"}`, under("k"))
	if done.Code != http.StatusOK || again.Body.String() != done.Body.String() || d.paused() != `"" api:token r` {
		t.Errorf("%d %s, then %d %s; %s", done.Code, done.Body, again.Code, again.Body, d.paused())
	}
}
