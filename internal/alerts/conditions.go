package alerts

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Rule is a kind of alert.
type Rule string

// The rules.
const (
	Stuck       Rule = "stuck"       // messages are pending for too long
	Dead        Rule = "dead"        // messages are dead; one alert for each failure group
	Blocked     Rule = "blocked"     // keys wait behind a dead or retrying message
	Destination Rule = "destination" // a destination takes nothing, or not everything
	NoOwner     Rule = "no_owner"    // no relay works the outbox, or its database does not answer
	CacheFull   Rule = "cache_full"  // the degraded cache takes nothing more of a destination
)

// lasting is how long each rule must hold before it is an alert: what mends itself in that time wakes nobody.
var lasting = map[Rule]time.Duration{Stuck: 5 * time.Minute, Dead: 0, Blocked: 15 * time.Minute, Destination: 5 * time.Minute, NoOwner: 2 * time.Minute, CacheFull: 5 * time.Minute}

// configLasting is that of a destination that waits for a person.
const configLasting = 2 * time.Minute

// pausedLasting is that of a destination that a person has stopped: somebody knows, until they have forgotten.
const pausedLasting = 4 * time.Hour

// Facts are the state of an outbox at one moment.
type Facts struct {
	Err        error // the outbox could not be looked at; the rest is empty
	Overview   relay.Overview
	Failures   []relay.FailureGroup
	StuckAfter time.Duration
}

// Condition is something that holds now. It has no key, payload or broker's text in it: what is posted leaves the house.
type Condition struct {
	Rule        Rule
	Destination string // empty = the whole outbox
	Failure     string // of a failure group; else empty
	Headline    string
	Count       relay.Count // messages or keys; 0 = has none
	Since       time.Time   // where it is known better than by when it was first seen
	Page        string      // of the dashboard
	Next        string      // a command
	lasting     time.Duration
}

// ID names an alert of an outbox: the same for as long as it lasts, whoever posts it.
func (c Condition) ID() string {
	return string(c.Rule) + "/" + c.Destination + "/" + c.Failure
}

// Conditions lists what holds, by the rules that are wanted, in a stable order.
func Conditions(f Facts, rules []Rule) (all []Condition) {
	o := f.Overview
	if f.Err != nil {
		all = append(all, Condition{Rule: NoOwner, Headline: "the database cannot be asked: nothing is published until it answers", Page: "/", Next: "waybill doctor --only database"})
	} else {
		if !o.Alive {
			all = append(all, Condition{Rule: NoOwner, Headline: "no relay owns the outbox: nothing is published", Since: o.LeaseUntil, Page: "/", Next: "waybill why"})
		}
		if !o.OldestAt.IsZero() && o.Now.Sub(o.OldestAt) > f.StuckAfter {
			all = append(all, Condition{Rule: Stuck, Count: o.Pending, Since: o.OldestAt, Page: "/messages?q=state%3Apending", Next: "waybill why",
				Headline: fmt.Sprintf("%s pending, the oldest was written %s", many(o.Pending, "message is", "messages are"), o.OldestAt.UTC().Format(time.RFC3339))})
		}
		if o.Closed > 0 {
			all = append(all, Condition{Rule: Blocked, Count: o.Closed, Page: "/keys", Next: "waybill key list",
				Headline: fmt.Sprintf("%s behind a dead or retrying message, with %s", many(o.Closed, "key waits", "keys wait"), many(o.Held[relay.Blocked], "message", "messages"))})
		}
		all = append(append(all, destinations(o)...), dead(f.Failures)...)
	}
	all = slices.DeleteFunc(all, func(c Condition) bool { return !slices.Contains(rules, c.Rule) })
	for i := range all {
		if all[i].lasting == 0 {
			all[i].lasting = lasting[all[i].Rule]
		}
	}
	slices.SortFunc(all, func(a, b Condition) int { return cmp.Compare(a.ID(), b.ID()) })
	return all
}

// troubles are what a destination may be in, in words that name no topic and no address.
var troubles = map[string]string{
	relay.DestinationOpen:   "does not answer; its messages wait and lose no attempt",
	relay.DestinationConfig: "refuses until a person changes something",
	relay.DestinationPaused: "is paused by a person, and messages wait until it is resumed",
	relay.DestinationPartly: "refuses what goes to some of its lanes",
}

func destinations(o relay.Overview) (all []Condition) {
	for _, name := range o.Reported() {
		st, by := o.Destination(name)
		if by == "" {
			continue
		}
		if !st.CacheFull.IsZero() {
			all = append(all, Condition{Rule: CacheFull, Destination: name, Since: st.CacheFull, Page: "/destinations", Next: "waybill doctor --only relay",
				Headline: "the degraded cache takes nothing more for " + name + "; what comes now waits in the table"})
		}
		words, trouble := troubles[st.State]
		if !trouble {
			continue
		}
		c := Condition{Rule: Destination, Destination: name, Headline: name + " " + words, Since: st.Since, Page: "/destinations", Next: "waybill why --destination " + name}
		switch st.State {
		case relay.DestinationConfig:
			c.lasting = configLasting
		case relay.DestinationPaused:
			c.lasting = pausedLasting
		}
		all = append(all, c)
	}
	return all
}

func dead(groups []relay.FailureGroup) (all []Condition) {
	for _, g := range groups {
		if g.Dead == 0 {
			continue
		}
		filter := "state:dead failure:" + g.ID.String()
		all = append(all, Condition{Rule: Dead, Destination: g.Destination, Failure: g.ID.String(), Count: g.Dead, Since: g.First, Page: "/messages?q=" + url.QueryEscape(filter),
			Next: "waybill message list '" + filter + "'", Headline: fmt.Sprintf("%s dead at %s: %s", many(g.Dead, "message is", "messages are"), g.Destination, cmp.Or(g.Class, "unknown cause"))})
	}
	return all
}

func many(n relay.Count, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return n.String() + " " + more
}

// Posts says whether this relay is the one that posts: the owner, or while there is none the first of those that live.
func Posts(o relay.Overview, instance string, owner bool) bool {
	if owner || o.Alive {
		return owner
	}
	first := ""
	for _, r := range o.Relays {
		if first == "" || r.Instance < first {
			first = r.Instance
		}
	}
	return first == instance
}
