package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	mqerrors "github.com/apache/rocketmq-client-go/v2/errors"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/waybillmq/waybill/relay"
)

// signal is what came back for a batch: an answer code of the protocol (RocketMQ, ResponseCode), or one of ours where no broker answered.
type signal int32

// Those of the protocol that more is asked of than their row. The client library numbers the answers to a send anew: see statuses.
const (
	sigStored  signal = 0
	sigNoSlave signal = 11
)

// Our own signals, outside the range of the protocol's int16 codes.
const (
	sigDial      signal = 100_000 + iota // no connection: nothing was sent
	sigNoRoute                           // the queue, or its master, is not there now: nothing was sent
	sigNoTopic                           // no name server knows the topic
	sigGone                              // the same for longer than missingAfter, while brokers are there
	sigUntrusted                         // we refused to write: the lease is no longer trusted
	sigLate                              // the time was over before the batch could leave
	sigBusy                              // the send before it still runs
	sigClosed                            // the library's client was shut down before it wrote
	sigNoLogin                           // Login gave no credentials: nothing was sent
	sigNoClient                          // the library gave no client: nothing was sent
	sigCut                               // the connection ended after the first byte
	sigTimeout                           // no answer in time
	sigPanic                             // the library panicked
	sigOdd                               // an error that the library never gave before
	sigDenied                            // the broker's access list: no right to the topic
	sigLogin                             // the broker's access list: who is that?
	sigKeyed                             // a message with a key, where half messages are sent
	sigCommit                            // the half is stored, and nothing is known of its commit
)

// answer is what is known of a flight.
type answer struct {
	sig    signal
	detail string
	offset int64 // queue offset of the first message, with SEND_OK; the number of a half
}

// action is what an answer asks of the publisher, beside the outcome.
type action uint8

const (
	ask     action = 1 << iota // learn the route again
	suspect                    // the library's connections are suspect
	split                      // halve the batch; a message alone is rejected
	login                      // the credentials may be old
	before                     // only an earlier presentation may have been stored
	alive                      // a living broker says so, and blames no message
)

// rule is one row of the error map.
type rule struct {
	name  string
	kind  relay.Kind
	scope relay.Scope
	class string
	do    action
	text  string // what it means and what to change
}

