package relaytest

import (
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Script decides how a call of Publish is answered.
type Script func(call Call) Answer

// Answer is how one call of Publish is answered. The zero value means: normally, as the broker is.
type Answer struct {
	outcome func(i int, m *relay.Message) relay.Outcome // what the caller hears; acked ones are stored
	lost    bool                                        // stored, and unknown to the caller
	late    time.Duration                               // with lost: stored only after this time
	hang    bool                                        // nothing is answered until the context ends
	wait    time.Duration                               // before anything happens
	set     bool
}

// Ack stores and confirms the whole batch.
func Ack() Answer {
	return Each(func(int, *relay.Message) relay.Outcome { return relay.Outcome{Kind: relay.Acked} })
}

// Refuse stores nothing and gives o to every message.
func Refuse(o relay.Outcome) Answer {
	return Each(func(int, *relay.Message) relay.Outcome { return o })
}

// Each gives every message its own outcome, and stores the acked ones in order.
func Each(outcome func(i int, m *relay.Message) relay.Outcome) Answer {
	return Answer{outcome: outcome, set: true}
}

// Prefix stores and confirms the first n messages and gives o to the others.
func Prefix(n int, o relay.Outcome) Answer {
	return Each(func(i int, _ *relay.Message) relay.Outcome {
		if i < n {
			return relay.Outcome{Kind: relay.Acked}
		}
		return o
	})
}

// LoseAnswer stores the batch and answers Unknown: the confirmation was lost.
func LoseAnswer() Answer {
	a := Refuse(relay.Outcome{Kind: relay.Unknown, Class: relay.ClassCut, Code: "test/CUT", Detail: "the connection was cut after the broker had stored the batch"})
	a.lost = true
	return a
}

// LoseBatch stores nothing and answers Unknown: the request was lost.
func LoseBatch() Answer {
	return Refuse(relay.Outcome{Kind: relay.Unknown, Class: relay.ClassTimeout, Code: "test/TIMEOUT", Detail: "the broker did not answer in time"})
}

// Late answers Unknown now and stores the batch only after d, perhaps behind newer ones: bytes of a cut connection that arrive when the network heals.
func Late(d time.Duration) Answer {
	a := LoseAnswer()
	a.late = d
	return a
}

// Hang stores nothing and answers nothing until the context of the call ends: a black hole for one call.
func Hang() Answer { return Answer{hang: true, set: true} }

// After makes the answer wait first. If the context ends meanwhile, nothing is stored and the answer is Unknown.
func (a Answer) After(d time.Duration) Answer {
	a.wait = d
	return a
}

// Outcomes that scripts use most.
var (
	Unreachable = relay.Outcome{Kind: relay.Unavailable, Class: relay.ClassUnreachable, Code: "test/UNREACHABLE", Detail: "the broker cannot be reached; start it"}
	LaneGone    = relay.Outcome{Kind: relay.Unavailable, Scope: relay.ScopeLane, Class: relay.ClassUnreachable, Code: "test/NO_LEADER", Detail: "the lane has no leader"}
	NoTopic     = relay.Outcome{Kind: relay.Config, Scope: relay.ScopeTopic, Class: relay.ClassUnknownTopic, Code: "test/UNKNOWN_TOPIC", Detail: "the topic does not exist; create it"}
	Poisoned    = relay.Outcome{Kind: relay.Rejected, Class: relay.ClassRefused, Code: "test/POISON", Detail: "the broker refuses this message"}
	BehindIt    = relay.Outcome{Kind: relay.Unavailable, Scope: relay.ScopeKey, Class: relay.ClassRefused, Code: "test/BEHIND", Detail: "an earlier message of its key failed"}
	cut         = relay.Outcome{Kind: relay.Unknown, Class: relay.ClassCut, Code: "test/CANCELLED", Detail: "the call ended before the broker had answered"}
)
