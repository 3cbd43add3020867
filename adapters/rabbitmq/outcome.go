package rabbitmq

import (
	"fmt"

	"github.com/waybillmq/waybill/relay"
)

// signal is what came back for a message, or why it was not sent. It is the Code of the outcome, behind "rabbitmq/".
type signal string

const (
	sigAck           signal = "ack"            // confirmed, not returned
	sigReturned      signal = "NO_ROUTE"       // returned, then confirmed: no queue
	sigReturnedQueue signal = "no_queue"       // the same through the default exchange: the queue does not exist
	sigQueueMissing  signal = "NO_QUEUE"       // the same for longer than missingAfter
	sigNack          signal = "nack"           // refused by a queue
	sigNackFull      signal = "queue_full"     // refused by the only queue, which is known to refuse when it is full
	sigBehindAcked   signal = "behind"         // confirmed, but an earlier message of its key was not
	sigBehind        signal = "not_sent"       // not sent, because an earlier message of its key failed
	sigCut           signal = "cut"            // channel or connection ended before the confirm
	sigTimeout       signal = "timeout"        // no confirm in time
	sigAlarmed       signal = "blocked_sent"   // sent, then the server raised an alarm; the confirm may still come
	sigBlocked       signal = "blocked"        // not sent: the server has an alarm
	sigDial          signal = "dial"           // no connection
	sigLost          signal = "lost"           // not sent: the channel ended before
	sigLate          signal = "late"           // not sent: the caller's time was over
	sigChannels      signal = "channel_max"    // not sent: no channel could be opened
	sigUntrusted     signal = "untrusted"      // not sent: the lease is no longer trusted
	sigClosed        signal = "closed"         // the publisher was closed
	sigNotOpen       signal = "not_open"       // the publisher was not opened
	sigLogin         signal = "ACCESS_REFUSED" // login: credentials
	sigVhost         signal = "NOT_ALLOWED"    // login: virtual host
	sigOther         signal = "other_cluster"  // login: another cluster answers
	sigNoExchange    signal = "NOT_FOUND"      // 404 for this very message, or for the question before it
	sigDenied        signal = "ACCESS_DENIED"  // 403 likewise
	sigRefused       signal = "PRECONDITION_FAILED"
	sigTooLarge      signal = "too_large"
	sigInvalid       signal = "invalid"
)

// rule is one row of the error map.
type rule struct {
	kind  relay.Kind
	scope relay.Scope
	class string
	alive bool
	text  string // what it means and what to change
}