// rules is the error map. An answer that is missing here is unknown, and counted.
var rules = map[signal]rule{
	sigStored: {"SEND_OK", relay.Acked, 0, "", 0, ""},

	10:         {"FLUSH_DISK_TIMEOUT", relay.Unknown, 0, relay.ClassNotReplicated, alive, "the master has it, but its disk did not confirm in time; look at its disk, and keep syncFlushTimeout at 2500 ms or less"},
	sigNoSlave: {"SLAVE_NOT_AVAILABLE", relay.Unknown, 0, relay.ClassNotReplicated, alive, "the master has it, but no slave is connected or near enough; bring a slave back"},
	12:         {"FLUSH_SLAVE_TIMEOUT", relay.Unknown, 0, relay.ClassNotReplicated, alive, "the master has it, but no slave confirmed in time; look at the slaves"},

	1:   {"SYSTEM_ERROR", relay.Unknown, 0, relay.ClassInternal, 0, "see the log of the broker"},
	2:   {"SYSTEM_BUSY", relay.Unknown, 0, relay.ClassThrottled, alive, "the broker is overloaded, or its disk is slow"},
	14:  {"SERVICE_NOT_AVAILABLE", relay.Unknown, 0, relay.ClassUnreachable, alive | ask, "the broker takes no messages now: it starts, is a slave, or its disk is full; look at it"},
	215: {"FLOW_CONTROL", relay.Unknown, 0, relay.ClassThrottled, alive, "the broker's limits are used up"},

	13: {"MESSAGE_ILLEGAL", relay.Rejected, 0, relay.ClassTooLarge, split, "larger than maxMessageSize of the broker, or its properties are"},

	3:         {"REQUEST_CODE_NOT_SUPPORTED", relay.Config, relay.ScopeTopic, relay.ClassUnsafeBroker, 0, "this is no broker of RocketMQ 4.9 or 5 (the gRPC proxy port of 5.x is not spoken): check the addresses"},
	15:        {"SUBSCRIPTION_GROUP_NOT_EXIST", relay.Config, relay.ScopeTopic, relay.ClassDenied, ask, "the broker refuses the producer group"},
	16:        {"NO_PERMISSION", relay.Config, relay.ScopeTopic, relay.ClassDenied, ask, "the topic, or the whole broker, may not be written to; give it perm 6"},
	17:        {"TOPIC_NOT_EXIST", relay.Config, relay.ScopeTopic, relay.ClassUnknownTopic, ask, "the broker does not know the topic; create it on every master (mqadmin updateTopic -w 8 -r 8 -p 6), or correct the route"},
	sigDenied: {"ACL_NO_PERMISSION", relay.Config, relay.ScopeTopic, relay.ClassDenied, login, "no right to write to the topic; grant PUB to the access key"},
	sigLogin:  {"ACL_REFUSED", relay.Config, relay.ScopeDestination, relay.ClassAuth, login, "the broker refuses access key or signature; check the credentials"},

	sigDial:      {"dial", relay.Unavailable, relay.ScopeLane, relay.ClassUnreachable, ask, "the master of this queue cannot be reached"},
	sigNoRoute:   {"no_route", relay.Unavailable, relay.ScopeLane, relay.ClassUnreachable, ask, "this queue has no master now; bring the broker back"},
	sigNoTopic:   {"no_topic", relay.Unavailable, relay.ScopeLane, relay.ClassUnknownTopic, ask, "the name servers do not know the topic; create it on every master, or bring its brokers back"},
	sigGone:      {"no_topic", relay.Config, relay.ScopeTopic, relay.ClassUnknownTopic, ask, "the name servers do not know the topic; create it on every master (mqadmin updateTopic -w 8 -r 8 -p 6), or correct the route"},
	sigUntrusted: {"untrusted", relay.Unavailable, relay.ScopeDestination, relay.ClassUnreachable, 0, "the lease is no longer trusted, so nothing is sent"},
	sigLate:      {"late", relay.Unavailable, relay.ScopeLane, relay.ClassTimeout, ask, "the time for this batch was over before it could leave"},
	sigBusy:      {"busy", relay.Unavailable, relay.ScopeLane, relay.ClassTimeout, 0, "the send before it has not returned yet"},
	sigClosed:    {"client_closed", relay.Unavailable, relay.ScopeLane, relay.ClassUnreachable, suspect, "the connections are being made anew"},
	sigNoLogin:   {"no_login", relay.Config, relay.ScopeDestination, relay.ClassAuth, 0, "the credentials cannot be read; check where they come from"},
	sigNoClient:  {"no_client", relay.Unavailable, relay.ScopeDestination, relay.ClassUnreachable, 0, "no name server address can be resolved"},

	sigKeyed:  {"keyed", relay.Config, relay.ScopeTopic, relay.ClassInvalid, 0, "the message has a key, and half messages keep no order (transactional: true): route messages with a key to a destination without it, or write this one without a key"},
	sigCommit: {"half_commit", relay.Unknown, 0, relay.ClassCut, ask, "the half message is stored, and it is not known whether it was committed"},

	sigCut:     {"cut", relay.Unknown, 0, relay.ClassCut, ask, "the connection ended before the answer"},
	sigTimeout: {"timeout", relay.Unknown, 0, relay.ClassTimeout, ask | suspect, "no answer in time"},
	sigPanic:   {"panic", relay.Unknown, 0, relay.ClassInternal, suspect, "the client library panicked; see the log"},
	sigOdd:     {"unlisted", relay.Unknown, 0, relay.ClassInternal, ask | suspect, "an error that this version does not know"},
}

// unlisted is the rule of every answer that has no row.
var unlisted = rule{"", relay.Unknown, 0, relay.ClassInternal, ask, "an answer that this version does not know"}

