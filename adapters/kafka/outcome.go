package kafka

import (
	"fmt"
	"strconv"

	"github.com/segmentio/kafka-go"

	"github.com/waybillmq/waybill/relay"
)

// signal is what came back for a batch: an error code of the protocol, or one of ours where no broker answered.
type signal int32

// Our own signals, outside the range of the protocol's int16 codes.
const (
	sigDial        signal = 100_000 + iota // no connection: nothing was sent
	sigNoLeader                            // metadata: the partition has no leader now
	sigNoTopic                             // metadata: the broker does not know the topic
	sigNoPart                              // metadata: the partition is missing
	sigGone                                // metadata: the topic has been missing for longer than missingAfter
	sigUntrusted                           // we refused to write: the lease is no longer trusted
	sigLate                                // the caller's time was over before the batch could leave
	sigNoSession                           // no producer id could be fetched: nothing was sent
	sigCut                                 // the connection ended after the first byte
	sigTimeout                             // no answer in time
	sigNoAnswer                            // an answer that does not speak of our partition
	sigWantsTLS                            // the broker speaks TLS, we do not
	sigNoTLS                               // we speak TLS, the broker does not
	sigCertificate                         // we do not accept the broker's certificate
	sigAlert                               // the broker does not accept our side of TLS
	sigWantsLogin                          // the broker wants a login, we have none
	sigCredentials                         // there are no credentials to log in with
	sigCluster                             // another cluster answers at these addresses
)

// codeError is an error code of the protocol as an error.
type codeError int16

func (e codeError) Error() string {
	if r, ok := rules[signal(e)]; ok {
		return fmt.Sprintf("%s (%d)", r.name, int16(e))
	}
	return kafka.Error(e).Error()
}

// action is what an answer asks of the lane and of the publisher, beside the outcome.
type action uint16

const (
	ask     action = 1 << iota // learn the leaders again
	reset                      // drop the pooled connections
	lapse                      // the session is over: take a fresh producer id
	split                      // halve the batch; a message alone is rejected
	stamp                      // refused for its timestamp: the next try is encoded anew
	damaged                    // counts; the third time in a row it is no accident
	refused                    // certainly refused before anything was stored: the sequence numbers are free again
	before                     // only an earlier presentation may have been stored
	alive                      // a living broker speaks of this partition alone: the others of the destination need not wait with it
)

// unlet is what follows when a broker does not let us in: the next try begins with fresh connections, and finds out what a person has changed.
const unlet = ask | reset | refused

// rule is one row of the error map.
type rule struct {
	name  string
	kind  relay.Kind
	scope relay.Scope
	class string
	do    action
	text  string // what it means and what to change
}

