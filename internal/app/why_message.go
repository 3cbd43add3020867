package app

import (
	"time"

	"github.com/waybillmq/waybill/relay"
)

func (s *Snapshot) whyMessage(a *Answer) {
	m := s.Message
	if m == nil {
		s.whyMissing(a)
		return
	}
	switch m.State {
	case relay.StateSent:
		s.whySent(a, m)
	case relay.StateDiscarded:
		a.is(WhyDiscarded, m.DiscardedAt)
		a.say("given up by %s: %s", orDefault(m.DiscardedBy, "a person (the activity log says who)"), orDefault(m.Reason, "the activity log says why"))
		a.do("to take it back while its row exists: waybill message retry %d --reason …  (later messages of its key went first)", m.ID)
	case relay.StateDead:
		s.whyDead(a, m)
	default:
		s.whyPending(a, m)
	}
}

func (s *Snapshot) whyMissing(a *Answer) {
	switch o := s.Overview; {
	case s.RefID == 0:
		a.Verdict = WhyUnknownID
		a.say("no message has this message id; it was never committed, or was dropped by retention")
	case s.RefID > o.LastID:
		a.Verdict = WhyUnknownID
		a.say("the id was never drawn: the highest one is %d", o.LastID)
	case s.RefID < o.FirstID:
		a.Verdict = WhyRemoved
		a.say("the partition that held it was dropped by retention: the lowest id kept is %d. Only what is sent or discarded is ever dropped", o.FirstID)
	default:
		a.Verdict = WhyUnknownID
		a.say("the id was drawn, and no committed message has it: its transaction was rolled back, or is still open. Gaps in ids are normal")
	}
}

func (s *Snapshot) whySent(a *Answer, m *relay.MessageInfo) {
	a.Verdict = WhySent
	if len(m.Places) == 0 {
		a.say("it is marked as sent, and its receipt was already dropped by retention")
	}
	for _, p := range m.Places {
		a.Since = p.AckedAt
		where := p.Lane
		if p.HasOffset {
			a.say("%s confirmed it in %s at offset %d, %s after it was written (epoch %d)", p.Destination, where, p.Offset, round(p.AckedAt.Sub(m.CreatedAt)), p.Epoch)
		} else {
			a.say("%s confirmed it in %s, without an offset (epoch %d)", p.Destination, where, p.Epoch)
		}
	}
}

func (s *Snapshot) whyDead(a *Answer, m *relay.MessageInfo) {
	a.is(WhyDead, m.FirstFailedAt)
	s.sayFailure(a, m)
	switch {
	case m.Passed:
		a.say("its key goes on without it")
	case m.Behind > 0:
		a.say("it holds back %s later messages of its key", m.Behind)
	}
	switch m.Class {
	case relay.ClassTooLarge:
		a.do("raise the limit of the topic at the broker, then: waybill message retry %d --reason …", m.ID)
	default:
		a.do("mend the cause, then: waybill message retry %d --reason …", m.ID)
	}
	if m.Key != "" && !m.Passed {
		a.do("or let its key go on: waybill message skip %d --reason …", m.ID)
	}
	a.do("or give it up: waybill message discard %d --reason …", m.ID)
}

func (s *Snapshot) sayFailure(a *Answer, m *relay.MessageInfo) {
	if m.Outcome == "" {
		return
	}
	what := m.Class
	if m.Code != "" {
		what += ", " + m.Code
	}
	a.say("%s: %s on attempt %d (%s): %s", orDefault(m.Destination, "the destination"), m.Outcome, m.Attempts, what, orDefault(m.Error, "no more is known"))
}

