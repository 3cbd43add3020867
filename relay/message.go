package relay

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// ID is the bigint of message_log: the order of writing. Ids start at 1; 0 means "before the first". Gaps are normal (rollbacks, refused calls,
// crashes) and prove nothing by themselves.
type ID int64

func (id ID) String() string { return strconv.FormatInt(int64(id), 10) }

// Key is what must stay in order: an ordering key within its topic. The zero Key (no key) asks for no order.
type Key struct{ Topic, Key string }

// Compare orders keys by the bytes of topic, then of key, as cmp.Compare does.
func (k Key) Compare(other Key) int {
	return cmp.Or(strings.Compare(k.Topic, other.Topic), strings.Compare(k.Key, other.Key))
}

// Header is one header of a message. Names are unique inside a message.
type Header struct{ Name, Value string }

// Message is one committed row of message_log on its way to a destination. A Message belongs to the engine from Read until its settlement; a
// Publisher reads it and never changes or keeps it. Strings are immutable; Payload is shared and must not be written to.
type Message struct {
	ID        ID
	MessageID string // the id that consumers dedupe by: the application's own, else <uuid of the generation>-<id>; the same in every copy

	Topic       string // as the application named it, 1 to 249 bytes
	Key         string // 1 to 1,024 bytes; empty = no key, no order asked
	Type        string // empty = none
	ContentType string // empty = none
	Traceparent string // W3C trace context, untouched; empty = none
	Tracestate  string
	Headers     []Header // ordered as the store gives them, the same in every copy; nil = none

	CreatedAt    time.Time // database time of writing; for people and age, never for order
	DeliverAfter time.Time // zero = at once

	Payload   []byte // nil when Tombstone, or when it is not inline and has to be fetched (NeedsFetch)
	Size      int    // payload size in bytes
	Tombstone bool   // the payload is NULL, which is not the same as empty

	Target     string // topic or exchange at the destination; this and the next two are set by the router before a Publisher sees the message
	RoutingKey string // for a broker that routes by one; empty where the route has none
	Event      *Event // the route's CloudEvents; nil = plain

	place // where the engine keeps it
}

// OrderKey returns the key that orders the message, and false when it asked for no order.
func (m *Message) OrderKey() (Key, bool) { return Key{m.Topic, m.Key}, m.Key != "" }

// NeedsFetch says that the payload was too large to come with its page.
func (m *Message) NeedsFetch() bool { return m.Payload == nil && !m.Tombstone && m.Size > 0 }