// rules is the error map. An answer that is missing here is unknown, and counted. A definite answer (unavailable, rejected) about a batch that may
// already be stored by an earlier try proves nothing about that try: decide turns it into unknown.
var rules = map[signal]rule{
	0:  {"NONE", relay.Acked, 0, "", 0, ""},
	46: {"DUPLICATE_SEQUENCE_NUMBER", relay.Acked, 0, "", 0, ""},

	sigDial:      {"dial", relay.Unavailable, relay.ScopeLane, relay.ClassUnreachable, ask | reset | refused, "the leader of this partition cannot be reached"},
	sigNoLeader:  {"no_leader", relay.Unavailable, relay.ScopeLane, relay.ClassUnreachable, ask | refused | alive, "the partition has no leader now; look at its replicas"},
	sigNoTopic:   {"no_topic", relay.Unavailable, relay.ScopeLane, relay.ClassUnknownTopic, ask | refused, "the broker does not know the topic; create it"},
	sigNoPart:    {"no_partition", relay.Unavailable, relay.ScopeLane, relay.ClassUnreachable, ask | refused | alive, "the partition is missing although the topic exists"},
	sigGone:      {"no_topic", relay.Config, relay.ScopeTopic, relay.ClassUnknownTopic, ask | refused, "the broker does not know the topic; create it, or correct the route"},
	sigUntrusted: {"untrusted", relay.Unavailable, relay.ScopeDestination, relay.ClassUnreachable, refused, "the lease is no longer trusted, so nothing is sent"},
	sigLate:      {"late", relay.Unavailable, relay.ScopeLane, relay.ClassTimeout, refused, "the time for this batch was over before it could leave"},
	sigNoSession: {"no_session", relay.Unavailable, relay.ScopeLane, relay.ClassUnreachable, ask | refused, "no producer id could be fetched"},

	3:   {"UNKNOWN_TOPIC_OR_PARTITION", relay.Unavailable, relay.ScopeLane, relay.ClassUnknownTopic, ask, "the broker does not know the topic; create it"},
	5:   {"LEADER_NOT_AVAILABLE", relay.Unknown, 0, relay.ClassNotReplicated, ask | alive, "the partition has no leader now"},
	6:   {"NOT_LEADER_OR_FOLLOWER", relay.Unknown, 0, relay.ClassNotReplicated, ask | alive, "leadership moved; the batch may have been appended before"},
	8:   {"BROKER_NOT_AVAILABLE", relay.Unknown, 0, relay.ClassUnreachable, ask | reset, "the broker is going away"},
	72:  {"LISTENER_NOT_FOUND", relay.Unknown, 0, relay.ClassUnreachable, ask | alive, "the leader has no listener of our kind; see advertised.listeners"},
	74:  {"FENCED_LEADER_EPOCH", relay.Unknown, 0, relay.ClassNotReplicated, ask | alive, "leadership moved"},
	100: {"UNKNOWN_TOPIC_ID", relay.Unknown, 0, relay.ClassNotReplicated, ask | alive, "the topic was deleted and created again"},

	19: {"NOT_ENOUGH_REPLICAS", relay.Unavailable, relay.ScopeLane, relay.ClassUnreachable, refused | alive, "fewer in-sync replicas than min.insync.replicas; bring brokers back"},
	89: {"THROTTLING_QUOTA_EXCEEDED", relay.Unavailable, relay.ScopeLane, relay.ClassThrottled, refused, "the broker's quota is used up"},

	7:  {"REQUEST_TIMED_OUT", relay.Unknown, 0, relay.ClassTimeout, 0, "the in-sync replicas did not confirm in time"},
	13: {"NETWORK_EXCEPTION", relay.Unknown, 0, relay.ClassCut, ask | reset, "the broker lost its connection"},
	20: {"NOT_ENOUGH_REPLICAS_AFTER_APPEND", relay.Unknown, 0, relay.ClassNotReplicated, alive, "appended, but on too few replicas; bring brokers back"},
	56: {"KAFKA_STORAGE_ERROR", relay.Unknown, 0, relay.ClassInternal, ask | alive, "the leader cannot write to its disk"},
	-1: {"UNKNOWN_SERVER_ERROR", relay.Unknown, 0, relay.ClassInternal, 0, "see the log of the leader"},

	sigCut:      {"cut", relay.Unknown, 0, relay.ClassCut, ask | reset, "the connection ended before the answer"},
	sigTimeout:  {"timeout", relay.Unknown, 0, relay.ClassTimeout, ask | reset, "no answer in time"},
	sigNoAnswer: {"no_answer", relay.Unknown, 0, relay.ClassInternal, ask, "the answer does not speak of this partition"},

	2: {"CORRUPT_MESSAGE", relay.Unknown, 0, relay.ClassInternal, damaged, "the broker found the batch damaged"},

	45: {"OUT_OF_ORDER_SEQUENCE_NUMBER", relay.Unknown, 0, relay.ClassInternal, lapse, "the broker lost track of the session (log truncated?); a fresh one is taken"},
	47: {"INVALID_PRODUCER_EPOCH", relay.Unknown, 0, relay.ClassInternal, lapse, "the broker knows a newer session; a fresh one is taken"},
	59: {"UNKNOWN_PRODUCER_ID", relay.Unknown, 0, relay.ClassInternal, lapse, "the broker forgot the session; a fresh one is taken"},

	32: {"INVALID_TIMESTAMP", relay.Config, relay.ScopeTopic, relay.ClassInvalid, stamp | refused,
		"the send time is outside the topic's limits: compare the clock of this machine with the broker's, and see message.timestamp.before.max.ms and message.timestamp.after.max.ms"},

	10: {"MESSAGE_TOO_LARGE", relay.Rejected, 0, relay.ClassTooLarge, split | refused, "larger than max.message.bytes of the topic"},
	18: {"RECORD_LIST_TOO_LARGE", relay.Rejected, 0, relay.ClassTooLarge, split | refused, "larger than segment.bytes of the topic"},
	43: {"UNSUPPORTED_FOR_MESSAGE_FORMAT", relay.Rejected, 0, relay.ClassRefused, split | refused, "the topic's message format cannot hold it (headers?)"},
	87: {"INVALID_RECORD", relay.Rejected, 0, relay.ClassRefused, split | refused, "refused by the broker's record check (a compacted topic needs a key)"},

	29: {"TOPIC_AUTHORIZATION_FAILED", relay.Config, relay.ScopeTopic, relay.ClassDenied, ask | refused, "no right to write to the topic; grant WRITE"},
	17: {"INVALID_TOPIC_EXCEPTION", relay.Config, relay.ScopeTopic, relay.ClassInvalid, ask | refused, "the broker refuses this topic; see the route"},
	21: {"INVALID_REQUIRED_ACKS", relay.Config, relay.ScopeDestination, relay.ClassUnsafeBroker, refused, "the broker does not allow acks=all"},
	31: {"CLUSTER_AUTHORIZATION_FAILED", relay.Config, relay.ScopeDestination, relay.ClassDenied, refused, "no right for idempotent writes; grant IDEMPOTENT_WRITE on the cluster, or WRITE on the topics"},
	35: {"UNSUPPORTED_VERSION", relay.Config, relay.ScopeDestination, relay.ClassUnsafeBroker, refused, "the broker does not speak what we need (Kafka 0.11 or newer; idempotence: false for brokers without InitProducerId)"},
	38: {"INVALID_REPLICATION_FACTOR", relay.Config, relay.ScopeDestination, relay.ClassUnsafeBroker, refused, "the broker refuses its own replication settings"},
	53: {"TRANSACTIONAL_ID_AUTHORIZATION_FAILED", relay.Config, relay.ScopeDestination, relay.ClassDenied, refused, "no right for idempotent writes; grant IDEMPOTENT_WRITE on the cluster"},
	58: {"SASL_AUTHENTICATION_FAILED", relay.Config, relay.ScopeDestination, relay.ClassAuth, unlet, "the broker refused the login; check the credentials"},
	33: {"UNSUPPORTED_SASL_MECHANISM", relay.Config, relay.ScopeDestination, relay.ClassAuth, unlet, "the broker does not know this way to log in; set sasl.mechanism to one that it takes"},
	34: {"ILLEGAL_SASL_STATE", relay.Config, relay.ScopeDestination, relay.ClassAuth, unlet, "the broker takes no login at this address; set sasl.mechanism to none, or use the port that takes one"},
	76: {"UNSUPPORTED_COMPRESSION_TYPE", relay.Config, relay.ScopeDestination, relay.ClassUnsafeBroker, refused, "the broker cannot read the compression; choose another one (zstd needs Kafka 2.1 or newer)"},

	sigWantsTLS:    {"tls_missing", relay.Config, relay.ScopeLane, relay.ClassAuth, unlet, "the broker speaks TLS at this address; set tls, or use its port without"},
	sigNoTLS:       {"tls_unknown", relay.Config, relay.ScopeLane, relay.ClassAuth, unlet, "the broker does not speak TLS at this address; use its port that does, or remove tls"},
	sigCertificate: {"certificate", relay.Config, relay.ScopeLane, relay.ClassAuth, unlet, "the broker's certificate is not accepted; renew it, or correct the authority (tls.ca) or the name in brokers"},
	sigAlert:       {"tls_refused", relay.Config, relay.ScopeLane, relay.ClassAuth, unlet, "the broker does not accept our side of TLS; check the client certificate"},
	sigWantsLogin:  {"sasl_missing", relay.Config, relay.ScopeDestination, relay.ClassAuth, unlet, "the broker wants a login; set sasl"},
	sigCredentials: {"credentials", relay.Config, relay.ScopeDestination, relay.ClassAuth, unlet, "the credentials for the login cannot be used"},
	sigCluster:     {"another_cluster", relay.Config, relay.ScopeDestination, relay.ClassUnsafeBroker, unlet, "another cluster answers; check the addresses"},
}

