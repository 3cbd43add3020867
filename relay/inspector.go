package relay

import (
	"context"
	"errors"
	"strconv"
	"time"
)

// Inspector answers people's questions about an outbox. It reads only, on connections of its own with short statement timeouts, so that no viewer slows
// delivery; no answer grows with the number of sent messages. All methods are safe for concurrent use and block at most until the deadline of ctx. Errors:
// ErrNotFound, ErrDenied as named there; any other error means that the database could not answer now.
type Inspector interface {
	// Overview returns the state of the whole outbox. Counts are capped.
	Overview(ctx context.Context) (Overview, error)

	// Find resolves what a person wrote, an id or a message id, to an id that exists. ErrNotFound also for ids that were drawn and rolled back.
	Find(ctx context.Context, ref string) (ID, error)

	// Message returns everything about one message but its payload and header values: state, last failure, and where it lies at the broker.
	Message(ctx context.Context, id ID) (MessageInfo, error)

	// Attempts returns the failed tries of a message, oldest first; a message that passed at the first try has none.
	Attempts(ctx context.Context, id ID) ([]AttemptInfo, error)

	// Messages lists what matches the filter, newest first, below the id `before` (0 = from the newest), at most limit rows, capped to MaxPage.
	Messages(ctx context.Context, f Filter, before ID, limit int) (MessageList, error)

	// Keys lists the closed keys behind `after` (zero = from the first), by topic and key, at most limit rows, capped to MaxPage.
	Keys(ctx context.Context, after Key, limit int) (KeyList, error)

	// Key returns one closed key. ErrNotFound: it is not closed.
	Key(ctx context.Context, key Key) (KeyInfo, error)

	// Failures lists the failure groups, the largest first, at most MaxPage of them: held messages that failed for the same reason. Counts are capped.
	Failures(ctx context.Context) ([]FailureGroup, error)

	// Failure returns one failure group. ErrNotFound: none of its messages is held any more.
	Failure(ctx context.Context, id FailureID) (FailureGroup, error)

	// Activity lists what people did, newest first, below the row `before` (0 = from the newest), at most limit rows, capped to MaxPage. ErrDenied: the login
	// may not read the activity log.
	Activity(ctx context.Context, before int64, limit int) ([]ActivityRow, error)

	// Operations lists plans and operations, newest first, below the id `before` (0 = from the newest), at most limit rows, capped to MaxPage; without what their
	// plans counted.
	Operations(ctx context.Context, before OperationID, limit int) ([]Operation, error)

	// Operation returns one of them, whole.
	Operation(ctx context.Context, id OperationID) (Operation, error)

	// OperationItems lists the messages of an operation above the id `after`, lowest first, at most limit rows, capped to MaxPage; of one outcome, "" = all.
	OperationItems(ctx context.Context, id OperationID, outcome string, after ID, limit int) ([]OperationItem, error)
}

// MaxPage is the most rows of a list, DefaultPage the usual number.
const (
	MaxPage     = 200
	DefaultPage = 50
)

// CountCap bounds every count for people: counting further would cost more than knowing is worth.
const CountCap = 10_000

var (
	// ErrNotFound means that there is no such message or closed key.
	ErrNotFound = errors.New("relay: not found")
	// ErrDenied means that the database login lacks the right; the text of the wrapping error says which role has it.
	ErrDenied = errors.New("relay: denied")
)

// Count is a number of rows, exact up to CountCap.
type Count int

func (c Count) String() string {
	if c > CountCap {
		return strconv.Itoa(CountCap) + "+"
	}
	return strconv.Itoa(int(c))
}

// Capped says that there are more than CountCap.
func (c Count) Capped() bool { return c > CountCap }

// Overview is the state of an outbox at one moment. Times are the database's.
type Overview struct {
	Now time.Time

	Epoch      Epoch
	Owner      string // empty = there never was one
	Address    string
	AcquiredAt time.Time // zero = never
	LeaseUntil time.Time // zero = released
	Alive      bool      // the lease has not ended
	Released   bool      // given back, not lost
	QuietUntil time.Time // until then nothing goes to brokers without a fence

	LowWater ID // nothing at or below it is unsettled or unseen, as of the last renewal
	ReadUpTo ID
	Claimed  ID // highest id that may lie at a broker
	LastID   ID // highest id drawn
	FirstID  ID // lowest id whose row still exists; what is below was dropped by retention, or never committed. 0 = there is none

	Pending  Count     // still to send, held ones not among them
	OldestAt time.Time // when the oldest of those was written; zero = none
	Held     map[HeldState]Count
	Closed   Count // closed keys

	Relays []RelayInfo // owner and standbys seen in the last 15 s, by instance

	Paused []PausedDestination // what people have stopped, by name
}

