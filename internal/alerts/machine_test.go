package alerts

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

var start = time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)

var every = []Rule{Stuck, Dead, Blocked, Destination, NoOwner, CacheFull}

func calm() Facts {
	return Facts{StuckAfter: time.Minute, Overview: relay.Overview{Now: start, Alive: true, Held: map[relay.HeldState]relay.Count{}, OldestAt: start.Add(-time.Minute), Pending: 3,
		Relays: []relay.RelayInfo{{Instance: "a", Destinations: map[string]relay.DestinationStatus{"kafka-a": {State: relay.DestinationClosed}}}, {Instance: "b"}}}}
}

// Each row changes one fact: exactly that alert is there, and only when its rule is wanted.
func TestConditions(t *testing.T) {
	if all := Conditions(calm(), every); len(all) > 0 {
		t.Fatalf("a calm outbox: %+v", all)
	}
	state := func(s string) func(*Facts) {
		return func(f *Facts) {
			f.Overview.Relays[0].Destinations["kafka-a"] = relay.DestinationStatus{State: s, Since: start, Detail: "canary: routing key 4711"}
		}
	}
	for name, c := range map[string]struct {
		change   func(*Facts)
		id, says string
		lasting  time.Duration
	}{
		"old": {func(f *Facts) { f.Overview.OldestAt = start.Add(-61 * time.Second) }, "stuck//", "3 messages are pending", 5 * time.Minute},
		"dead": {func(f *Facts) {
			f.Failures = []relay.FailureGroup{{ID: 15, Destination: "kafka-a", Class: "too_large", Dead: relay.CountCap + 1, Error: "canary", Topics: []string{"canary"}}, {ID: 16, Retrying: 3}}
		}, "dead/kafka-a/000000000000000f", "10000+ messages are dead at kafka-a: too_large", 0},
		"keys":   {func(f *Facts) { f.Overview.Closed, f.Overview.Held[relay.Blocked] = 2, 40 }, "blocked//", "2 keys wait behind a dead or retrying message, with 40 messages", 15 * time.Minute},
		"away":   {state(relay.DestinationOpen), "destination/kafka-a/", "kafka-a does not answer", 5 * time.Minute},
		"config": {state(relay.DestinationConfig), "destination/kafka-a/", "kafka-a refuses until", 2 * time.Minute},
		"paused": {func(f *Facts) {
			f.Overview.Paused = []relay.PausedDestination{{Destination: "kafka-a", At: start, Actor: "canary", Reason: "canary"}}
		}, "destination/kafka-a/", "kafka-a is paused by a person", 4 * time.Hour},
		"partly": {state(relay.DestinationPartly), "destination/kafka-a/", "some of its lanes", 5 * time.Minute},
		"cache full": {func(f *Facts) {
			f.Overview.Relays[0].Destinations["kafka-a"] = relay.DestinationStatus{State: relay.DestinationClosed, CacheFull: start}
		}, "cache_full/kafka-a/", "takes nothing more for kafka-a", 5 * time.Minute},
		"no owner": {func(f *Facts) { f.Overview.Alive = false }, "no_owner//", "no relay owns the outbox", 2 * time.Minute},
		"database": {func(f *Facts) { *f = Facts{Err: errors.New("canary")} }, "no_owner//", "the database cannot be asked", 2 * time.Minute},
	} {
		f := calm()
		c.change(&f)
		all := Conditions(f, every)
		if len(all) != 1 || all[0].ID() != c.id || !strings.Contains(all[0].Headline, c.says) || all[0].lasting != c.lasting || all[0].Page == "" || !strings.HasPrefix(all[0].Next, "waybill ") {
			t.Errorf("%s: %+v", name, all)
			continue
		}
		if strings.Contains(fmt.Sprintf("%+v", all), "canary") {
			t.Errorf("%s: a text of others is in it: %+v", name, all)
		}
		others := []Rule{}
		for _, r := range every {
			if r != all[0].Rule {
				others = append(others, r)
			}
		}
		if got := Conditions(f, others); len(got) > 0 {
			t.Errorf("%s: not wanted, and there: %+v", name, got)
		}
	}
}

func TestWhoPosts(t *testing.T) {
	o := calm().Overview
	for _, c := range []struct {
		alive    bool
		instance string
		owner    bool
		want     bool
	}{{true, "b", true, true}, {true, "a", false, false}, {false, "a", false, true}, {false, "b", false, false}, {false, "b", true, true}, {false, "unknown", false, false}} {
		if o.Alive = c.alive; Posts(o, c.instance, c.owner) != c.want {
			t.Errorf("%+v", c)
		}
	}
}

