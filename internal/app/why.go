package app

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

// Verdict is the answer to "why": one of a closed list.
type Verdict string

// The verdicts.
const (
	WhyOK          Verdict = "ok" // nothing holds anything up
	WhySent        Verdict = "sent"
	WhyQueued      Verdict = "queued"
	WhyInFlight    Verdict = "in_flight"
	WhyScheduled   Verdict = "scheduled"
	WhyRetrying    Verdict = "retrying"
	WhyBlocked     Verdict = "blocked"
	WhyDead        Verdict = "dead"
	WhyBreakerOpen Verdict = "breaker_open"
	WhyConfig      Verdict = "destination_config"
	WhyPaused      Verdict = "destination_paused"
	WhyPartly      Verdict = "lanes_refused"
	WhyNoRoute     Verdict = "no_route"
	WhyBehind      Verdict = "relay_behind"
	WhyNoOwner     Verdict = "no_owner"
	WhyStalled     Verdict = "owner_stalled"
	WhyDatabase    Verdict = "database_down"
	WhyDiscarded   Verdict = "discarded"
	WhyRemoved     Verdict = "removed"
	WhyUnknownID   Verdict = "unknown_id"
)

// Verdicts lists every verdict.
var Verdicts = []Verdict{WhyOK, WhySent, WhyQueued, WhyInFlight, WhyScheduled, WhyRetrying, WhyBlocked, WhyDead, WhyBreakerOpen, WhyConfig, WhyPaused, WhyPartly, WhyNoRoute,
	WhyBehind, WhyNoOwner, WhyStalled, WhyDatabase, WhyDiscarded, WhyRemoved, WhyUnknownID}

// Healthy says that nobody has to do anything.
func (v Verdict) Healthy() bool {
	return slices.Contains([]Verdict{WhyOK, WhySent, WhyQueued, WhyInFlight, WhyScheduled, WhyDiscarded, WhyRemoved}, v)
}

// Answer is what Why found: the verdict, since when, what shows it, and what to do.
type Answer struct {
	Verdict  Verdict
	Subject  string // message 17, key 4711 of order.paid, destination kafka-a, outbox
	Since    time.Time
	Evidence []string
	Next     []string
}

// View is the answer for programs.
func (a Answer) View() view.Why {
	return view.Why{Verdict: string(a.Verdict), Subject: a.Subject, Since: a.Since, Evidence: a.Evidence, Next: a.Next}
}

// Snapshot is everything that Why looks at, at one moment. Nil and zero parts are not known or not asked for.
type Snapshot struct {
	Database error           // why the database could not be asked; nil = it could
	Overview *relay.Overview // nil only with Database

	Ref     string // message: what the person wrote
	RefID   relay.ID
	Message *relay.MessageInfo
	Head    *relay.MessageInfo // of its key, when it is blocked

	Key       relay.Key // key
	KeyInfo   *relay.KeyInfo
	KeyInfoOf *relay.MessageInfo // its head

	Destination string // destination

	Routed      *Routed       // where the message's topic leads; nil = not known here
	Lease       time.Duration // of the configuration; 0 = not known
	Stuck       time.Duration // stuck_after
	MaxAttempts int           // max_attempts; 0 = none
}

// Routed is where the routes of the configuration lead a topic.
type Routed struct {
	Route       string // empty = none takes it
	Destination string
	Certain     bool   // no header decides
	Nearest     string // the route that is nearly right, and the pattern that did not match
}

// Why answers for a message, a key, a destination, or, with none of them, for the whole outbox. Pure.
func Why(s Snapshot) Answer {
	a := Answer{Subject: s.subject(), Evidence: []string{}, Next: []string{}}
	switch {
	case s.Database != nil || s.Overview == nil:
		a.Verdict = WhyDatabase
		if s.Database != nil {
			a.say("%v", s.Database)
		}
		a.do("what is committed stays; nothing is published until the database answers. Look at the server and at database.url")
	case s.Ref != "":
		s.whyMessage(&a)
	case s.Key != relay.Key{}:
		s.whyKey(&a)
	case s.Destination != "":
		s.whyDestination(&a, s.Destination)
		if a.Verdict == "" && !s.whyOwner(&a) {
			a.Verdict = WhyOK
			a.say("%s takes messages", s.Destination)
		}
	default:
		s.whyOutbox(&a)
	}
	return a
}

