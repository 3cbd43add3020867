package relay

import (
	"context"
	"time"
)

// Store is the outbox as the engine needs it. Every write is fenced by the lease's epoch and may be repeated after an ambiguous answer. All methods
// block at most until the deadline of ctx. Errors: ErrFenced, ErrReborn, ErrMoved as named there; any other error means that the database could not do
// it now and that the same call may be made again. Concurrency: one call of each method at a time; calls of different methods may overlap.
type Store interface {
	// Acquire takes the outbox if its lease has expired or was released, with a new epoch, committed synchronously. ErrOwned: another relay holds it.
	// *RefusedError: this database may not be relayed until a person has decided. Only the database's clock decides.
	Acquire(ctx context.Context, terms Terms) (Lease, error)

	// Renew prolongs the lease, by epoch. The returned lease has a new Asked and Until. ErrFenced: another owner exists.
	Renew(ctx context.Context, lease Lease, progress Progress) (Lease, error)

	// Release gives the outbox back so that a standby may take it at once. Only after everything in flight is resolved and settled. ErrFenced: another owner
	// exists, and nothing was changed. A repeat by the last owner changes nothing and returns nil.
	Release(ctx context.Context, lease Lease) error

	// Read returns messages above `after` and in the holes below it, lowest first, seen in one snapshot; a page is a prefix of what there is. It never
	// hides a row. after = 0 starts a new session: holes and lists are dropped, everything not settled comes again. Otherwise after must be the After of
	// the page before (of the same reader: main or catch-up); any other value starts that reader at this position. The store keeps the holes; only main
	// reads split or drop them. The page's messages are the engine's from then on.
	Read(ctx context.Context, lease Lease, after ID, limit ReadLimit) (Page, error)

	// Fetch returns messages with their payloads by id, in the order of ids; an id without a row is an error. For payloads that were too large to come
	// with a page.
	Fetch(ctx context.Context, lease Lease, ids []ID) ([]*Message, error)

	// Claim commits, synchronously, that everything read up to now in the server incarnation `in` may be published; upTo is the highest id among it.
	// Before it has returned nil no byte of those messages may leave. ErrReborn: drop what is read and unclaimed and read again from 0.
	Claim(ctx context.Context, lease Lease, upTo ID, in Incarnation) error

	// Settle writes one group of outcomes in one transaction: removes acked ids, inserts receipts, moves messages to held, releases keys. Idempotent.
	// When a person's lock holds up the held part, the acks are written alone and Settled.HeldWaits is set: that part must be settled again.
	Settle(ctx context.Context, lease Lease, s Settlement) (Settled, error)

	// Held takes held messages that are due, at most limit.Rows for each destination in open, in id order per key: it is itself their committed claim and
	// counts the attempt. Taken messages are marked as being sent until they are settled. A message is taken only when no lower unsettled one of its key
	// must go first. What a call took whose answer was lost is given back by the next one.
	Held(ctx context.Context, lease Lease, open []string, limit HeldLimit) (Taken, error)

	// Closed returns closed keys with their heads (the retrying message, else the lowest), ordered by the bytes of topic and key: at start, after a reset,
	// after people's acts, and every now and then. A key found without head and without anything due or in flight is released by it. After a crash it revives
	// the outbox as Read from 0 does, which must still follow. Each call is one snapshot: what changes between two pages is in neither or in either.
	Closed(ctx context.Context, lease Lease, q ClosedQuery) ([]Head, error)
}

// ClosedQuery says which closed keys are asked for: a page of all of them, or some by name.
type ClosedQuery struct {
	After Key   // the last key of the page before, zero = from the first one
	Limit int   // of a page: fewer heads in the answer mean that there are no more behind them
	Only  []Key // when there are any, these keys alone, whatever After and Limit say
}

// Terms are what a relay asks for when it acquires an outbox.
type Terms struct {
	Owner      string        // instance name plus a random part for each process start
	Address    string        // where its dashboard or metrics listen, for people; may be empty
	Lease      time.Duration // how long the database grants it
	Quarantine time.Duration // by how much quiet_until is raised when the lease had expired instead of being released
	Configured []string      // names of the configured destinations: held rows of others lose their destination and are routed again
}

// Incarnation is the life of the database server between crash recoveries or promotions. The zero value is none.
type Incarnation [16]byte

// Generation says who the outbox is from an id on: a restore or a fail-over that may have redrawn ids starts a new one.
type Generation struct {
	From ID
	UUID string // prefix of message ids, and the name of the fence at brokers that have one
}

// Lease is the time-limited right of one owner. It is a value; Renew returns the next one.
type Lease struct {
	Epoch       Epoch
	Owner       string
	Asked       time.Time     // local monotonic moment just before the granting statement was sent
	Term        time.Duration // what the database granted, from then on at the earliest
	Quiet       time.Duration // from Asked on, at least to the database's quiet_until: no byte to an unfenced destination
	Takeover    bool          // the owner before did not release: ids up to Claimed may already lie at the broker
	Claimed     ID            // highest id ever claimed
	Generations []Generation  // ascending From; at least one
	Began       string        // why the newest generation began with this lease; empty = it did not
	System      int64         // which database server; a copy of its files has the same. 0 = the store has none
}