// script runs looks of a machine and returns what was posted, as "minute status id".
type script struct {
	m     *Machine
	posts []string
}

func (s *script) look(minute float64, posts bool, partial func(Rule) bool, conditions ...Condition) {
	at := start.Add(time.Duration(minute * float64(time.Minute)))
	for _, e := range s.m.Step(Look{At: at, Conditions: conditions, Posts: posts, Partial: partial}) {
		s.posts = append(s.posts, fmt.Sprintf("%g %s %s", minute, e.Status, e.ID()))
	}
}

func (s *script) want(t *testing.T, posts ...string) {
	t.Helper()
	if got, want := strings.Join(s.posts, ", "), strings.Join(posts, ", "); got != want {
		t.Errorf("posted: %s\nwant:   %s", got, want)
	}
}

var (
	oneDead = Condition{Rule: Dead, Destination: "k", Failure: "f"}
	away    = Condition{Rule: Destination, Destination: "k", lasting: 5 * time.Minute}
	nobody  = Condition{Rule: NoOwner, lasting: 2 * time.Minute}
)

func TestMachine(t *testing.T) {
	begin := func() *script { return &script{m: NewMachine(4 * time.Hour)} }

	s := begin() // once, again after the repeat, once when it is over
	for _, minute := range []float64{0, 0.25, 60, 239, 240, 241} {
		s.look(minute, true, nil, oneDead)
	}
	s.look(241.5, true, nil)
	s.look(242, true, nil)
	s.look(243, true, nil)
	s.want(t, "0 firing dead/k/f", "240 firing dead/k/f", "242 resolved dead/k/f")

	s = begin() // not before it has lasted, and a gap starts anew
	s.look(0, true, nil, away)
	s.look(4.9, true, nil, away)
	s.look(5, true, nil)
	s.look(6, true, nil, away)
	s.look(10.9, true, nil, away)
	s.look(11, true, nil, away)
	s.want(t, "11 firing destination/k/")

	s = begin() // one that comes and goes within the quiet time is one alert
	s.look(0, true, nil, oneDead)
	for _, minute := range []float64{0.5, 1.5, 2.5} {
		s.look(minute, true, nil)
		s.look(minute+0.4, true, nil, oneDead)
	}
	s.want(t, "0 firing dead/k/f")

	s = begin() // who only keeps track posts nothing; who takes over posts what holds and what ends
	s.look(0, false, nil, oneDead, nobody)
	s.look(3, false, nil, oneDead, nobody)
	s.look(4, true, nil, oneDead, nobody)
	s.look(4.5, true, nil, oneDead)
	s.look(5, true, nil, oneDead)
	s.want(t, "4 firing dead/k/f", "4 firing no_owner//", "5 resolved no_owner//")

	s = begin() // what ended under another relay is not ours to tell
	s.look(0, true, nil, oneDead)
	s.look(1, false, nil)
	s.look(2, true, nil)
	s.want(t, "0 firing dead/k/f")

	s = begin() // what cannot be seen is not over
	blind := func(r Rule) bool { return r != NoOwner }
	s.look(0, true, nil, oneDead)
	for minute := 1.0; minute < 9; minute++ {
		s.look(minute, true, blind, nobody)
	}
	s.look(9, true, nil, oneDead)
	s.look(10, true, nil, oneDead)
	s.want(t, "0 firing dead/k/f", "3 firing no_owner//", "9 resolved no_owner//")
}

// Beginning, until when it counts, and what is known better than by looking.
func TestEventTimes(t *testing.T) {
	m := NewMachine(time.Hour)
	m.Step(Look{At: start, Conditions: []Condition{nobody}, Posts: true})
	at := start.Add(2 * time.Minute)
	e := m.Step(Look{At: at, Conditions: []Condition{nobody}, Posts: true})
	if len(e) != 1 || e[0].Since != start || e[0].At != at || e[0].Until != at.Add(time.Hour+late) {
		t.Errorf("%+v", e)
	}
	e = m.Step(Look{At: at.Add(time.Minute), Posts: true})
	if len(e) != 1 || e[0].Status != Resolved || e[0].Since != start || !e[0].Until.IsZero() {
		t.Errorf("%+v", e)
	}
	known := oneDead
	known.Since = start.Add(-time.Hour)
	if e = m.Step(Look{At: at, Conditions: []Condition{known}, Posts: true}); len(e) != 1 || e[0].Since != known.Since {
		t.Errorf("%+v", e)
	}
}
