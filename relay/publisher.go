package relay

import (
	"context"
	"strconv"
	"time"
)

// Lane is an ordered stream inside a destination, with one batch in flight: a Kafka partition, a RocketMQ queue, a RabbitMQ channel.
// It is comparable, and stays the same while the publisher lives.
type Lane struct {
	Topic string // target topic; empty where lanes span topics
	Index int32  // partition, queue or channel; negative = provisional (the broker does not know the topic yet)
}

func (l Lane) String() string {
	if l.Topic == "" {
		return strconv.Itoa(int(l.Index))
	}
	return l.Topic + "/" + strconv.Itoa(int(l.Index))
}

// Epoch grows with each change of owner; it fences every write of an older owner.
type Epoch int64

// Publisher hands batches to one destination. The engine owns retry, back-off, breaker and order between calls; a publisher adds none of its own.
type Publisher interface {
	// Open takes the epoch, fences the ones before it where the broker can, and learns the lanes. It is called after Acquire, before the first Publish
	// under that epoch, and again after it failed; it may be called again while open. A broker that cannot be reached gives ErrUnavailable, one that
	// knows a higher epoch ErrFenced, anything that a person must mend a *ConfigError. Blocks at most until the deadline of ctx.
	Open(ctx context.Context, epoch Epoch) error

	// Lane names the lane of a message. Pure, cheap, safe for concurrent use, valid after Open. Two messages of one OrderKey share a lane. m.Target is
	// set.
	Lane(m *Message) Lane

	// Publish sends one batch of one lane, 1 to Capabilities.MaxBatch messages in the order in which they must be stored, and returns exactly one
	// outcome per message: outcomes[i] belongs to batch[i]. Within a key acks are a prefix, and nothing behind a rejected message of its key is sent: it is
	// Unavailable with ScopeKey. It never retries after an ambiguous answer, and never keeps the slice or the messages after it returned, but it may keep
	// what it encoded: a batch with an unknown outcome is presented again, unchanged but for messages that were not sent, and a publisher that can dedupe
	// does so. Concurrent calls only for different lanes. A cancelled ctx is unknown for what may have been sent.
	Publish(ctx context.Context, lane Lane, batch []*Message) []Outcome

	// Check asks whether the broker is configured to keep its promise, and for the size limits of its topics. It changes nothing.
	Check(ctx context.Context) (Findings, error)

	// Close refuses new calls, waits for running ones until ctx ends, then closes the sockets; what is still waiting gets Unknown. It may be called at
	// any time, more than once, also while Open or Publish run.
	Close(ctx context.Context) error
}

// Exact is a Publisher whose broker stores what an outbox sends once, however often and by whomever it is sent: it remembers every id until it is told that the
// outbox does.
type Exact interface {
	Publisher

	// Source names whose ids follow. It is called once, before the first Open.
	Source(generations []Generation)

	// Settled says that messages are marked sent, and that no crash of the database takes that back. Must not block; ids that the publisher does not know
	// are of one before it.
	Settled(ids []ID)
}

// Capabilities say what a publisher cannot do; the engine and the conformance suite read them.
type Capabilities struct {
	Atomic    bool // a batch is stored whole or not at all
	Dedupes   bool // the same batch presented again after Unknown is stored once while the publisher lives
	Fences    bool // the broker refuses an older epoch; without it a new owner waits for the quarantine
	Positions bool // acked outcomes carry an offset
	Tombstone bool // a null payload can be told from an empty one
	MaxBatch  int  // most messages in one Publish
	MaxBytes  int  // most bytes (payload, key, headers as Message.Weight counts them) in one Publish of two messages or more
}

// Weight is the number of bytes by which batches and queues are bounded: payload, key and header bytes plus a fixed allowance for the envelope.
func (m *Message) Weight() int {
	n := m.Size + len(m.Key) + len(m.MessageID) + len(m.Type) + len(m.ContentType) + len(m.Traceparent) + len(m.Tracestate) + 160
	for i := range m.Headers {
		n += len(m.Headers[i].Name) + len(m.Headers[i].Value) + 8
	}
	return n
}

// Level grades a finding.
type Level string

// The levels of a finding. Unseen means that there is no right to read the setting: it is never OK.
const (
	LevelFail   Level = "fail"
	LevelWarn   Level = "warn"
	LevelOK     Level = "ok"
	LevelUnseen Level = "unseen"
)