func (a *Answer) say(format string, args ...any) {
	a.Evidence = append(a.Evidence, fmt.Sprintf(format, args...))
}

func (a *Answer) do(format string, args ...any) {
	a.Next = append(a.Next, fmt.Sprintf(format, args...))
}

func (a *Answer) is(v Verdict, since time.Time) { a.Verdict, a.Since = v, since }

func (s *Snapshot) subject() string {
	switch {
	case s.Message != nil:
		return "message " + s.Message.ID.String()
	case s.Ref != "":
		return "message " + s.Ref
	case s.Key != relay.Key{}:
		return "key " + s.Key.Key + " of " + s.Key.Topic
	case s.Destination != "":
		return "destination " + s.Destination
	}
	return "outbox"
}

// whyOutbox names the worst of what is stuck.
func (s *Snapshot) whyOutbox(a *Answer) {
	o := s.Overview
	waiting := o.Pending > 0 || o.Held[relay.Retrying] > 0
	if s.whyOwner(a) {
		a.say("%s messages are pending", o.Pending)
		return
	}
	for _, name := range s.Overview.Reported() {
		if o.StoppedBy(name) != nil {
			continue // somebody knows
		}
		if s.whyDestination(a, name); a.Verdict != "" {
			if waiting {
				a.say("%s messages are pending", o.Pending)
			}
			return
		}
	}
	switch {
	case o.Held[relay.Dead] > 0:
		a.is(WhyDead, time.Time{})
		flows := "everything else flows"
		if len(o.Paused) > 0 {
			flows = "everything flows but for what people have paused"
		}
		a.say("%s messages are dead, %s keys are closed with %s messages behind their heads; %s", o.Held[relay.Dead], o.Closed, o.Held[relay.Blocked], flows)
		a.do("waybill message list state:dead")
	case len(o.Paused) > 0:
		for i := range o.Paused {
			s.whyStopped(a, &o.Paused[i], o.Paused[i].Destination)
		}
		if waiting {
			a.say("%s messages are pending", o.Pending)
		}
	case s.Stuck > 0 && !o.OldestAt.IsZero() && o.Now.Sub(o.OldestAt) > s.Stuck:
		a.is(WhyBehind, o.OldestAt)
		a.say("the oldest pending message was written %s ago, %s are pending", ago(o.Now, o.OldestAt), o.Pending)
		a.do("it is being worked through: compare the pending count again; if it grows, more is written than the destination takes")
	default:
		a.Verdict = WhyOK
		a.say("%s messages are pending, %s are retrying", o.Pending, o.Held[relay.Retrying])
	}
}

// whyOwner answers when nobody works the outbox.
func (s *Snapshot) whyOwner(a *Answer) bool {
	o := s.Overview
	if !o.Alive {
		a.is(WhyNoOwner, o.LeaseUntil)
		switch {
		case o.Owner == "":
			a.say("no relay ever owned this outbox")
		case o.Released:
			a.say("the last owner, %s (epoch %d), gave it back", o.Owner, o.Epoch)
		default:
			a.say("the lease of %s (epoch %d) ended %s ago", o.Owner, o.Epoch, ago(o.Now, o.LeaseUntil))
		}
		if len(o.Relays) == 0 {
			a.say("no relay was seen in the last 15 s")
			a.do("start one: waybill run")
		} else {
			a.say("standbys seen: %s", instances(o.Relays))
			a.do("one of them should take over within 5 s; if not, read its log")
		}
		return true
	}
	if left := o.LeaseUntil.Sub(o.Now); s.Lease > 0 && left < s.Lease/2 {
		a.is(WhyStalled, o.LeaseUntil.Add(-s.Lease))
		a.say("%s (epoch %d) renewed its lease %s ago, three times as long as usual; it ends in %s", o.Owner, o.Epoch, round(s.Lease-left), round(left))
		a.do("look at that process and at its way to the database; a standby takes over when the lease ends")
		if len(o.Relays) < 2 {
			a.do("no standby was seen: start another relay")
		}
		return true
	}
	return false
}