// unlisted is the rule of every answer that has no row.
var unlisted = rule{"", relay.Unknown, 0, relay.ClassInternal, ask, "an answer that this version does not know"}

func (s signal) name() string {
	if r, ok := rules[s]; ok {
		return r.name
	}
	return "ERROR_" + strconv.Itoa(int(s))
}

// decide applies the error map to an answer about a batch. It is pure. sent: an earlier try of the same bytes went out and was not refused for certain;
// unsure: such a try may be stored; corrupt: how often in a row the broker found the batch damaged, this answer included.
func decide(s signal, sent, unsure bool, corrupt int) (r rule, listed bool) {
	r, listed = rules[s]
	if !listed {
		r = unlisted
	}
	if r.do&damaged != 0 && corrupt >= 3 {
		r.kind, r.scope = relay.Unavailable, relay.ScopeLane
		r.text = "the broker found the batch damaged three times; suspect memory or network hardware of this machine, and restart the relay"
	}
	if unsure && r.kind == relay.Unavailable {
		r.kind, r.scope = relay.Unknown, 0
		r.do |= before
	}
	if sent {
		if r.do&(split|stamp) != 0 { // other bytes are needed, and the sequence numbers may be taken
			r.kind, r.scope = relay.Unknown, 0
			r.do = r.do&^(split|stamp) | lapse
		}
		r.do &^= refused
	}
	return r, listed
}

// outcome makes what the engine sees of one answer.
func (r rule) outcome(s signal, topic string, detail string) relay.Outcome {
	o := relay.Outcome{Kind: r.kind, Scope: r.scope, Class: r.class, Earlier: r.do&before != 0, Alive: r.do&alive != 0}
	if r.kind == relay.Acked {
		return o
	}
	name := r.name
	if name == "" {
		name = s.name()
	}
	o.Code = "kafka/" + name
	o.Detail = fmt.Sprintf("kafka topic %q: %s", topic, r.text)
	if detail != "" {
		o.Detail += ": " + detail
	}
	return o
}