// Finding is one answer of Check.
type Finding struct {
	ID      string `json:"id"` // stable: "kafka.min_insync_replicas"
	Level   Level  `json:"level"`
	Subject string `json:"subject"` // what it is about: a topic, a broker
	Text    string `json:"text"`    // what was found
	Fix     string `json:"fix"`     // what to change; empty when ok
}

// Findings is what Check found out.
type Findings struct {
	Cluster string         // id of the cluster that answered; empty = unknown
	Items   []Finding      // in a stable order
	Limits  map[string]int // most bytes of payload, key and headers that the destination takes, by target topic
	Limit   int            // the same for every target that Limits does not name; 0 = unknown
}

// Position is where a message lies at the broker.
type Position struct {
	Offset    int64
	HasOffset bool // false: the broker confirmed without telling the place
}

// Kind of an outcome. The zero value is Unknown: what is not certain is never called anything else.
type Kind uint8

// The five outcomes.
const (
	Unknown     Kind = iota // may or may not be stored
	Acked                   // the broker's strongest confirmation was received for this very message
	Rejected                // this message will never pass as it is; dead at once
	Unavailable             // certainly not stored, the message is innocent; costs no attempt
	Config                  // certainly not stored, a person must change something; pauses the scope, costs no attempt
)

func (k Kind) String() string {
	switch k {
	case Acked:
		return "acked"
	case Rejected:
		return "rejected"
	case Unavailable:
		return "unavailable"
	case Config:
		return "config"
	}
	return "unknown"
}

// Scope is how far an Unavailable or Config outcome reaches.
type Scope uint8

// Scopes, from wide to narrow. The zero value is the whole destination.
const (
	ScopeDestination Scope = iota
	ScopeTopic
	ScopeLane
	ScopeKey // not sent, because an earlier message of its key failed in the same call
)

func (s Scope) String() string { return [...]string{"destination", "topic", "lane", "key"}[s&3] }

// Outcome is what became of one message in one Publish.
type Outcome struct {
	Kind   Kind
	Scope  Scope         // Unavailable, Config
	At     Position      // Acked
	Class  string        // error class, one of the Class constants; empty when acked
	Code   string        // the broker's own, "kafka/NOT_LEADER_OR_FOLLOWER"
	Detail string        // what happened and what to change; never payload or secrets
	After  time.Duration // the broker's own wish to wait (throttle); 0 = none
	Full   bool          // with Unavailable: waits for our own settlements; the lane pauses, the breaker does not count it
	Fenced bool          // with Unavailable: a higher epoch owns the lane; the engine gives the outbox up
	// Earlier: with Unknown, this presentation was not stored, but an earlier one of the same batch may have been. It stays as it is and costs nothing, like
	// Unavailable: a leader that moves must not use up the tries of what it may hold.
	Earlier bool
	// Alive: with Unavailable or Unknown, a living broker said so of this lane alone, and blames no message (its leader moved, it has too few replicas). The
	// lane waits and nothing is charged; the breaker neither counts it nor closes by it: other lanes of the destination are not to wait with it.
	// With Unavailable and ScopeKey it speaks of this message alone (nothing takes it in where it goes), not of one behind a failure: it leaves
	// the lane, after a few tries in place when nothing passes beside it, so that the others go on.
	Alive bool
}

// Error classes: stored, shown, and used as a metric label.
const (
	ClassUnreachable   = "unreachable"    // unavailable
	ClassThrottled     = "throttled"      // unavailable
	ClassAuth          = "auth"           // config: login
	ClassUnknownTopic  = "unknown_topic"  // config
	ClassDenied        = "denied"         // config: a right on a topic
	ClassUnroutable    = "unroutable"     // config
	ClassNoRoute       = "no_route"       // config
	ClassUnsafeBroker  = "unsafe_broker"  // config
	ClassTimeout       = "timeout"        // unknown
	ClassCut           = "cut"            // unknown: connection ended
	ClassNotReplicated = "not_replicated" // unknown
	ClassTooLarge      = "too_large"      // rejected
	ClassInvalid       = "invalid"        // rejected
	ClassRefused       = "refused"        // rejected
	ClassInternal      = "internal"
)