// whyDestination answers when a destination takes nothing.
func (s *Snapshot) whyDestination(a *Answer, name string) {
	if p := s.Overview.StoppedBy(name); p != nil {
		s.whyStopped(a, p, name)
		return
	}
	st, by := s.Overview.Destination(name)
	if by == "" {
		return
	}
	switch st.State {
	case relay.DestinationOpen:
		a.is(WhyBreakerOpen, st.Since)
		a.say("%s cannot be reached or does not answer: %s", name, orUnknown(st.Detail))
		if st.Cached > 0 {
			a.say("%d of its messages wait in the degraded cache of %s, the others in the table", st.Cached, by)
		}
		if !st.CacheFull.IsZero() {
			a.say("the degraded cache takes nothing more since %s: its bound, or cache.min_free of the disk, is reached", st.CacheFull.UTC().Format(time.RFC3339))
		}
		a.do("nothing, unless it says so above: it is probed, messages wait and lose no attempt, and leave in order when it is back")
	case relay.DestinationConfig:
		a.is(WhyConfig, st.Since)
		a.say("%s refuses until something is changed: %s", name, orUnknown(st.Detail))
		a.do("change it; it is tried again every 30 s, and no message loses an attempt")
	case relay.DestinationPartly:
		a.is(WhyPartly, st.Since)
		a.say("%s answers, and refuses what goes to some of its lanes: %s", name, orUnknown(st.Detail))
		a.do("look at those partitions; they are tried again at least every 30 s, the other lanes go on, and no message loses an attempt to a missing leader or replica")
	}
}

// whyStopped answers when a person stopped a destination, or with an empty name all of them.
func (s *Snapshot) whyStopped(a *Answer, p *relay.PausedDestination, name string) {
	if a.Verdict == "" || p.At.Before(a.Since) {
		a.is(WhyPaused, p.At)
	}
	what, resume := name+" is", name
	if p.Destination == "" {
		what, resume = "all destinations are", "--all"
	}
	a.say("%s paused by %s since %s (%s) because: %s", what, p.Actor, p.At.UTC().Format(time.RFC3339), round(s.Overview.Now.Sub(p.At)), p.Reason)
	if p.Until.IsZero() {
		a.do("its messages wait and lose no attempt. When the reason is gone: waybill destination resume %s", resume)
		return
	}
	a.say("the pause ends by itself at %s, in %s", p.Until.UTC().Format(time.RFC3339), round(p.Until.Sub(s.Overview.Now)))
	a.do("its messages wait and lose no attempt. When the reason is gone before: waybill destination resume %s", resume)
}

func (s *Snapshot) whyKey(a *Answer) {
	k := s.KeyInfo
	if k == nil {
		a.Verdict = WhyOK
		a.say("the key is open: none of its messages is dead, retrying or blocked")
		return
	}
	head := s.headAnswer(s.KeyInfoOf)
	a.is(WhyBlocked, k.Since)
	a.say("%s messages wait behind %d, which is %s", k.Behind, k.Head, orDefault(string(head.Verdict), string(k.State)))
	a.Evidence, a.Next = append(a.Evidence, head.Evidence...), append(a.Next, head.Next...)
}

// headAnswer is the answer for the head of a key, from the same snapshot.
func (s *Snapshot) headAnswer(head *relay.MessageInfo) Answer {
	if head == nil {
		return Answer{}
	}
	h := *s
	h.Ref, h.Message, h.Head, h.Key, h.Routed = head.ID.String(), head, nil, relay.Key{}, nil
	return Why(h)
}

func ago(now, then time.Time) string { return round(now.Sub(then)) }

// round writes a duration as people say it.
func round(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute)/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour)/time.Hour))
	}
	return fmt.Sprintf("%d d", int(d.Round(24*time.Hour)/(24*time.Hour)))
}

func instances(relays []relay.RelayInfo) string {
	names := make([]string, len(relays))
	for i, r := range relays {
		names[i] = r.Instance
	}
	return strings.Join(names, ", ")
}

func orUnknown(s string) string { return orDefault(s, "the relay gave no reason") }

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