// RelayInfo is a running relay.
type RelayInfo struct {
	Instance     string
	StartedAt    time.Time
	SeenAt       time.Time
	Version      string
	Address      string
	Destinations map[string]DestinationStatus // as it last reported them; of the owner they are live
}

// The states of a destination, as a relay reports them.
const (
	DestinationOpen   = "open"   // the breaker is open: nothing is sent but probes
	DestinationClosed = "closed" // the breaker is closed: all is well
	DestinationPaused = "paused" // a person stopped it
	DestinationConfig = "config" // something must be changed before it works
	DestinationPartly = "partly" // it answers, and refuses what goes to some lanes: those wait
)

// DestinationStatus is what a relay reports about one destination.
type DestinationStatus struct {
	State  string    `json:"state"`
	Since  time.Time `json:"since,omitzero"`
	Detail string    `json:"detail,omitempty"` // last error, or what to change
	Cached int       `json:"cached,omitempty"` // messages in the degraded cache; they are pending too
	// CacheFull is since when the degraded cache takes nothing more of it; zero = it does, or there is none.
	CacheFull time.Time `json:"cache_full,omitzero"`
	// Paused is by whom and why, in the state paused; nil in others.
	Paused *PausedDestination `json:"paused,omitempty"`
}

// The states of a message. The states of held messages say more about a pending one.
const (
	StatePending   = "pending"
	StateSent      = "sent"
	StateDead      = "dead"
	StateDiscarded = "discarded"
)

// MessageRow is a message in a list.
type MessageRow struct {
	ID          ID
	MessageID   string
	Topic       string
	Key         string // empty = none
	Type        string
	CreatedAt   time.Time
	Size        int    // payload bytes
	State       string // StatePending, …
	Detail      string // retrying, blocked or scheduled; empty = none of these
	Passed      bool   // dead, and its key goes on without it
	Destination string // of a held message
	Attempts    int
	DueAt       time.Time // zero = has no turn by itself
	Outcome     string
	Class       string
	Code        string
	Error       string // in lists its first 200 characters
}

// MessageInfo is everything about one message but payload and header values.
type MessageInfo struct {
	MessageRow
	ContentType   string
	Traceparent   string
	HeaderNames   []string
	DeliverAfter  time.Time
	FirstFailedAt time.Time
	Failure       FailureID // the failure group of a held message; 0 = none
	DiscardedAt   time.Time
	DiscardedBy   string // empty also when the login may not see the activity log
	Reason        string // of the discard
	Sending       bool   // taken by the owner, on its way
	Claimed       bool   // it may already lie at a broker
	Before        Count  // pending messages with lower ids
	Behind        Count  // messages of its key that wait for it
	Head          ID     // what a blocked message waits for; 0 = nothing
	HeadState     HeldState
	Places        []Place // one for each time it was sent, oldest first
}

// Place is where a message lies at a broker.
type Place struct {
	Destination string
	Lane        string
	Offset      int64
	HasOffset   bool
	AckedAt     time.Time
	Epoch       Epoch
	Detail      string
}

// AttemptInfo is one failed try.
type AttemptInfo struct {
	N        int
	At       time.Time
	Epoch    Epoch
	Instance string
	Lane     string
	Outcome  string
	Class    string
	Code     string
	Error    string
	Took     time.Duration
}

// MessageList is a page.
type MessageList struct {
	Items    []MessageRow
	Next     ID  // hand it in as `before` for the next page; 0 = that was all
	Searched int // messages looked at, when the filter has no index and the search was bounded; 0 = not bounded
}

// KeyInfo is a closed key.
type KeyInfo struct {
	Key
	Head     ID
	State    HeldState // of the head
	Class    string
	Error    string    // in lists its first 200 characters
	Since    time.Time // the head is held
	DueAt    time.Time // of the head; zero = waits for a person
	Attempts int
	Behind   Count
}

// KeyList is a page.
type KeyList struct {
	Items []KeyInfo
	More  bool // hand the last item's key in as `after` for the next page
}