// Progress is what the owner reports when it renews, for people and the brake.
type Progress struct {
	LowWater ID // nothing at or below it is unsettled or unseen
	ReadUpTo ID
	Pending  int64     // -1 = not known
	OldestAt time.Time // zero = nothing pending
}

// ReadLimit bounds one page.
type ReadLimit struct {
	Rows        int           // most messages of a page
	InlineBytes int           // payloads up to this size come with the page
	PageBytes   int           // inline payload bytes of a page; the message that crosses it still comes
	Seq         int64         // number of this call, counted up by the engine; a page echoes it as Listed
	Restart     bool          // drop this reader's waiting list and list anew from after
	CatchUp     bool          // the catch-up reader: leaves ids above the main position to the main reader
	Skip        func(ID) bool // catch-up only: ids in flight, struck before their rows are read; nil = none
}

// Page is what one Read returned.
type Page struct {
	Messages    []Message // ascending ids
	Incarnation Incarnation
	Listed      int64 // Seq of the call whose snapshot listed these ids; of this call when there are none
	After       ID    // hand it to the next Read of the same reader; of a catch-up page without More: the main position when its ids were listed
	More        bool  // there is more to read right now
	FirstHole   ID    // lowest id of the lowest open hole; 0 = none
	Holes       int   // open ranges
	OldestHole  time.Time
}

// Run is a range of ids all of which were read and acked, both ends included. Never a range over a gap: a row that commits there later would be lost.
type Run struct{ Lo, Hi ID }

// Receipt is the stored proof for messages of one lane batch: message i lies at FirstOffset + i.
type Receipt struct {
	Seq         int64 // counts up inside an epoch; makes settling idempotent
	Destination string
	Lane        string
	IDs         []ID  // ascending, spanning less than MaxReceiptSpan
	FirstOffset int64 // -1 = the broker gives none
	Detail      string
}

// MaxReceiptSpan bounds hi - lo of a receipt, so that "which receipt holds id x" is a short index range.
const MaxReceiptSpan = 65536

// HeldState is the state of a message set aside from the main flow.
type HeldState string

// The states of a held message.
const (
	Retrying  HeldState = "retrying"  // failed, waits for its next attempt; at most one of a key
	Blocked   HeldState = "blocked"   // behind a retrying or dead one of its key
	Scheduled HeldState = "scheduled" // its time is ahead
	Dead      HeldState = "dead"      // given up until a person acts
)

// Failure is why a message is held.
type Failure struct {
	Outcome Kind
	Class   string
	Code    string
	Text    string
}

// Hold moves one message to held, or changes the held row it already has.
type Hold struct {
	ID          ID
	State       HeldState
	Delay       time.Duration // until its turn, with Due
	Due         bool          // it has a turn by itself; Dead and Blocked ones wait for something else
	Attempts    int           // absolute
	Destination string        // empty = to be routed when it is taken
	Failure     *Failure      // nil = none of its own
	Fingerprint int64         // of its failure group; 0 = none
	Passed      bool          // its key goes on without it
}

// Attempt is one failed try, for people.
type Attempt struct {
	ID       ID
	N        int
	Instance string
	Lane     string
	Failure  Failure
	Took     time.Duration
}

// Settlement is what one group of outcomes changes. Empty parts cost nothing.
type Settlement struct {
	Acked     []Run // of the main flow
	AckedHeld []ID  // taken by Held
	Receipts  []Receipt
	Hold      []Hold
	Release   []Key // give the next blocked messages of these keys their turn; Hold has none of them but what it blocks anew
	Attempts  []Attempt
}

// Settled is the answer to a settlement.
type Settled struct {
	HeldWaits bool  // the acks are written, Hold, Release and Attempts are not: a person holds one of the rows; settle those again
	StillHeld []Key // of Release: keys that still have rows behind them, besides those of Hold, so that they stay closed
}

// HeldLimit bounds one Held call.
type HeldLimit struct {
	Rows        int // for each destination
	InlineBytes int
	Bytes       int
}

// HeldMessage is a message taken from held.
type HeldMessage struct {
	Message
	State       HeldState     // what it was when it was taken: Retrying, Blocked (released) or Scheduled
	Attempts    int           // this one included
	FailedFor   time.Duration // since its first failure, by the database's clock; 0 = never failed
	Destination string        // empty = to be routed
	Passed      bool          // its key goes on without it: a replay, or skipped
}

// Taken is the answer of Held.
type Taken struct {
	Messages []HeldMessage
	Keys     []Key         // of the messages that people have acted on since the last call: each once: ask Closed for them
	Many     bool          // these are too many to be named: ask for all
	NextDue  time.Duration // until the next one is due among the destinations asked for; negative = none known
}

// Head is a closed key and the message that closes it.
type Head struct {
	Key   Key
	ID    ID
	State HeldState
	Due   bool // has a turn ahead or is being sent
}

// Waker tells a sleeping reader that something may have been committed. A hint: losing it costs latency only.
type Waker interface {
	// Wake returns a channel that receives after a commit while armed; one slot, never closed before ctx ends. The channel survives lost connections.
	Wake(ctx context.Context) (<-chan struct{}, error)
	// Arm says whether the owner sleeps and wants to be woken. After arming the reader reads once more before it waits.
	Arm(ctx context.Context, asleep bool) error
}
