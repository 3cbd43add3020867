package telemetry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

func TestProbes(t *testing.T) {
	alive := map[string]time.Time{"lease": time.Now()}
	up := func(context.Context) error { return nil }
	down := func(context.Context) error { return errors.New("connection refused") }
	status := func(st relay.Status) func() relay.Status { return func() relay.Status { return st } }
	for name, c := range map[string]struct {
		h            Health
		live, ready  int
		role, reason string
	}{
		"starting":               {Health{}, 200, 503, "starting", "starting"},
		"owner":                  {Health{status(relay.Status{Owner: true, Epoch: 7, Beats: alive}), down}, 200, 200, "owner", ""},
		"owner, broker down":     {Health{status(relay.Status{Owner: true, Beats: alive, Destinations: []relay.DestinationState{{BreakerOpen: true}}}), up}, 200, 200, "owner", ""},
		"standby":                {Health{status(relay.Status{Beats: alive}), up}, 200, 200, "standby", ""},
		"standby, database down": {Health{status(relay.Status{Beats: alive}), down}, 200, 503, "standby", "database: connection refused"},
		"refused":                {Health{status(relay.Status{Refused: errors.New("a copy")}), up}, 200, 503, "standby", "refused: a copy"},
		"stuck":                  {Health{status(relay.Status{Owner: true, Beats: map[string]time.Time{"reader": time.Now().Add(-time.Minute)}}), up}, 503, 200, "owner", "no-progress:reader:1m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			handler := observed(t, io.Discard).Handler("/metrics", func() Health { return c.h })
			get := func(path string) (int, string) {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
				return w.Code, w.Body.String()
			}
			if code, _ := get("/livez"); code != c.live {
				t.Errorf("live %d, want %d", code, c.live)
			}
			if code, _ := get("/readyz"); code != c.ready {
				t.Errorf("ready %d, want %d", code, c.ready)
			}
			if code, _ := get("/startupz"); code != 200 {
				t.Errorf("startup %d", code)
			}
			_, live := get("/livez?verbose")
			_, ready := get("/readyz?verbose")
			if !strings.Contains(live, `"role":"`+c.role+`"`) || c.reason != "" && !strings.Contains(live+ready, c.reason) {
				t.Errorf("%s%s", live, ready)
			}
		})
	}
}

func TestServer(t *testing.T) {
	s, err := Listen("127.0.0.1:0", observed(t, io.Discard).Handler("/metrics", func() Health { return Health{} }))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + s.Addr().String() + "/livez")
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	res.Body.Close()
	if res, err = client.Post("http://"+s.Addr().String()+"/livez", "", nil); err != nil || res.StatusCode != http.StatusMethodNotAllowed {
		t.Fatal(res, err)
	}
	res.Body.Close()
	if _, err := Listen(s.Addr().String(), nil); err == nil || !strings.Contains(err.Error(), "metrics.listen") {
		t.Errorf("a taken port: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Each reason is there when its fact is, and nothing else makes an owner degraded.
func TestDegraded(t *testing.T) {
	now := time.Now()
	well := Counts{At: now, Relays: 2, Ahead: 2, Held: map[string]map[relay.HeldState]float64{"kafka-a": {relay.Retrying: 3, relay.Scheduled: 9}}}
	one := func(d relay.DestinationState) relay.Status {
		d.Name = "kafka-a"
		return relay.Status{Owner: true, Destinations: []relay.DestinationState{d, {Name: "rabbit"}}}
	}
	counts := func(change func(*Counts)) Counts { c := well; change(&c); return c }
	for want, c := range map[string]struct {
		st     relay.Status
		counts Counts
	}{
		"":                                   {one(relay.DestinationState{Refused: 0}), well},
		"breaker:kafka-a":                    {one(relay.DestinationState{BreakerOpen: true}), well},
		"config:kafka-a":                     {one(relay.DestinationState{Paused: true, BreakerOpen: true}), well},
		"config-topics:kafka-a:1":            {one(relay.DestinationState{Topics: map[string]relay.Outcome{"t": {}}}), well},
		"refused-lanes:kafka-a:2":            {one(relay.DestinationState{Refused: 2}), well},
		"breaker:kafka-a cache-full:kafka-a": {one(relay.DestinationState{BreakerOpen: true, CacheFull: now}), well},
		"blocked-keys:38":                    {relay.Status{Owner: true, ClosedKeys: 38}, well},
		"dead:1204": {relay.Status{Owner: true}, counts(func(c *Counts) {
			c.Held = map[string]map[relay.HeldState]float64{"a": {relay.Dead: 1200}, "b": {relay.Dead: 4}}
		})},
		"stuck:10000+":   {relay.Status{Owner: true}, counts(func(c *Counts) { c.TooOld = relay.CountCap + 1 })},
		"paused:kafka-a": {relay.Status{Owner: true, Destinations: []relay.DestinationState{{Name: "kafka-a", BreakerOpen: true, Stopped: &relay.PausedDestination{Actor: "a"}}}}, well},
		"partitions":     {relay.Status{Owner: true}, counts(func(c *Counts) { c.Ahead = 0 })},
		"no-standby":     {relay.Status{Owner: true}, counts(func(c *Counts) { c.Relays = 1 })},
	} {
		if got := strings.Join(degraded(c.st, c.counts), " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := degraded(relay.Status{Owner: true}, Counts{}); len(got) > 0 {
		t.Errorf("before the first count: %v", got)
	}

	tel := observed(t, io.Discard)
	tel.SetCounts(counts(func(c *Counts) { c.Relays = 1 }))
	get := func(h Health) (int, string) {
		w := httptest.NewRecorder()
		tel.Handler("/metrics", func() Health { return h }).ServeHTTP(w, httptest.NewRequest("GET", "/degradedz?verbose", nil))
		return w.Code, w.Body.String()
	}
	st := one(relay.DestinationState{BreakerOpen: true})
	if code, body := get(Health{Status: func() relay.Status { return st }}); code != 503 || !strings.Contains(body, `"reasons":["breaker:kafka-a","no-standby"]`) {
		t.Errorf("an owner: %d %s", code, body)
	}
	standby := Health{Status: func() relay.Status { return relay.Status{} }, Database: func(context.Context) error { return nil }}
	if code, body := get(standby); code != 200 || !strings.Contains(body, "standby") {
		t.Errorf("a standby: %d %s", code, body)
	}
	standby.Database = func(context.Context) error { return errors.New("connection refused") }
	if code, body := get(standby); code != 503 || !strings.Contains(body, "connection refused") {
		t.Errorf("a standby without a database: %d %s", code, body)
	}
}