// whyPending looks for the cause from the outside in: owner, destination, key, the message itself.
func (s *Snapshot) whyPending(a *Answer, m *relay.MessageInfo) {
	o := s.Overview
	due := m.DueAt
	if due.IsZero() {
		due = m.DeliverAfter
	}
	if m.Detail == string(relay.Scheduled) && due.After(o.Now) {
		a.is(WhyScheduled, m.CreatedAt)
		a.say("it is to be delivered after %s, in %s", due.Format(time.RFC3339), round(due.Sub(o.Now)))
		return
	}
	if m.Detail == string(relay.Blocked) && m.DueAt.IsZero() && m.Head != 0 {
		s.whyBlocked(a, m)
		return
	}
	if s.whyOwner(a) {
		return
	}
	if s.Routed != nil && s.Routed.Route == "" && m.Destination == "" {
		a.is(WhyNoRoute, m.CreatedAt)
		a.say("no route takes topic %s%s", m.Topic, prefixed("; the nearest is ", s.Routed.Nearest))
		a.do("add a route to config.yaml and start the relay anew; the message waits and loses no attempt")
		return
	}
	name := s.destinationOf(m)
	if p := o.StoppedBy(name); p != nil { // with all others, also where its own is not known
		s.whyStopped(a, p, name)
		return
	}
	if name != "" {
		if st, _ := s.Overview.Destination(name); st.State != relay.DestinationPartly || s.late(m) { // else it waits for nothing but its turn
			s.whyDestination(a, name)
		}
		if a.Verdict != "" {
			return
		}
	}
	s.whyMoving(a, m)
}

// whyMoving is for a message whose way is free.
func (s *Snapshot) whyMoving(a *Answer, m *relay.MessageInfo) {
	o := s.Overview
	switch {
	case m.Sending || m.Detail == "" && m.Claimed && m.ID <= o.ReadUpTo:
		a.is(WhyInFlight, m.CreatedAt)
		a.say("it was handed to %s, and the answer is not settled yet", orDefault(s.destinationOf(m), "its destination"))
		if !m.Sending && s.late(m) {
			a.say("it was written %s ago: its lane may be repeating an unanswered batch", ago(o.Now, m.CreatedAt))
		}
	case m.Detail == string(relay.Retrying):
		a.is(WhyRetrying, m.FirstFailedAt)
		s.sayFailure(a, m)
		a.say("attempt %d%s %s", m.Attempts+1, ofMost(s.MaxAttempts), when(o.Now, m.DueAt))
		a.do("to try at once: waybill message retry %d --reason …", m.ID)
	case m.Detail == "" && s.late(m):
		a.is(WhyBehind, m.CreatedAt)
		a.say("it was written %s ago and %s pending messages are before it", ago(o.Now, m.CreatedAt), m.Before)
		a.do("it is being worked through: ask again; if the number does not fall, more is written than the destination takes")
	default:
		a.is(WhyQueued, m.CreatedAt)
		if m.Detail == "" {
			a.say("%s pending messages are before it", m.Before)
		} else {
			a.say("it is its turn, and waits for the relay to take it")
		}
		if o.QuietUntil.After(o.Now) {
			a.say("after a take-over nothing goes to brokers without a fence for another %s", round(o.QuietUntil.Sub(o.Now)))
		}
	}
}

func (s *Snapshot) whyBlocked(a *Answer, m *relay.MessageInfo) {
	a.is(WhyBlocked, m.CreatedAt)
	head := s.headAnswer(s.Head)
	a.say("it waits behind message %d of its key, which is %s", m.Head, orDefault(string(head.Verdict), string(m.HeadState)))
	a.Evidence, a.Next = append(a.Evidence, head.Evidence...), append(a.Next, head.Next...)
}

func (s *Snapshot) destinationOf(m *relay.MessageInfo) string {
	if m.Destination == "" && s.Routed != nil && s.Routed.Certain {
		return s.Routed.Destination
	}
	return m.Destination
}

func (s *Snapshot) late(m *relay.MessageInfo) bool {
	return s.Stuck > 0 && s.Overview.Now.Sub(m.CreatedAt) > s.Stuck
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func ofMost(n int) string {
	if n == 0 {
		return ""
	}
	return " of " + relay.ID(n).String()
}

func when(now, due time.Time) string {
	if due.After(now) {
		return "comes within " + round(due.Sub(now))
	}
	return "is due now"
}
