package app

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// The whole story on a real PostgreSQL, without a person: every step shows in what the product reports, in time, and the proof is clean.
func TestDemoScript(t *testing.T) {
	var said bytes.Buffer
	r, err := Demo(t.Context(), DemoOptions{Script: true, PgBin: testservices.PostgresBin(t, 18), Dir: demoFolder(t), Rate: 40, LogTo: testWriter{t}, Progress: &said, Version: "test"})
	t.Logf("%s", said.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !r.Green() || r.Written < 100 || r.Sent != r.Written || r.Stored != r.Written {
		t.Errorf("%+v", r)
	}
	rest := said.String()
	for _, c := range scenes {
		_, after, there := strings.Cut(rest, c.did)
		if !there {
			t.Errorf("not said, or not in its turn: %s", c.did)
		}
		rest = after
	}
}

// quietSight is an outbox in which nothing is wrong.
func quietSight() *sight {
	return &sight{Answer: Answer{Verdict: WhyOK}, Overview: relay.Overview{LowWater: 7, Held: map[relay.HeldState]relay.Count{}},
		Broker: relay.DestinationStatus{State: relay.DestinationClosed}}
}

// What each step must not take for its sign.
func TestScenesAreNotSeenTooEarly(t *testing.T) {
	since := time.Unix(1000, 0)
	outage := func(s *sight) {
		s.Verdict, s.Since, s.Broker = WhyBreakerOpen, since, relay.DestinationStatus{State: relay.DestinationOpen, Since: since}
	}
	poisoned, retried := "limit of "+demoTightTopic+" lowered", "limit restored, dead retried"
	poison := func(s *sight) { s.Verdict, s.Held[relay.Dead], s.Held[relay.Blocked] = WhyDead, scriptDead, 1 }
	done := func(s *sight) { s.Operation.State = relay.OperationDone }
	for name, c := range map[string]struct {
		did  string
		see  func(*sight)
		want bool
	}{
		"flows":                      {"shop, relay and broker run", func(*sight) {}, true},
		"nothing sent yet":           {"shop, relay and broker run", func(s *sight) { s.LowWater = 0 }, false},
		"no owner":                   {"shop, relay and broker run", func(s *sight) { s.Verdict = WhyNoOwner }, false},
		"not reported yet":           {"shop, relay and broker run", func(s *sight) { s.Broker.State = "" }, false},
		"outage":                     {"broker stopped", outage, true},
		"outage that nobody noticed": {"broker stopped", func(*sight) {}, false},
		"outage since nobody knows":  {"broker stopped", func(s *sight) { outage(s); s.Since = time.Time{} }, false},
		"an attempt was spent":       {"broker stopped", func(s *sight) { outage(s); s.Held[relay.Retrying] = 1 }, false},
		"a message died of it":       {"broker stopped", func(s *sight) { outage(s); s.Held[relay.Dead] = 1 }, false},
		"cache":                      {"the shop goes on", func(s *sight) { outage(s); s.Broker.Cached = scriptCached }, true},
		"empty cache":                {"the shop goes on", outage, false},
		"back":                       {"broker back", func(*sight) {}, true},
		"still cached":               {"broker back", func(s *sight) { s.Broker.Cached = 1 }, false},
		"still down":                 {"broker back", outage, false},
		"poison":                     {poisoned, poison, true},
		"nothing waits behind it":    {poisoned, func(s *sight) { poison(s); s.Held[relay.Blocked] = 0 }, false},
		"too few":                    {poisoned, func(s *sight) { poison(s); s.Held[relay.Dead] = scriptDead - 1 }, false},
		"retried":                    {retried, done, true},
		"the retry runs":             {retried, func(s *sight) { done(s); s.Operation.State = relay.OperationRunning }, false},
		"it stopped by itself":       {retried, func(s *sight) { done(s); s.Operation.State = relay.OperationStopped }, false},
		"nobody retried":             {retried, func(s *sight) { done(s); s.Operation = relay.Operation{} }, false},
		"one is dead":                {retried, func(s *sight) { done(s); s.Held[relay.Dead] = 1 }, false},
		"one waits":                  {retried, func(s *sight) { done(s); s.Held[relay.Blocked] = 1 }, false},
		"a key is closed":            {retried, func(s *sight) { done(s); s.Closed = 1 }, false},
	} {
		s := quietSight()
		c.see(s)
		if got := sceneOf(t, c.did).seen(s); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func sceneOf(t *testing.T, did string) *scene {
	t.Helper()
	for i := range scenes {
		if scenes[i].did == did {
			return &scenes[i]
		}
	}
	t.Fatalf("there is no scene %q", did)
	return nil
}

// A step that does not show ends the script in time, with what was expected and what the status says instead.
func TestScriptSaysWhatDoesNotShow(t *testing.T) {
	for name, c := range map[string]struct {
		order, look error
		ended       bool // from outside
		want        string
	}{
		"never seen":          {want: `the status says no_owner: nobody works; start one`},
		"refused":             {order: errors.New("it is stopped already"), want: "break broker: it is stopped already"},
		"database down":       {look: errors.New("connection refused"), want: "the status says no_owner"},
		"ended by its person": {ended: true, want: "it was ended before"},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.ended {
				time.AfterFunc(time.Second, cancel)
			}
			var out bytes.Buffer
			s := &script{out: &out, order: func(context.Context, string) error { return c.order },
				look: func(context.Context) (sight, error) {
					return sight{Answer: Answer{Verdict: WhyNoOwner, Evidence: []string{"nobody works"}, Next: []string{"start one"}}}, c.look
				}}
			began := time.Now()
			limited, done := context.WithTimeout(ctx, scriptLimit)
			defer done()
			err := s.play(limited, sceneOf(t, "broker stopped"))
			if err == nil || !strings.Contains(err.Error(), c.want) || out.Len() > 0 || time.Since(began) > scriptLimit+time.Second {
				t.Errorf("%s: after %s: %v %s", name, time.Since(began), err, out.Bytes())
			}
		})
	}
}