// rules is the error map. An answer that is missing here is unknown, and counted.
var rules = map[signal]rule{
	sigAck: {kind: relay.Acked},

	sigReturned: {relay.Unavailable, relay.ScopeKey, relay.ClassUnroutable, true,
		"no queue is bound for the routing key of this message, so the broker returned it; bind one, or correct the route"},
	sigReturnedQueue: {relay.Unavailable, relay.ScopeLane, relay.ClassUnroutable, true, "the queue does not exist, so the broker returned the message; make the queue"},
	sigQueueMissing:  {relay.Config, relay.ScopeTopic, relay.ClassUnroutable, false, "the queue does not exist; make it, or correct the route"},
	sigNack: {relay.Unknown, 0, relay.ClassNotReplicated, false,
		"a queue refused the message: it is full (reject-publish), or has no leader or no majority now; look at the queues of the exchange"},
	sigNackFull: {relay.Unavailable, relay.ScopeTopic, relay.ClassThrottled, true, "the queue is full and refuses messages (reject-publish); consume from it, or raise its limit"},
	sigBehindAcked: {relay.Unknown, 0, relay.ClassNotReplicated, false,
		"stored, but an earlier message of its key is not; it is sent again behind that one"},
	sigBehind:  {relay.Unavailable, relay.ScopeKey, "", false, "not sent, because an earlier message of its key failed"},
	sigCut:     {relay.Unknown, 0, relay.ClassCut, false, "the channel or the connection ended before the confirm"},
	sigTimeout: {relay.Unknown, 0, relay.ClassTimeout, false, "no confirm in time"},
	sigAlarmed: {relay.Unknown, 0, relay.ClassThrottled, true, "the server raised an alarm after the message was sent; its confirm may still come"},

	sigBlocked:   {relay.Unavailable, relay.ScopeDestination, relay.ClassThrottled, false, "the server has an alarm and takes no messages; free memory or disk on its nodes"},
	sigDial:      {relay.Unavailable, relay.ScopeDestination, relay.ClassUnreachable, false, "no host can be reached"},
	sigLost:      {relay.Unavailable, relay.ScopeLane, relay.ClassUnreachable, false, "not sent: the channel or the connection ended before"},
	sigLate:      {relay.Unavailable, relay.ScopeLane, relay.ClassTimeout, false, "the time for this batch was over before the message could leave"},
	sigChannels:  {relay.Unavailable, relay.ScopeLane, relay.ClassThrottled, true, "no channel could be opened; look at channel_max of the server"},
	sigUntrusted: {relay.Unavailable, relay.ScopeDestination, relay.ClassUnreachable, false, "the lease is no longer trusted, so nothing is sent"},
	sigClosed:    {relay.Unavailable, relay.ScopeDestination, relay.ClassUnreachable, false, "the publisher was closed"},
	sigNotOpen:   {relay.Unavailable, relay.ScopeDestination, relay.ClassUnreachable, false, "the destination was not opened yet"},

	sigLogin: {relay.Config, relay.ScopeDestination, relay.ClassAuth, false, "the broker refused the login; check user and password"},
	sigVhost: {relay.Config, relay.ScopeDestination, relay.ClassAuth, false,
		"the broker refused the virtual host; check its name, and whether the user may access it"},
	sigOther: {relay.Config, relay.ScopeDestination, relay.ClassUnsafeBroker, false, "another cluster answers than the one that was opened; check the hosts"},
	sigNoExchange: {relay.Config, relay.ScopeTopic, relay.ClassUnknownTopic, false,
		"the exchange does not exist; make it, set declare: true, or correct the route"},
	sigDenied: {relay.Config, relay.ScopeTopic, relay.ClassDenied, false, "no right to write to the exchange; grant write"},

	sigRefused:  {relay.Rejected, 0, relay.ClassRefused, false, "the broker refuses this message for itself: it is larger than max_message_size, or has a header that RabbitMQ reads itself (CC, BCC)"},
	sigTooLarge: {relay.Rejected, 0, relay.ClassTooLarge, false, "the message is too large"},
	sigInvalid:  {relay.Rejected, 0, relay.ClassInvalid, false, "the message cannot be written as AMQP"},
}

// unlisted is the rule of every answer that has no row.
var unlisted = rule{relay.Unknown, 0, relay.ClassInternal, false, "an answer that this version does not know"}

// closing says what the end of a channel means for a message that was the only one it had not answered: then, and only then, the code speaks of this message,
// and it is certainly not stored. Everything else is cut.
func closing(code int) signal {
	switch code {
	case 403:
		return sigDenied
	case 404:
		return sigNoExchange
	case 406:
		return sigRefused
	}
	return sigCut
}

// outcome makes what the engine sees of one answer.
func outcome(s signal, at, detail string) relay.Outcome {
	r, listed := rules[s]
	if !listed {
		r = unlisted
	}
	o := relay.Outcome{Kind: r.kind, Scope: r.scope, Class: r.class, Alive: r.alive}
	if r.kind == relay.Acked {
		return o
	}
	o.Code = "rabbitmq/" + string(s)
	o.Detail = fmt.Sprintf("rabbitmq %q: %s", at, r.text)
	if detail != "" {
		o.Detail += ": " + detail
	}
	return o
}