// read classifies what SendSync returned. left: the selector let the batch pass, so it may have been written. The library gives most errors as text only: it is
// parsed here and nowhere else.
func read(res *primitive.SendResult, err error, left, untrusted bool) answer {
	if err == nil {
		if sig, ok := statuses[res.Status]; ok {
			return answer{sig: sig, offset: res.QueueOffset}
		}
		return answer{sig: sigOdd, detail: "status " + strconv.Itoa(int(res.Status))}
	}
	switch {
	case untrusted:
		return answer{sig: sigUntrusted}
	case errors.Is(err, mqerrors.ErrNotRunning), errors.Is(err, mqerrors.ErrService):
		return answer{sig: sigClosed}
	case errors.Is(err, mqerrors.ErrMessageEmpty), errors.Is(err, mqerrors.ErrTopicEmpty), errors.Is(err, mqerrors.ErrMultipleTopics):
		panic("rocketmq: broken batch: " + err.Error())
	case strings.HasSuffix(err.Error(), "route info not found"):
		return answer{sig: sigNoRoute} // no broker, or the selector held it back
	case !left:
		return answer{sig: sigNoRoute, detail: reason(err)}
	case errors.Is(err, mqerrors.ErrRequestTimeout):
		return answer{sig: sigTimeout}
	}
	var op *net.OpError
	if errors.As(err, &op) {
		if op.Op == "dial" {
			return answer{sig: sigDial, detail: reason(err)}
		}
		return answer{sig: sigCut, detail: reason(err)}
	}
	return brokerError(err.Error())
}

var statuses = map[primitive.SendStatus]signal{primitive.SendOK: sigStored, primitive.SendFlushDiskTimeout: 10, primitive.SendSlaveNotAvailable: sigNoSlave, primitive.SendFlushSlaveTimeout: 12}

// brokerError reads "CODE: 13, DESC: words".
func brokerError(text string) answer {
	rest, ok := strings.CutPrefix(text, "CODE: ")
	number, words, _ := strings.Cut(rest, ", DESC: ")
	code, err := strconv.ParseInt(number, 10, 16)
	if !ok || err != nil || code == 0 {
		return answer{sig: sigOdd, detail: firstLine(text)}
	}
	return aclError(int(code), words)
}

// aclError tells the refusals of the access list from other errors of code 1: RocketMQ 4.9 has no code for them. Its words name access keys, and are kept out.
func aclError(code int, words string) answer {
	if code != 1 || !strings.Contains(words, "AclException") {
		return answer{sig: signal(code), detail: firstLine(words)}
	}
	if strings.Contains(words, "permission") {
		return answer{sig: sigDenied}
	}
	return answer{sig: sigLogin}
}

// reason is an error as a detail, without what says only that we waited.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return firstLine(err.Error())
}

func (s signal) name() string {
	if r, ok := rules[s]; ok {
		return r.name
	}
	return "CODE_" + strconv.Itoa(int(s))
}

// decide applies the error map. It is pure. unsure: an earlier try of the same messages may be stored, so that what is certain of this one says nothing of them.
func decide(s signal, unsure bool) (r rule, listed bool) {
	if r, listed = rules[s]; !listed {
		r = unlisted
	}
	if unsure && r.kind == relay.Unavailable {
		r.kind, r.scope = relay.Unknown, 0
		r.do |= before
	}
	return r, listed
}

// outcome makes what the engine sees of one answer.
func (r rule) outcome(s signal, topic, detail string) relay.Outcome {
	o := relay.Outcome{Kind: r.kind, Scope: r.scope, Class: r.class, Earlier: r.do&before != 0, Alive: r.do&alive != 0}
	if r.kind == relay.Acked {
		return o
	}
	name := r.name
	if name == "" {
		name = s.name()
	}
	o.Code = "rocketmq/" + name
	o.Detail = fmt.Sprintf("rocketmq topic %q: %s", topic, r.text)
	if detail != "" {
		o.Detail += ": " + detail
	}
	return o
}
